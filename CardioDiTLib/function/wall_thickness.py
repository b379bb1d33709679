"""Thickness of the left-ventricular wall in a short-axis slice.

The wall is measured on its mid-wall line, the set of points that are equally far from the endocardium and from the
epicardium; the thickness there is the sum of both distances. This is the centre-line idea (Sheehan et al., Circulation
1986) without chords that can cross: unlike rays from the middle of the cavity it does not overestimate where the wall
is not at right angles to the ray, and unlike the nearest distance from one contour to the other it is the same in
both directions. Both contours are found between the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from CardioDiTLib.labels import LV, MYOCARDIUM

_SMOOTHING_PIXELS = 1.0  # takes the pixels' staircase away; moves a circle of radius r by 0.5 / r pixels inward
_FINE_MM = 0.4  # grid on which contours are found
_FEWEST_CAVITY_PIXELS = 9
_MARGIN = 5
_SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True)
class RingThickness:
    """Wall of one slice.

    Attributes:
        centre: (2,) middle of the cavity, (x, y) index.
        points: (N, 2) points of the mid-wall line, (x, y) index.
        thickness_mm: (N,) thickness at each of them.
    """

    centre: NDArray[np.float64]
    points: NDArray[np.float64]
    thickness_mm: NDArray[np.float64]

    def mean_mm(self, spacing: tuple[float, float]) -> float:
        """Mean around the ring, every degree counting the same; spacing is (x, y) mm."""
        offsets = (self.points - self.centre) * spacing
        return float(around(np.arctan2(offsets[:, 1], offsets[:, 0]), self.thickness_mm).mean())


def around(angles: NDArray[np.float64], values: NDArray[np.float64], count: int = 360) -> NDArray[np.float64]:
    """Values at `count` even angles from half a step on, by periodic linear interpolation.

    Args:
        angles: (N,) radian, any order.
        values: (N,).

    Returns:
        (count,).
    """
    even = (np.arange(count) + 0.5) * (2.0 * np.pi / count)
    return np.asarray(np.interp(even, np.mod(angles, 2.0 * np.pi), values, period=2.0 * np.pi))


def closed_ring(labels: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Cavity, and cavity with wall, of a slice in which muscle surrounds the cavity all round.

    Gaps in the muscle of up to two pixels count as closed.

    Args:
        labels: (Y, X) of one slice.

    Returns:
        Two masks (Y, X) without holes; None where there is no cavity of nine pixels or the ring is open.
    """
    parts, count = ndimage.label(labels == LV)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    if sizes[largest] < _FEWEST_CAVITY_PIXELS:
        return None
    cavity = ndimage.binary_fill_holes(parts == largest)
    muscle = ndimage.binary_closing(np.pad(labels == MYOCARDIUM, 1), _SQUARE)[1:-1, 1:-1]
    if not ndimage.binary_fill_holes(muscle)[cavity].all():
        return None
    joined, _ = ndimage.label(cavity | muscle)
    y, x = np.argwhere(cavity)[0]
    return np.asarray(cavity, bool), np.asarray(ndimage.binary_fill_holes(joined == joined[y, x]), bool)


def _crossings(
    field: NDArray[np.float64], *others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Where a field passes through 0 along grid lines: (N, 2) rows and columns, and other fields there."""
    points, values = [], []
    for axis in (0, 1):
        low, high = [slice(None)] * 2, [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        a, b = field[tuple(low)], field[tuple(high)]
        where = np.argwhere((a > 0) != (b > 0)) if np.isfinite(field).all() else np.argwhere(a * b <= 0)
        rows, columns = where.T
        start, end = a[rows, columns], b[rows, columns]
        share = np.divide(start, start - end, out=np.full(len(where), 0.5), where=start != end)
        place = where.astype(np.float64)
        place[:, axis] += share
        points.append(place)
        values.append(
            [o[tuple(low)][rows, columns] * (1 - share) + o[tuple(high)][rows, columns] * share for o in others]
        )
    return np.vstack(points), [np.concatenate(pair) for pair in zip(*values)]


def ring_thickness(labels: NDArray[np.integer], spacing: tuple[float, float]) -> RingThickness | None:
    """Measure the wall of one slice in its plane, between the pixels.

    The masks of cavity and of cavity with wall are smoothed by a Gaussian of one pixel and interpolated by cubic
    splines; the contours are their levels of one half. Where the heart's surface is slanted against the slice, near
    the apex, the thickness in the plane is larger than at right angles to the wall.

    Args:
        labels: (Y, X) of one slice: 2 myocardium, 3 left ventricle.
        spacing: (x, y) mm.

    Returns:
        The wall along its mid-line, mm; None where the ring is not closed.
    """
    ring = closed_ring(labels)
    if ring is None:
        return None
    cavity, whole = ring
    rows, columns = np.nonzero(whole)
    top, left = int(rows.min()) - _MARGIN, int(columns.min()) - _MARGIN
    height, width = int(np.ptp(rows)) + 2 * _MARGIN + 1, int(np.ptp(columns)) + 2 * _MARGIN + 1
    sx, sy = spacing
    fine = (max(1, int(np.ceil(sy / _FINE_MM))), max(1, int(np.ceil(sx / _FINE_MM))))
    grid = np.meshgrid(
        np.arange((height - 1) * fine[0] + 1) / fine[0], np.arange((width - 1) * fine[1] + 1) / fine[1], indexing="ij"
    )
    step = np.array([sy / fine[0], sx / fine[1]])  # mm (row, column)

    def levels(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        box = np.zeros((height, width))
        y, x = np.nonzero(mask)
        box[y - top, x - left] = 1.0
        return ndimage.map_coordinates(ndimage.gaussian_filter(box, _SMOOTHING_PIXELS), grid, order=3) - 0.5

    inner, outer = levels(cavity), levels(whole)
    contours = [_crossings(field)[0] * step for field in (inner, outer)]
    in_wall = np.argwhere((inner < 0) & (outer > 0))
    if not all(map(len, contours)) or not len(in_wall):
        return None
    distances = [cKDTree(contour).query(in_wall * step)[0] for contour in contours]
    difference, total = np.full(inner.shape, np.nan), np.full(inner.shape, np.nan)
    difference[tuple(in_wall.T)] = distances[0] - distances[1]
    total[tuple(in_wall.T)] = distances[0] + distances[1]
    place, (thickness,) = _crossings(difference, total)
    if len(place) < 8:  # a wall thinner than the fine grid: nothing that could be measured
        return None
    points = (place / fine + (top, left))[:, ::-1]
    y, x = np.nonzero(cavity)
    return RingThickness(np.array([x.mean(), y.mean()]), points, thickness)
