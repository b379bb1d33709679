"""Random halves of the real cohort, and as many synthetic cines: chance alone, at one size."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.evaluation.physiology import wasserstein
from CardioDiTLib.evaluation.synthesis_report import Better, SetNumber

MAX_SIZE = 250
"""Cines in a half at most: more would make resampling slow and tell little more."""
TOO_FEW_REAL = "Fewer than four real cines have no halves to compare."
TOO_FEW_SYNTHETIC = "Fewer than two synthetic cines have no spread."


class Draws(NamedTuple):
    """Which cines each resample takes, s of each kind; (R, s) indices.

    Attributes:
        first: Real cines that stand in for synthetic ones.
        second: Other real cines, the reference.
        synthetic: Synthetic cines.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    synthetic: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Cines in each half, s; 0 where there are no halves."""
        return int(self.first.shape[1])


def draw_halves(n_real: int, n_synthetic: int, resamples: int, seed: int, name: str) -> Draws:
    """Draw disjoint halves of the real cohort and as many synthetic cines, without replacement.

    Args:
        n_real: N real cines.
        n_synthetic: M synthetic cines.
        resamples: R.
        seed: Of the drawing.
        name: What is drawn for: each number has draws of its own, whatever else is computed.

    Returns:
        Indices with s = min(M, N // 2, :data:`MAX_SIZE`); s = 0 where that is less than 2.
    """
    size = min(n_synthetic, n_real // 2, MAX_SIZE)
    if size < 2 or resamples < 1:
        empty = np.zeros((0, 0), np.int64)
        return Draws(empty, empty, empty)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    real = rng.permuted(np.tile(np.arange(n_real), (resamples, 1)), axis=1)
    synthetic = rng.permuted(np.tile(np.arange(n_synthetic), (resamples, 1)), axis=1)
    return Draws(real[:, :size], real[:, size : 2 * size], synthetic[:, :size])


def why_too_few(n_real: int, n_synthetic: int) -> str:
    """Why there are no halves; empty where there are."""
    if min(n_real // 2, n_synthetic) >= 2:
        return ""
    return TOO_FEW_REAL if n_real < 4 else TOO_FEW_SYNTHETIC


def beside_floor(
    value: float,
    matched: ArrayLike,
    floor: ArrayLike,
    *,
    counts: tuple[int, int, int],
    better: Better,
    interval: tuple[float, float] = (np.nan, np.nan),
    reason: str = "",
) -> SetNumber:
    """Put a number beside its floor.

    Args:
        value: Of all cines.
        matched: (R,) of synthetic cines and a real half; NaN where one could not be had.
        floor: (R,) of two real halves.
        counts: Real cines, synthetic cines, cines in a half.
        better: See :class:`SetNumber`.
        interval: Of the value.
        reason: Why something is NaN.
    """
    ours, chance = (values[np.isfinite(values)] for values in (np.asarray(matched, float), np.asarray(floor, float)))
    low, middle, high = np.quantile(chance, (0.05, 0.5, 0.95)) if len(chance) else (np.nan, np.nan, np.nan)
    return SetNumber(
        value=float(value),
        matched=float(np.median(ours)) if len(ours) else np.nan,
        floor_low=float(low),
        floor_median=float(middle),
        floor_high=float(high),
        n_real=counts[0],
        n_synthetic=counts[1],
        n_matched=counts[2],
        better=better,
        low=interval[0],
        high=interval[1],
        reason=reason,
    )


def wasserstein_beside_floor(real: ArrayLike, synthetic: ArrayLike, resamples: int, seed: int, name: str) -> SetNumber:
    """1-Wasserstein distance of one quantity, beside its floor.

    Args:
        real: (N,) values; those that are not finite do not count.
        synthetic: (M,).
        resamples: For the floor.
        seed: Of the resampling.
        name: Of the quantity.
    """
    x, y = (values[np.isfinite(values)] for values in (np.asarray(v, np.float64) for v in (real, synthetic)))
    x, y = np.sort(x), np.sort(y)
    draws = draw_halves(len(x), len(y), resamples, seed, name)
    matched = floor = np.zeros(0)
    if draws.size:
        # Of samples of one size the distance is the mean difference of their sorted values.
        first, second, ours = np.sort(x[draws.first]), np.sort(x[draws.second]), np.sort(y[draws.synthetic])
        matched, floor = np.abs(ours - second).mean(axis=1), np.abs(first - second).mean(axis=1)
    reason = why_too_few(len(x), len(y))
    for what, values in (("real", x), ("synthetic", y)):
        if not len(values):
            reason = f"Not measured on any {what} cine."
    return beside_floor(
        wasserstein(x, y), matched, floor, counts=(len(x), len(y), draws.size), better="lower", reason=reason
    )
