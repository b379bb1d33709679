"""Reading the published network: threshold, label map, pieces, middle of the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.stopping import Stop
from CardioDiTLib.landmarks.label_mask import (
    ANTERIOR,
    INFERIOR,
    largest_component_per_slice,
    published_points_from_label_mask,
)
from CardioDiTLib.landmarks.published_grid import PublishedGrid
from CardioDiTLib.landmarks.published_network import PublishedNetwork
from CardioDiTLib.landmarks.slice_points import SlicePoints

THRESHOLD = 0.5


def published_label_map(
    probabilities: NDArray[Any], threshold: float = THRESHOLD, largest_component: bool = False
) -> NDArray[np.uint8]:
    """Blobs of both points in one map.

    Args:
        probabilities: (Z, 2, H, W), anterior and inferior.
        threshold: What lies above it belongs to the blob.
        largest_component: Keep the largest piece of each label in each slice (published as an option, off).

    Returns:
        (Z, H, W): 0 background, 1 anterior, 2 inferior. Where both are above the threshold, inferior is written last.
    """
    labels = np.zeros((len(probabilities), *np.shape(probabilities)[2:]), np.uint8)
    for channel, label in ((0, ANTERIOR), (1, INFERIOR)):
        labels[probabilities[:, channel] > threshold] = label
    return np.asarray(largest_component_per_slice(labels), np.uint8) if largest_component else labels


def published_round_trip(labels: NDArray[np.uint8], grid: PublishedGrid, both_only: bool) -> NDArray[np.float64]:
    """Points of a label map as published: put back on the source's pixels first, then the mean of each label's pixels.

    Args:
        labels: (Z, size, size).
        grid: The grid and its source.
        both_only: Only slices with both points count.

    Returns:
        (Z, 2, 2) pixels (x, y) of the source, NaN where there is none. A blob of a few pixels may have vanished.
    """
    return _middles(grid.labels_to_source(labels), both_only)


@torch.inference_mode()
def predict_published(
    network: PublishedNetwork,
    planes: NDArray[Any],
    spacing_xy_mm: tuple[float, float],
    *,
    threshold: float = THRESHOLD,
    largest_component: bool = True,
    device: torch.device | None = None,
    batch: int = 8,
    stop: Stop | None = None,
) -> SlicePoints:
    """Points of some slices.

    The middle of a blob is taken on the network's grid and mapped back as a coordinate: a blob that is put back on
    coarser pixels first, as published (`published_round_trip`), may vanish.

    Args:
        network: In evaluation mode, on `device`.
        planes: (Z, Y, X) grey values.
        spacing_xy_mm: Their pixel spacing (x, y).
        threshold: See `published_label_map`.
        largest_component: The same.
        device: Where the network is; None is the CPU.
        batch: Slices at once.
        stop: Asked before every batch.

    Returns:
        Places in pixels (x, y) of the planes; presence is the highest probability in the picture, so that a point is
        there where it lies above the threshold; certainty is the mean probability of the blob's pixels.

    Raises:
        Cancelled: `stop` said so.
    """
    shape = (planes.shape[-2], planes.shape[-1])
    grid = PublishedGrid(shape, spacing_xy_mm, network.config.spacing_mm, network.config.size)
    pictures = grid.prepare(planes)[:, None]
    where = device or torch.device("cpu")
    parts = []
    for first in range(0, len(pictures), batch):
        if stop is not None:
            stop.check()
        given = torch.from_numpy(np.ascontiguousarray(pictures[first : first + batch])).to(where)
        parts.append(network(given).float().sigmoid().cpu().numpy())
    probabilities = np.concatenate(parts)
    labels = published_label_map(probabilities, threshold, largest_component)
    places = grid.places_in_source(_middles(labels, both_only=False))
    certainty = np.zeros(places.shape[:2])
    for z, kind in np.ndindex(*certainty.shape):
        blob = labels[z] == (ANTERIOR, INFERIOR)[kind]
        if blob.any():
            certainty[z, kind] = probabilities[z, kind][blob].mean()
    presence = np.where(np.isnan(places[..., 0]), 0.0, probabilities.max(axis=(2, 3)))
    return SlicePoints(places, presence, certainty)


def _middles(labels: NDArray[np.uint8], both_only: bool) -> NDArray[np.float64]:
    """(Z, Y, X) -> (Z, 2, 2) pixels (x, y)."""
    points = np.full((len(labels), 2, 2), np.nan)
    for plane, found in zip(labels, points):
        # the published function takes the smallest value for background: a plane without background is no case here
        for kind, point in enumerate(published_points_from_label_mask(plane, both_only)):
            if point is not None:
                found[kind] = point[::-1]
    return points
