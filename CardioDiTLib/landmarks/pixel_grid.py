"""Slice coordinates in pixels, which the published metrics are defined in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import LandmarkTrack, check_affine
from CardioDiTLib.landmarks.published_metrics import FRAME_PX


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """Two axes in the plane of the slices.

    Attributes:
        rows: (3,) RAS direction of growing y, unit length.
        columns: (3,) RAS direction of growing x, unit length.
        origin: (3,) mm RAS of pixel (0, 0).
        spacing_mm: Pixel size (y, x).
        assumed: Whether the grid was made up because none was given.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    origin: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    assumed: bool

    @classmethod
    def of_affine(cls, affine: ArrayLike) -> PixelGrid:
        """The grid of an image, affine (4, 4) index (x, y, z) to mm in RAS."""
        matrix = check_affine(affine)
        x, y = (float(np.linalg.norm(matrix[:3, k])) for k in (0, 1))
        return cls(matrix[:3, 1] / y, matrix[:3, 0] / x, matrix[:3, 3], (y, x), False)

    @classmethod
    def fitted_to(cls, tracks: Sequence[LandmarkTrack]) -> PixelGrid:
        """A grid of 1 mm pixels through all points of one cine, the middle of the published frame at their mean.

        Rows run from the anterior to the inferior points. Distances and angles do not depend on it; the published
        upper bound does, as it depends on where the picture's corners are.
        """
        points = np.stack([track.points for track in tracks])
        with_both = ~np.isnan(points).any(axis=(-2, -1))
        chords = (points[..., 1, :] - points[..., 0, :])[with_both]
        # every slice about its own middle, so that only directions within the slices are left
        by_slice = np.moveaxis(points, 2, 0).reshape(points.shape[2], -1, 3)
        around = np.concatenate([part - _mean(part) for part in by_slice])
        around = around[~np.isnan(around).any(axis=1)]
        rows = chords.sum(axis=0) if len(chords) else np.zeros(3)
        rows = rows / np.linalg.norm(rows) if np.linalg.norm(rows) > 1e-6 else np.array([0.0, 1.0, 0.0])
        across = around - (around @ rows)[:, None] * rows
        directions = np.linalg.svd(np.concatenate([across, 1e-9 * np.eye(3)]))[2]
        columns = directions[0] - (directions[0] @ rows) * rows
        columns = columns / np.linalg.norm(columns)
        return cls(rows, columns, _mean(points.reshape(-1, 3)) - FRAME_PX / 2.0 * (rows + columns), (1.0, 1.0), True)

    def pixels(self, points_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) mm RAS to (..., 2) pixels (y, x)."""
        offsets = points_ras_mm - self.origin
        return np.stack([offsets @ self.rows / self.spacing_mm[0], offsets @ self.columns / self.spacing_mm[1]], -1)


def _mean(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the points that are there; zero where there are none."""
    there = points[~np.isnan(points).any(axis=1)]
    return np.asarray(there.mean(axis=0) if len(there) else np.zeros(3))
