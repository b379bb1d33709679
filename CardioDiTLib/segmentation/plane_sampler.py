"""From the pixels of a slice to those of the network, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.data.planes import apply_plane_operator, plane_operator


class PlaneSampler:
    """Linear resampling in plane about the same middle, both ways; slices and frames are never mixed.

    Args:
        shape_yx: Rows and columns of the source.
        spacing_xy_mm: Its pixel spacing (x, y), mm.
        target_mm: Pixel spacing of the network, mm.

    Attributes:
        shape: (H, W) of the network's planes.
    """

    def __init__(self, shape_yx: tuple[int, int], spacing_xy_mm: tuple[float, float], target_mm: float) -> None:
        self.source_shape = shape_yx
        sizes = (shape_yx[1], shape_yx[0])
        ratio = [target_mm / spacing for spacing in spacing_xy_mm]
        counts = [max(1, round(size / r)) for size, r in zip(sizes, ratio)]
        self.shape = (counts[1], counts[0])
        there, back = np.zeros((2, 3)), np.zeros((2, 3))
        for axis, (size, count, r) in enumerate(zip(sizes, counts, ratio)):
            there[axis, axis], there[axis, 2] = r, (size - 1) / 2 - r * (count - 1) / 2
            back[axis, axis], back[axis, 2] = 1 / r, (count - 1) / 2 - (size - 1) / 2 / r
        self._there = plane_operator(there, self.source_shape, self.shape)[0]
        self._back = plane_operator(back, self.shape, self.source_shape)[0]
        self._blur_there = (_sigma(ratio[1]), _sigma(ratio[0]))
        self._blur_back = (_sigma(1 / ratio[1]), _sigma(1 / ratio[0]))

    def to_network(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., Y, X) -> (..., H, W) float32."""
        return apply_plane_operator(self._there, _blurred(planes, self._blur_there), self.shape)

    def to_source(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., H, W) -> (..., Y, X) float32."""
        return apply_plane_operator(self._back, _blurred(planes, self._blur_back), self.source_shape)


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
