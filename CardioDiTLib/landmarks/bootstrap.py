"""Confidence intervals by resampling patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_AT_A_TIME = 256  # resamples computed together: enough to be quick, little memory

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def percentile_intervals(
    statistic: Statistic, n_groups: int, n_resamples: int, confidence_level: float, seed: int
) -> NDArray[np.float64]:
    """Percentile bootstrap over groups that stay together.

    Args:
        statistic: Takes how often each group was drawn, (B, G), and gives (B, M) numbers.
        n_groups: G; with fewer than two there is nothing to resample.
        n_resamples: B in all.
        confidence_level: For instance 0.95.
        seed: The same seed gives the same intervals.

    Returns:
        (2, M) lower and upper ends; NaN where a number is undefined in more than half of the resamples, or where there
        are no resamples. Where it is undefined in fewer, the others count.
    """
    size = statistic(np.ones((1, n_groups))).shape[1]
    if n_groups < 2 or n_resamples < 1:
        return np.full((2, size), np.nan)
    rng = np.random.default_rng(seed)
    shares = np.full(n_groups, 1.0 / n_groups)
    parts = []
    for start in range(0, n_resamples, _AT_A_TIME):
        drawn = rng.multinomial(n_groups, shares, size=min(_AT_A_TIME, n_resamples - start))
        parts.append(statistic(drawn.astype(np.float64)))
    values = np.concatenate(parts)
    tail = (1.0 - confidence_level) / 2.0
    ends = np.full((2, size), np.nan)
    for column in range(size):
        defined = values[~np.isnan(values[:, column]), column]
        if 2 * len(defined) > n_resamples:
            ends[:, column] = np.quantile(defined, (tail, 1.0 - tail))
    return ends
