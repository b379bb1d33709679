"""From the pixels of a slice to those of the network, and back."""

from __future__ import annotations

import math
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
        turn_rad: What lies in this direction from the middle of the source (x to the right, y down) lies to the right
            in the network's planes. These are then square, and beyond the source they are as dark as its darkest pixel.

    Attributes:
        shape: (H, W) of the network's planes.
    """

    def __init__(
        self,
        shape_yx: tuple[int, int],
        spacing_xy_mm: tuple[float, float],
        target_mm: float,
        turn_rad: float = 0.0,
    ) -> None:
        self.source_shape = shape_yx
        sizes = (shape_yx[1], shape_yx[0])
        ratio = [target_mm / spacing for spacing in spacing_xy_mm]
        counts = [max(1, round(size / r)) for size, r in zip(sizes, ratio)]
        if turn_rad:
            counts = [max(counts)] * 2
        self.shape = (counts[1], counts[0])
        cos, sin = math.cos(turn_rad), math.sin(turn_rad)
        self._there_linear = np.diag(ratio) @ np.array([[cos, -sin], [sin, cos]])
        self._middle = np.array([(count - 1) / 2 for count in counts])
        self._source_middle = np.array([(size - 1) / 2 for size in sizes])
        back_linear = np.linalg.inv(self._there_linear)
        there = np.column_stack([self._there_linear, self._source_middle - self._there_linear @ self._middle])
        back = np.column_stack([back_linear, self._middle - back_linear @ self._source_middle])
        self._there, seen = plane_operator(there, self.source_shape, self.shape)
        self._back, held = plane_operator(back, self.shape, self.source_shape)
        self._unseen: NDArray[np.bool_] | None = ~seen if turn_rad else None
        self._unheld: NDArray[np.bool_] | None = ~held if turn_rad else None
        self._blur_there = (_sigma(ratio[1]), _sigma(ratio[0]))
        self._blur_back = (_sigma(1 / ratio[1]), _sigma(1 / ratio[0]))

    def to_network(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., Y, X) -> (..., H, W) float32."""
        result = apply_plane_operator(self._there, _blurred(planes, self._blur_there), self.shape)
        if self._unseen is not None:
            result[..., self._unseen] = np.min(planes)
        return result

    def to_source(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """(..., H, W) -> (..., Y, X) float32; 0 where a turned plane does not reach."""
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
