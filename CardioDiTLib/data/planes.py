"""In-plane resampling of many planes at once.

All planes of a cine (every slice, every frame) are resampled by the same 2D affine. It is therefore written once as a
sparse matrix that maps the pixels of a source plane to those of a target plane, and applied to all planes in one
product; neighbouring slices and frames are never mixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..errors import CardioDiTError

#: Taps a side of the interpolation kernels: nearest, linear, cubic convolution.
_TAPS = {0: 1, 1: 2, 3: 4}


def _kernel(order: int, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of a sample at `distance` pixels; order 3 is Keys' cubic convolution (a = -1/2; IEEE TASSP 1981)."""
    d = np.abs(distance)
    if order == 1:
        return np.clip(1.0 - d, 0.0, None)
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return np.where(d <= 1.0, near, np.where(d < 2.0, far, 0.0))


def _inside_index(index: NDArray[np.int64], size: int, padding: str) -> NDArray[np.int64]:
    """Fold indices that lie outside 0..size-1 back in, by edge replication or by reflection about the outer face."""
    if padding == "reflect":
        period = 2 * size
        index = np.mod(index, period)
        return np.where(index >= size, period - 1 - index, index)
    return np.clip(index, 0, size - 1)


def plane_operator(
    matrix: ArrayLike,
    source_shape: tuple[int, int],
    target_shape: tuple[int, int],
    order: int = 1,
    padding: str = "edge",
) -> tuple[sparse.csr_matrix, NDArray[np.bool_]]:
    """Sparse matrix that resamples a plane by a 2D affine.

    Args:
        matrix: (2, 3); maps a target pixel (x, y, 1) to the source position (x, y), in pixels.
        source_shape: (Y, X) of the planes that go in.
        target_shape: (Y', X') of the planes that come out.
        order: 0 nearest neighbour, 1 bilinear, 3 bicubic (Keys).
        padding: What lies beyond the source, "edge" (the outermost pixels go on) or "reflect" (mirrored).

    Returns:
        (Y'X', YX) float32 matrix in row-major pixel order, and (Y', X') mask of target pixels whose centre lies
        within the source's outer pixel faces.

    Raises:
        CardioDiTError: If the order or the padding is unknown.
    """
    if order not in _TAPS:
        raise CardioDiTError(f"Interpolation order {order!r} is unknown.", "Use 0, 1 or 3.")
    if padding not in ("edge", "reflect"):
        raise CardioDiTError(f"Padding {padding!r} is unknown.", "Use 'edge' or 'reflect'.")
    affine = np.asarray(matrix, dtype=np.float64)
    (height, width), (rows, columns) = source_shape, target_shape
    yy, xx = np.mgrid[:rows, :columns]
    x = affine[0, 0] * xx + affine[0, 1] * yy + affine[0, 2]
    y = affine[1, 0] * xx + affine[1, 1] * yy + affine[1, 2]
    # A whisker of tolerance keeps pixels inside that rounding alone would put out.
    inside = (x >= -0.5 - 1e-6) & (x <= width - 0.5 + 1e-6) & (y >= -0.5 - 1e-6) & (y <= height - 0.5 + 1e-6)
    x, y = x.ravel(), y.ravel()
    if order == 0:
        # The small offset makes ties fall to one side alike on every platform and in both axes.
        ix, iy = np.floor(x + 0.5 - 1e-9).astype(np.int64), np.floor(y + 0.5 - 1e-9).astype(np.int64)
        columns_hit = _inside_index(iy, height, padding) * width + _inside_index(ix, width, padding)
        weights = np.ones_like(x)
        taps = 1
    else:
        side = _TAPS[order]
        x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        steps = np.arange(side) - (side // 2 - 1)
        ix, iy = x0[:, None] + steps, y0[:, None] + steps
        wx, wy = _kernel(order, x[:, None] - ix), _kernel(order, y[:, None] - iy)
        ix, iy = _inside_index(ix, width, padding), _inside_index(iy, height, padding)
        columns_hit = (iy[:, :, None] * width + ix[:, None, :]).reshape(len(x), -1).ravel()
        weights = (wy[:, :, None] * wx[:, None, :]).reshape(len(x), -1).ravel()
        taps = side * side
    starts = np.arange(0, len(x) * taps + 1, taps)
    operator = sparse.csr_matrix(
        (weights.astype(np.float32), columns_hit, starts), shape=(rows * columns, height * width)
    )
    return operator, inside


def apply_plane_operator(
    operator: sparse.csr_matrix, planes: NDArray[np.float32], target_shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Resample all planes with one sparse product.

    Args:
        operator: From `plane_operator`.
        planes: (..., Y, X).
        target_shape: (Y', X').

    Returns:
        (..., Y', X') float32, C-contiguous.
    """
    leading = planes.shape[:-2]
    columns = np.ascontiguousarray(planes.reshape(-1, operator.shape[1]).T, dtype=np.float32)
    result = operator @ columns
    return np.ascontiguousarray(result.T).reshape(*leading, *target_shape)


def take_nearest(
    operator: sparse.csr_matrix, planes: NDArray[np.generic], target_shape: tuple[int, int]
) -> NDArray[np.generic]:
    """Apply an order-0 operator by plain indexing, which keeps the array's own type (labels stay labels)."""
    leading = planes.shape[:-2]
    return planes.reshape(-1, operator.shape[1])[:, operator.indices].reshape(*leading, *target_shape)
