"""How different the cines of one set are from each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.evaluation.feature_sets import checked_set, distances


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
