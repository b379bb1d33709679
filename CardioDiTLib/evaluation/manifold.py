"""How two sets overlap: quality and variety apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.features import checked_pair, checked_set, distances


class Overlap(NamedTuple):
    """Shares from 0 to 1 (density may pass 1); higher is better.

    Attributes:
        precision: Share of synthetic cines that lie in the neighbourhood of some real one: do they look real?
        recall: Share of real cines in the neighbourhood of some synthetic one: can all that is real be made?
        density: In how many real neighbourhoods a synthetic cine lies, over k: precision that one stray real cine with
            a wide neighbourhood does not raise.
        coverage: Share of real cines with a synthetic one in their own neighbourhood: recall that a stray synthetic
            cine does not raise.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def overlap(real: ArrayLike, synthetic: ArrayLike, neighbours: int = 5) -> Overlap:
    """Precision, recall, density and coverage.

    Precision and recall are the improved ones of Kynkaanniemi et al. (NeurIPS 2019), density and coverage those of
    Naeem et al. (ICML 2020).

    The neighbourhood of a cine reaches to its k-th nearest neighbour in its own set, itself not counted; its rim
    belongs to it.

    Args:
        real: (N, d) features.
        synthetic: (M, d).
        neighbours: k.

    Returns:
        The four numbers; precision, density and coverage are NaN where N <= k, recall where M <= k.

    Raises:
        CardioDiTError: Arrays of another shape, not finite, or k below 1.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> collapsed = overlap(rng.normal(size=(200, 4)), rng.normal(size=(200, 4)) * 0.05)
        >>> collapsed.precision, collapsed.recall < 0.1
        (1.0, True)
    """
    x, y = checked_pair(real, synthetic)
    if neighbours < 1:
        raise CardioDiTError(f"A neighbourhood of {neighbours} cines is empty.", "Give one neighbour or more.")
    return overlap_of_distances(distances(x, x), distances(y, y), distances(x, y), neighbours)


def overlap_of_distances(
    within_real: NDArray[np.float64],
    within_synthetic: NDArray[np.float64],
    between: NDArray[np.float64],
    neighbours: int,
) -> Overlap:
    """The same from distances (N, N), (M, M) and real by synthetic (N, M)."""
    if between.size == 0:
        return Overlap(np.nan, np.nan, np.nan, np.nan)
    precision = recall = density = coverage = np.nan
    if len(within_real) > neighbours:
        inside = between <= _radii(within_real, neighbours)[:, None]
        precision = float(inside.any(axis=0).mean())
        density = float(inside.sum() / (neighbours * between.shape[1]))
        coverage = float(inside.any(axis=1).mean())
    if len(within_synthetic) > neighbours:
        recall = float((between <= _radii(within_synthetic, neighbours)[None]).any(axis=1).mean())
    return Overlap(precision, recall, density, coverage)


def _radii(within: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    apart = within.copy()
    np.fill_diagonal(apart, np.inf)
    return np.asarray(np.partition(apart, neighbours - 1, axis=1)[:, neighbours - 1])


class Diversity(NamedTuple):
    """Distances within a set, root mean square per feature.

    Attributes:
        mean_distance: Mean over all pairs; NaN below two cines.
        nearest_distance: Median distance of a cine to its nearest neighbour; NaN below two cines.
    """

    mean_distance: float
    nearest_distance: float


def diversity(features: ArrayLike) -> Diversity:
    """Distances within a set.

    Args:
        features: (N, d).

    Returns:
        The numbers; one cine repeated gives zeros.

    Raises:
        CardioDiTError: Not two dimensions, or values that are not finite.
    """
    x = checked_set(features, "given")
    return diversity_of_distances(distances(x, x))


def diversity_of_distances(within: NDArray[np.float64]) -> Diversity:
    """The same from distances (N, N)."""
    count = len(within)
    if count < 2:
        return Diversity(np.nan, np.nan)
    apart = within.copy()
    np.fill_diagonal(apart, np.inf)
    mean = float((within.sum() - np.trace(within)) / (count * (count - 1)))
    return Diversity(mean, float(np.median(apart.min(axis=1))))


def duplicates(within: NDArray[np.float64], limit: float) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, that are nearer to each other than a limit, or exactly alike.

    Args:
        within: (N, N) distances.
        limit: For instance a fifth of how far real cines are from their nearest neighbour; NaN finds exact copies only.
    """
    rows, columns = np.nonzero(np.triu((within < limit) | (within == 0.0), 1))
    return [(int(i), int(j)) for i, j in zip(rows, columns)]


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
