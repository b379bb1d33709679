"""The published grid: slices of 224 x 224 pixels at 1.2 mm, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.planes import apply_plane_operator, plane_operator, take_nearest


class PublishedGrid:
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
        self._back, self._inside = plane_operator(back, self.resampled, self.source_shape, order=0)

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
