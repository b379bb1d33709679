"""Reading the published network: threshold, label map, pieces, middle of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CardioDiTLib.data.in_plane import apply_plane_operator, plane_operator, take_nearest
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.slice_points import SlicePoints
from CardioDiTLib.models.rvip_network import RvipNetwork
from CardioDiTLib.progress import Stop

ANTERIOR, INFERIOR = 1, 2

Point = tuple[float, float]
THRESHOLD = 0.5
NORMALISATIONS = ("channel", "joint")


def rvip_points_from_label_mask(labels: ArrayLike, both_only: bool) -> tuple[Point | None, Point | None]:
    """Mean pixel of each label in one slice, as published, quirks included.

    * All pixels count: with two components of one label the point lies between them (filter first).
    * The smallest value present is taken for background, so a mask without background loses that label.
    * ``both_only`` counts distinct labels: 1 and 3 pass as two, 1, 2 and 3 do not.

    Args:
        labels: (Y, X); 0 background, 1 anterior, 2 inferior.
        both_only: No points unless exactly two distinct labels are present ("line"); otherwise each point by itself
            ("points").

    Returns:
        The anterior and the inferior point (y, x) in pixels, None where there is none.

    Raises:
        CardioDiTError: The mask is not two-dimensional.
    """
    plane = np.asarray(labels)
    if plane.ndim != 2:
        raise CardioDiTError(f"The mask of a slice has two dimensions, this one has {plane.ndim}.", "Give one slice.")
    present = np.unique(plane)[1:]
    if both_only and len(present) != 2:
        return None, None

    def mean_of(label: int) -> Point | None:
        if label not in present:
            return None
        y, x = np.argwhere(plane == label).mean(axis=0)
        return float(y), float(x)

    return mean_of(ANTERIOR), mean_of(INFERIOR)


def largest_component_per_slice(labels: ArrayLike) -> NDArray[np.generic]:
    """Keep the largest 8-connected component of each label in each slice, the first in raster order on ties.

    Args:
        labels: (Z, Y, X).

    Returns:
        (Z, Y, X), everything else 0.
    """
    volume = _volume(labels)
    return np.stack([_filtered(plane, np.ones((3, 3))) for plane in volume])


def _volume(labels: ArrayLike) -> NDArray[np.generic]:
    volume = np.asarray(labels)
    if volume.ndim != 3:
        raise CardioDiTError(f"A label volume has three dimensions, this one has {volume.ndim}.", "Give (Z, Y, X).")
    return volume


def _filtered(labels: NDArray[np.generic], structure: NDArray[np.generic]) -> NDArray[np.generic]:
    kept = np.zeros_like(labels)
    for label in np.unique(labels):
        if label == 0:
            continue
        parts, _ = ndimage.label(labels == label, structure=structure)
        kept[parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))] = label
    return kept


class RvipGrid:
    """Resampling and cropping of slices as published, both ways.

    The first pixel stays where it is, sizes are rounded, then the middle is cut out or zeros are put around; an odd row
    or column more is cut off, or added, at the start.

    Args:
        shape_yx: Rows and columns of the source.
        spacing_xy_mm: Its pixel spacing (x, y), mm.
        spacing_mm: Pixel spacing of the grid.
        size: Its rows and columns.
    """

    def __init__(
        self, shape_yx: tuple[int, int], spacing_xy_mm: tuple[float, float], spacing_mm: float = 1.2, size: int = 224
    ) -> None:
        self.source_shape, self.size = shape_yx, size
        self._ratio = (spacing_mm / spacing_xy_mm[0], spacing_mm / spacing_xy_mm[1])
        self.resampled = (
            max(1, round(shape_yx[0] / self._ratio[1])),
            max(1, round(shape_yx[1] / self._ratio[0])),
        )
        there = np.array([[self._ratio[0], 0, 0], [0, self._ratio[1], 0]])
        self._there = plane_operator(there, self.source_shape, self.resampled)[0]
        back = np.array([[1 / self._ratio[0], 0, 0], [0, 1 / self._ratio[1], 0]])
        self._back = plane_operator(back, self.resampled, self.source_shape, order=0)[0]

    def resample(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., Y, X) -> (..., Y', X') float32, linear, not yet cut to size."""
        return apply_plane_operator(self._there, np.asarray(planes, np.float32), self.resampled)

    def fit(self, planes: NDArray[Any]) -> NDArray[Any]:
        """(..., Y', X') -> (..., size, size)."""
        for axis in (-2, -1):
            planes = _fitted(planes, axis, self.size)
        return planes

    def prepare(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., Y, X) grey values -> (..., size, size) within [0, 1], every slice by itself, as published.

        Resampled, clipped to 0 and the slice's 0.999 quantile, stretched to [0, 1], cut to size, stretched again.
        """
        return stretched(self.fit(bright(self.resample(planes))))

    def labels_to_source(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(..., size, size) -> (..., Y, X), nearest neighbour, as published; a label of one pixel may vanish."""
        planes = labels
        for axis, count in ((-2, self.resampled[0]), (-1, self.resampled[1])):
            planes = _unfitted(planes, axis, count)
        return np.asarray(take_nearest(self._back, planes, self.source_shape), np.uint8)

    def places_in_grid(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """(..., 2) pixels (x, y) of the source -> pixels (x, y) of the grid."""
        return np.asarray(places, np.float64) / self._ratio + self.offset

    def places_in_source(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """(..., 2) pixels (x, y) of the grid -> pixels (x, y) of the source."""
        return (np.asarray(places, np.float64) - self.offset) * self._ratio

    @property
    def offset(self) -> NDArray[np.float64]:
        """(x, y) pixels from the resampled plane to the one that is cut to size."""
        return np.array([_start(count, self.size) for count in (self.resampled[1], self.resampled[0])], np.float64)


def bright(planes: NDArray[Any]) -> NDArray[np.float32]:
    """(..., Y, X), every slice clipped to 0 and its 0.999 quantile and stretched to [0, 1]."""
    values = np.asarray(planes, np.float32)
    top = np.quantile(values, 0.999, axis=(-2, -1), keepdims=True).astype(np.float32)
    return stretched(np.clip(values, 0, np.maximum(top, 0)))


def stretched(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., Y, X), every slice from its smallest to its largest value to [0, 1]; one without contrast becomes 0."""
    low, high = planes.min((-2, -1), keepdims=True), planes.max((-2, -1), keepdims=True)
    return np.asarray((planes - low) / np.where(high > low, high - low, 1), np.float32)


def _start(count: int, size: int) -> int:
    """Pixels added at the start, negative where some are cut off."""
    missing = abs(size - count)
    return (missing - missing // 2) * (1 if size >= count else -1)


def _fitted(planes: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    count, start = planes.shape[axis], _start(planes.shape[axis], size)
    if start >= 0:
        widths = [(0, 0)] * planes.ndim
        widths[axis] = (start, size - count - start)
        return np.pad(planes, widths)
    return np.take(planes, range(-start, -start + size), axis=axis)


def _unfitted(planes: NDArray[Any], axis: int, count: int) -> NDArray[Any]:
    size, start = planes.shape[axis], _start(count, planes.shape[axis])
    if start >= 0:
        return np.take(planes, range(start, start + count), axis=axis)
    widths = [(0, 0)] * planes.ndim
    widths[axis] = (-start, count - size + start)
    return np.pad(planes, widths)


def rvip_label_map(
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


@torch.inference_mode()
def predict_rvip(
    network: RvipNetwork,
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
    coarser pixels first, as published (`RvipGrid.labels_to_source`), may vanish.

    Args:
        network: In evaluation mode, on `device`.
        planes: (Z, Y, X) grey values.
        spacing_xy_mm: Their pixel spacing (x, y).
        threshold: See `rvip_label_map`.
        largest_component: The same.
        device: Where the network is; None is the CPU.
        batch: Slices at once.
        stop: Asked before every batch.

    Returns:
        Places in pixels (x, y) of the planes; presence is the highest probability in the image, so that a point is
        there where it lies above the threshold; certainty is the mean probability of the blob's pixels.

    Raises:
        Cancelled: `stop` said so.
    """
    shape = (planes.shape[-2], planes.shape[-1])
    grid = RvipGrid(shape, spacing_xy_mm, network.config.spacing_mm, network.config.size)
    images = grid.prepare(planes)[:, None]
    where = device or torch.device("cpu")
    parts = []
    for first in range(0, len(images), batch):
        if stop is not None:
            stop.check()
        given = torch.from_numpy(np.ascontiguousarray(images[first : first + batch])).to(where)
        parts.append(network(given).float().sigmoid().cpu().numpy())
    probabilities = np.concatenate(parts)
    labels = rvip_label_map(probabilities, threshold, largest_component)
    places = grid.places_in_source(_middles(labels))
    certainty = np.zeros(places.shape[:2])
    for z, kind in np.ndindex(*certainty.shape):
        blob = labels[z] == (ANTERIOR, INFERIOR)[kind]
        if blob.any():
            certainty[z, kind] = probabilities[z, kind][blob].mean()
    presence = np.where(np.isnan(places[..., 0]), 0.0, probabilities.max(axis=(2, 3)))
    return SlicePoints(places, presence, certainty)


def _middles(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(Z, Y, X) -> (Z, 2, 2) pixels (x, y)."""
    points = np.full((len(labels), 2, 2), np.nan)
    for plane, found in zip(labels, points):
        # the published function takes the smallest value for background: a plane without background is no case here
        for kind, point in enumerate(rvip_points_from_label_mask(plane, both_only=False)):
            if point is not None:
                found[kind] = point[::-1]
    return points


@dataclass(frozen=True)
class RvipVariant:
    """What sets a variant apart.

    Attributes:
        sigma_px: Of the Gaussian, pixels of 1.2 mm; 0: blobs.
        histogram_share: Share of images that are matched to another slice's histogram.
    """

    sigma_px: float
    histogram_share: float


VARIANTS = {
    "base": RvipVariant(0.0, 0.0),
    "var1": RvipVariant(0.0, 0.1),
    "var2": RvipVariant(2.0, 0.0),
    "var3": RvipVariant(4.0, 0.0),
}


def blobs(places: NDArray[np.float64], shape_yx: tuple[int, int], radius_px: float) -> NDArray[np.bool_]:
    """A small disc about each point.

    Args:
        places: (2, 2) pixels (x, y), NaN for a point that is not there.
        shape_yx: Rows and columns.
        radius_px: A point always gets its own pixel, however small this is.

    Returns:
        (2, Y, X).
    """
    masks = np.zeros((2, *shape_yx), bool)
    rows, columns = np.ogrid[: shape_yx[0], : shape_yx[1]]
    for mask, (x, y) in zip(masks, places):
        if np.isnan(x) or not (-0.5 <= x < shape_yx[1] - 0.5 and -0.5 <= y < shape_yx[0] - 0.5):
            continue
        mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius_px**2
        mask[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))] = True
    return masks


def rvip_targets(masks: NDArray[np.bool_], sigma_px: float, normalisation: str = "channel") -> NDArray[np.float32]:
    """Targets of the two channels.

    Args:
        masks: (2, Y, X) blobs on the grid that the network sees.
        sigma_px: 0 gives the blobs themselves.
        normalisation: "channel" or "joint", see above.

    Returns:
        (2, Y, X) within [0, 1].

    Raises:
        CardioDiTError: Another normalisation.
    """
    if normalisation not in NORMALISATIONS:
        raise CardioDiTError(f"There is no normalisation '{normalisation}'.", f"Use {' or '.join(NORMALISATIONS)}.")
    if sigma_px <= 0:
        return masks.astype(np.float32)
    soft = np.stack([ndimage.gaussian_filter(mask.astype(np.float32), sigma_px) for mask in masks])
    axes = (0, 1, 2) if normalisation == "joint" else (1, 2)
    low, high = soft.min(axes, keepdims=True), soft.max(axes, keepdims=True)
    return np.asarray((soft - low) / np.where(high > low, high - low, 1), np.float32)
