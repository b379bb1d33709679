"""Kernel distance of two sets of features: unbiased at any size of the sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.feature_sets import checked_pair


class KernelDistance(NamedTuple):
    """Squared maximum mean discrepancy.

    Attributes:
        value: The unbiased estimate; below zero by chance where the sets are alike.
        low: Lower end of the bootstrap interval; NaN where there is none.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def polynomial_kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """k(x, y) = (x . y / d + 1)^3 of (N, d) and (M, d): (N, M) (Binkowski et al., ICLR 2018)."""
    return np.asarray((first @ second.T / first.shape[1] + 1.0) ** 3)


def weighted_mmd2(
    within_first: NDArray[np.float64],
    within_second: NDArray[np.float64],
    between: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Unbiased MMD^2 of sets in which members count several times.

    A member is never compared with itself, also not with its own copies of a resample: those pairs would bias the
    bootstrap upwards. With weights of 0 and 1 this is the estimate of the subset (Gretton et al., JMLR 2012, Lemma 6).

    Args:
        within_first: (N, N) kernel.
        within_second: (M, M) kernel.
        between: (N, M) kernel.
        first: (B, N) how often each member counts.
        second: (B, M).

    Returns:
        (B,) estimates; NaN where fewer than two different members of a set count.
    """

    def within(kernel: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = ((weights @ kernel) * weights).sum(axis=1) - (weights**2) @ np.diag(kernel)
        pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
        return np.divide(sums, pairs, out=np.full(len(sums), np.nan), where=pairs > 0)

    cross = ((first @ between) * second).sum(axis=1) / (first.sum(axis=1) * second.sum(axis=1))
    return within(within_first, first) + within(within_second, second) - 2.0 * cross


def kernel_distance(
    real: ArrayLike, synthetic: ArrayLike, *, resamples: int = 500, confidence_level: float = 0.95, seed: int = 0
) -> KernelDistance:
    """Kernel distance ("KID" where the features are Inception's): unbiased MMD^2 with the polynomial kernel.

    All pairs are used, not subsets, so that no chance is in the value. The interval is a percentile bootstrap of both
    sets.

    Args:
        real: (N, d) features, N >= 2.
        synthetic: (M, d), M >= 2.
        resamples: For the interval; 0 for none.
        confidence_level: Of the interval.
        seed: Of the resampling.

    Returns:
        Value and interval; all NaN where a set has fewer than two members.

    Raises:
        CardioDiTError: Arrays of another shape, not finite, or fewer than 0 resamples.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> near = kernel_distance(rng.normal(size=(99, 8)), rng.normal(size=(99, 8)))
        >>> near.low < 0 < near.high
        True
    """
    x, y = checked_pair(real, synthetic)
    if resamples < 0 or not 0 < confidence_level < 1:
        raise CardioDiTError(
            f"An interval cannot be had with {resamples} resamples at level {confidence_level}.",
            "Give 0 resamples or more, and a level between 0 and 1.",
        )
    if min(len(x), len(y)) < 2:
        return KernelDistance(np.nan, np.nan, np.nan)
    kernels = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)
    value = float(weighted_mmd2(*kernels, np.ones((1, len(x))), np.ones((1, len(y))))[0])
    if resamples == 0:
        return KernelDistance(value, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    first = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=resamples).astype(np.float64)
    second = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=resamples).astype(np.float64)
    drawn = weighted_mmd2(*kernels, first, second)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < resamples / 2:
        return KernelDistance(value, np.nan, np.nan)
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return KernelDistance(value, float(low), float(high))
