"""A landmark network on a whole cine: points of every slice and frame, not yet named and not yet followed in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.stopping import Stop
from CardioDiTLib.cine import Cine
from CardioDiTLib.landmarks.model import LandmarkModel
from CardioDiTLib.landmarks.network import LandmarkNetwork
from CardioDiTLib.landmarks.predict import predict_points
from CardioDiTLib.landmarks.published_predict import predict_published
from CardioDiTLib.landmarks.slice_points import SlicePoints
from CardioDiTLib.segmentation.canonical_view import CanonicalView
from CardioDiTLib.segmentation.plane_sampler import PlaneSampler
from CardioDiTLib.segmentation.window import Window, brightness, heart_window

Progress = Callable[[int, int], None]
_Reader = Callable[[NDArray[np.generic]], SlicePoints]


@dataclass(frozen=True, eq=False)
class CinePoints:
    """What a network saw in a cine.

    Attributes:
        pixels: (T, Z, 2, 2) pixels (x, y) of the cine's own array: the point that a walk anti-clockwise on the screen
            (x to the right, y down) meets first, then the other; NaN where nothing was seen.
        presence: (T, Z, 2) probability, 0 to 1, that there is such a point.
        certainty: (T, Z, 2), 0 to 1: how much of what was seen lies at one place.
    """

    pixels: NDArray[np.float64]
    presence: NDArray[np.float64]
    certainty: NDArray[np.float64]


def find_points(
    cine: Cine,
    model: LandmarkModel,
    *,
    device: torch.device | None = None,
    batch: int = 8,
    views: int = 4,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> CinePoints:
    """Runs a network over a cine.

    The picture is turned and mirrored into the usual view first, so that a cine gives the very same points however its
    file stores it, and cut to the square that the network knows. Where no point is likely there, the whole picture is
    looked at.

    Args:
        cine: Any spacing, size and orientation.
        model: Ours or the published one; it is moved to `device`.
        device: None is the CPU.
        batch: Slices at once.
        views: Take the mean over so many of the picture and its three mirror images, 1 to 4 (our network).
        progress: Called with (frames done, frames in all); begins anew where the whole picture is looked at.
        stop: Asked before every batch.

    Returns:
        Points of every slice and frame, likely or not.

    Raises:
        CardioDiTError: The images are blank.
        Cancelled: `stop` said so.
    """
    view = CanonicalView.of(cine.affine)
    array, spacing = view.apply(cine.array), view.spacing(cine.spacing)
    whole: Window = (slice(0, array.shape[2]), slice(0, array.shape[3]))
    window = heart_window(array, spacing, model.manifest.field_mm)
    places = np.full((*array.shape[:2], 2, 2), np.nan)
    presence, certainty = np.zeros(places.shape[:3]), np.zeros(places.shape[:3])
    for part in [window] if window == whole else [window, whole]:
        seen = array[:, :, part[0], part[1]]
        read = _reader(model, seen, spacing, device or torch.device("cpu"), batch, views, stop)
        for t, frame in enumerate(seen):
            found = read(frame)
            places[t] = found.places + [part[1].start, part[0].start]
            presence[t], certainty[t] = found.presence, found.certainty
            if progress is not None:
                progress(t + 1, len(seen))
        if (presence >= model.manifest.rule.presence).any():
            break
    return CinePoints(*_as_stored(view, places, presence, certainty, (array.shape[3], array.shape[2])))


def _reader(
    model: LandmarkModel,
    array: NDArray[np.generic],
    spacing: tuple[float, float, float],
    device: torch.device,
    batch: int,
    views: int,
    stop: Stop | None,
) -> _Reader:
    """What takes the planes of a frame and gives points in pixels of these planes."""
    network, manifest = model.network, model.manifest
    if not isinstance(network, LandmarkNetwork):

        def read_published(frame: NDArray[np.generic]) -> SlicePoints:
            return predict_published(
                network,
                frame,
                spacing[:2],
                threshold=manifest.rule.presence,
                largest_component=manifest.rule.largest_component,
                device=device,
                batch=batch,
                stop=stop,
            )

        return read_published
    scale = brightness(array, manifest.intensity.low_percentile, manifest.intensity.high_percentile)
    sampler = PlaneSampler((array.shape[2], array.shape[3]), spacing[:2], network.config.spacing_mm)

    def read(frame: NDArray[np.generic]) -> SlicePoints:
        found = predict_points(
            network,
            scale.scale(sampler.to_network(frame)),
            step=network.config.neighbour_step(spacing[2]),
            device=device,
            batch=batch,
            views=views,
            window_mm=manifest.rule.window_mm,
            stop=stop,
        )
        return SlicePoints(sampler.places_in_source(found.places), found.presence, found.certainty)

    return read


def _as_stored(
    view: CanonicalView,
    places: NDArray[np.float64],
    presence: NDArray[np.float64],
    certainty: NDArray[np.float64],
    size_xy: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """From the usual view back to the array as the file stores it."""
    places = places.copy()
    for axis, flip in enumerate((view.flip_x, view.flip_y)):
        if flip:
            places[..., axis] = size_xy[axis] - 1 - places[..., axis]
    if view.swap:
        places = places[..., ::-1]
    values = [places, presence, certainty]
    if view.flip_z:
        values = [value[:, ::-1] for value in values]
    if view.swap ^ view.flip_x ^ view.flip_y:  # in a mirrored picture the walk meets them the other way round
        values = [value[:, :, ::-1] for value in values]
    return values[0], values[1], values[2]
