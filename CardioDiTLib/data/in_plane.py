"""From the pixels of a slice to those of the network, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse

from CardioDiTLib.errors import CardioDiTError

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
    # A small tolerance keeps pixels inside that rounding alone would put out.
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


class PlaneSampler:
    """Linear resampling in plane about the same middle, both ways; slices and frames are never mixed.

    Args:
        shape_yx: Rows and columns of the source.
        spacing_xy_mm: Its pixel spacing (x, y), mm.
        target_mm: Pixel spacing of the network, mm.
        turn_rad: What lies in this direction from the middle of the source (x to the right, y down) lies to the right
            in the network's planes. These are then square, and beyond the source they are as dark as its darkest pixel.
        middle: Pixel (x, y) of the source about which the network's planes lie; None for its middle.
        side: Rows and columns of the network's planes; None for those that cover the source.

    Attributes:
        shape: (H, W) of the network's planes.
    """

    def __init__(
        self,
        shape_yx: tuple[int, int],
        spacing_xy_mm: tuple[float, float],
        target_mm: float,
        turn_rad: float = 0.0,
        middle: tuple[float, float] | None = None,
        side: int | None = None,
    ) -> None:
        self.source_shape = shape_yx
        sizes = (shape_yx[1], shape_yx[0])
        ratio = [target_mm / spacing for spacing in spacing_xy_mm]
        counts = [max(1, round(size / r)) for size, r in zip(sizes, ratio)]
        if side or turn_rad:
            counts = [side or max(counts)] * 2
        self.shape = (counts[1], counts[0])
        cos, sin = math.cos(turn_rad), math.sin(turn_rad)
        self._there_linear = np.diag(ratio) @ np.array([[cos, -sin], [sin, cos]])
        self._middle = np.array([(count - 1) / 2 for count in counts])
        self._source_middle = np.array([(size - 1) / 2 for size in sizes] if middle is None else middle)
        back_linear = np.linalg.inv(self._there_linear)
        there = np.column_stack([self._there_linear, self._source_middle - self._there_linear @ self._middle])
        back = np.column_stack([back_linear, self._middle - back_linear @ self._source_middle])
        self._there, seen = plane_operator(there, self.source_shape, self.shape)
        self._back, held = plane_operator(back, self.shape, self.source_shape)
        parted = bool(turn_rad) or side is not None or middle is not None
        self._unseen: NDArray[np.bool_] | None = ~seen if parted else None
        self._unheld: NDArray[np.bool_] | None = ~held if parted else None
        self._blur_there = (_sigma(ratio[1]), _sigma(ratio[0]))
        self._blur_back = (_sigma(1 / ratio[1]), _sigma(1 / ratio[0]))

    def to_network(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., Y, X) -> (..., H, W) float32."""
        result = apply_plane_operator(self._there, _blurred(planes, self._blur_there), self.shape)
        if self._unseen is not None:
            result[..., self._unseen] = np.min(planes)
        return result

    def to_source(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., H, W) -> (..., Y, X) float32; 0 where a turned or smaller plane does not reach."""
        result = apply_plane_operator(self._back, _blurred(planes, self._blur_back), self.source_shape)
        if self._unheld is not None:
            result[..., self._unheld] = 0.0
        return result

    def places_in_source(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """(..., 2) pixels (x, y) of the network's planes -> (..., 2) pixels (x, y) of the source."""
        offset = np.asarray(places, np.float64) - self._middle
        return offset @ self._there_linear.T + self._source_middle


def _sigma(ratio: float) -> float:
    """Gaussian, in source pixels, that a coarser grid asks for (Cardoso et al., MICCAI 2015); 0 for a finer one."""
    return float(np.sqrt((ratio**2 - 1.0) / (8.0 * np.log(2.0)))) if ratio > 1.05 else 0.0


def _blurred(planes: NDArray[Any], sigma: tuple[float, float]) -> NDArray[np.float32]:
    values = np.asarray(planes, dtype=np.float32)
    if max(sigma) == 0:
        return values
    return np.asarray(
        ndimage.gaussian_filter(values, (0.0,) * (values.ndim - 2) + sigma, mode="nearest", truncate=3.0), np.float32
    )
