"""How two sets overlap: quality and variety apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.feature_sets import checked_pair, distances


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
