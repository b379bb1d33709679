"""Levels the in-plane spectrum of decoded slices: spatial frequencies that a codec attenuates are raised, up to a cap.

A codec trained on a mean error attenuates what it cannot predict, so edges are soft. Most of this attenuation depends
on the spatial frequency alone, and one small symmetric kernel, the same for all slices and frames, reverses that part.
The filter is linear: it adds no structure that the decoded slice does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

RADIUS = 5
"""Pixels that a fitted kernel reaches to each side."""

_SMALLEST_PART = 5e-4

_PATTERN_REACH_PX = 6.0
_LEAST_WEIGHT = 1e-30
_PERIODS = (8, 4)
_SPIKE = 2.5

_LOWEST = 12 / 128
"""Cycles a pixel below which nothing is changed: shape and contrast of the heart lie there."""


class DetailFilter(nn.Module):
    """A convolution in plane with a fixed kernel that keeps the mean; before it, a dotted pattern is taken away.

    Args:
        kernel: Rows of an odd square kernel, the same when turned by quarter turns; its sum is 1.
        period: Pixels after which a pattern that the codec's upsampling leaves repeats itself; 0 for none.
    """

    def __init__(self, kernel: Sequence[Sequence[float]], period: int = 0) -> None:
        super().__init__()
        self._period = period
        values, vectors = np.linalg.eigh(np.asarray(kernel, np.float64))
        # A symmetric kernel is a sum of products of one-dimensional ones; the few that matter cost much less than it.
        parts = [
            (float(value), vector)
            for value, vector in zip(values, vectors.T)
            if abs(value) > _SMALLEST_PART * abs(values).max()
        ]
        mean = sum(value * vector.sum() ** 2 for value, vector in parts)
        self._parts = [(value / mean, tuple(vector)) for value, vector in parts]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, Z, H, W, T) float -> the same shape; edges are mirrored."""
        # slice by slice, so that what is worked on stays in the processor's cache
        return torch.cat([self._slice(plane) for plane in image.split(1, dim=1)], dim=1)

    def _slice(self, image: torch.Tensor) -> torch.Tensor:
        planes = image.movedim(-1, 2).contiguous()
        sizes = planes.shape[-2:]
        if self._period:
            comb_down, comb_across = (_like(planes, _mean_matrix(size, self._period)) for size in sizes)
            mean_down, mean_across = (_like(planes, _mean_matrix(size, 1)) for size in sizes)
            # Difference between the means over places of the same phase and the mean over all places.
            pattern = comb_down @ planes @ comb_across.T - mean_down @ planes @ mean_across.T
            planes = planes - pattern
        made = torch.zeros_like(planes)
        for value, taps in self._parts:
            down, across = (_like(planes, _matrix(taps, size)) for size in sizes)
            made += value * (down @ planes @ across.T)
        return made.movedim(2, -1)


def _like(planes: torch.Tensor, matrix: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(matrix).to(planes)


@lru_cache(maxsize=8)
def _mean_matrix(size: int, period: int) -> NDArray[np.float64]:
    """(size, size) matrix of the local mean over places that lie whole periods away."""
    places = np.arange(size)
    away = places[:, None] - places
    weight = np.exp(-0.5 * (away / _PATTERN_REACH_PX) ** 2) * (away % period == 0)
    # numbers below the range of normal floats add nothing to a sum, and processors multiply them forty times slower
    weight[weight < _LEAST_WEIGHT] = 0.0
    return weight / weight.sum(axis=1, keepdims=True)


def find_period(made: NDArray[np.floating]) -> int:
    """Period of a pattern on the codec's grid that decoded planes (..., Y, X) show along an axis; 0 where there is
    none.
    """
    from scipy import fft

    side = made.shape[-1]
    planes = np.asarray(made, np.float32).reshape(-1, side, side)
    window = (np.hanning(side)[:, None] * np.hanning(side)).astype(np.float32)
    power = (np.abs(fft.fft2((planes - planes.mean(axis=(1, 2), keepdims=True)) * window)) ** 2).mean(axis=0)
    axis = power[0] + power[:, 0]
    for period in _PERIODS:
        place = side // period
        if side % period == 0 and axis[place] > _SPIKE * np.median(axis[[place - 4, place - 3, place + 3, place + 4]]):
            return period
    return 0


@lru_cache(maxsize=64)
def _matrix(taps: tuple[float, ...], size: int) -> NDArray[np.float64]:
    """(size, size) matrix of a one-dimensional convolution with mirrored edges."""
    reach, last = len(taps) // 2, size - 1
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for place, tap in enumerate(taps, start=-reach):
        # ... 2 1 | 0 1 2 ... n-2 n-1 | n-2 n-3 ...
        columns = np.abs((rows + place + last) % (2 * last) - last) if last else rows
        np.add.at(matrix, (rows, columns), tap)
    return matrix


def radial_spectrum(cines: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean power in plane of cines (..., Y, X), square, by cycles a picture; each plane's power sums to 1.

    Returns:
        (Y // 2,) power at 0, 1, 2 ... cycles along the picture's side.
    """
    from scipy import fft

    side = cines.shape[-1]
    window = np.hanning(side)[:, None] * np.hanning(side)
    planes = np.asarray(cines, np.float32).reshape(-1, side, side)
    planes = (planes - planes.mean(axis=(1, 2), keepdims=True)) * window.astype(np.float32)
    power = np.abs(fft.fft2(planes)) ** 2
    total = power.sum(axis=(1, 2), keepdims=True)
    mean = (power / np.maximum(total, 1e-9))[total[:, 0, 0] > 0].mean(axis=0, dtype=np.float64)
    place = (_radius(side) * side).astype(int)
    return (np.bincount(place.ravel(), mean.ravel()) / np.bincount(place.ravel()))[: side // 2]


def fit_kernel(
    real: NDArray[np.floating], made: NDArray[np.floating], cap: float = 2.5, radius: int = RADIUS
) -> NDArray[np.float64]:
    """The kernel that brings the spectrum in plane of made cines towards that of real ones.

    Args:
        real: (..., Y, X) square planes of real cines.
        made: (..., Y, X) planes of decoded ones, of the same size in pixels and millimetres.
        cap: Largest amplification of any frequency: beyond what is left of the signal there is only noise to amplify.
        radius: Pixels to each side.

    Returns:
        (2 radius + 1, 2 radius + 1) kernel, symmetric, of sum 1.
    """
    from scipy import fft

    ratio = np.sqrt(radial_spectrum(real) / np.maximum(radial_spectrum(made), 1e-12))
    side = 128
    cycles = np.arange(len(ratio)) / (2 * len(ratio))
    gain = np.where(cycles < _LOWEST, 1.0, np.clip(ratio, 1.0, cap))
    grid = np.interp(_radius(side), cycles, gain)
    kernel = np.roll(fft.ifft2(grid).real, (radius, radius), axis=(0, 1))[: 2 * radius + 1, : 2 * radius + 1]
    taper = np.hamming(2 * radius + 3)[1:-1]
    kernel = kernel * taper[:, None] * taper
    return kernel / kernel.sum()


def _radius(side: int) -> NDArray[np.float64]:
    from scipy import fft

    places = fft.fftfreq(side)
    return np.hypot(places[:, None], places)
