"""Coordinate systems of files, and axes that are slightly crooked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import MAX_REPAIRED_SKEW, MAX_SKEW, axis_skew

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and NRRD files count towards left and posterior, the library towards right and anterior."""


def squared_axes(affine: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[np.float64]:
    """The nearest affine with right angles, the centre of the image staying where it is.

    The direction matrix is replaced by the orthogonal factor of its polar decomposition, the nearest one in the
    least-squares sense; spacings stay. Axes that are right already, or crooked by more than 3 degrees (a true shear,
    which must be resampled), are returned unchanged.

    Args:
        affine: 4x4, voxel index (x, y, z) to mm.
        size: (X, Y, Z), number of voxels.

    Returns:
        4x4.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (spacing < 1e-6).any():
        return affine
    if not MAX_SKEW < axis_skew(affine) <= MAX_REPAIRED_SKEW:
        return affine
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    squared = affine.copy()
    squared[:3, :3] = (left @ right) * spacing
    centre = (np.asarray(size) - 1) / 2.0
    squared[:3, 3] += affine[:3, :3] @ centre - squared[:3, :3] @ centre
    return squared
