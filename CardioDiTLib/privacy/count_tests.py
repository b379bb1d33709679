"""Statistics of counts: are there more copies than chance makes, and how many may have been missed?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from CardioDiTLib.privacy.calibration import Calibration

CONFIDENCE = 0.95


Beta = tuple[float, float]
"""Parameters (a, b) of the distribution of the share of novel samples above a threshold."""


def p_value_of_count(count: int, n: int, share_above: Beta | None) -> float:
    """Probability of at least so many samples above a threshold where nothing was copied.

    The threshold comes from a finite number of patients, so the share of novel samples above it is not the nominal rate
    but a Beta variable, the same for all samples: the count is beta-binomial. A plain binomial test takes the threshold
    for exact; with small calibrating cohorts its p-values are too small.

    Args:
        count: Samples above the threshold.
        n: Samples.
        share_above: See :meth:`~CardioDiTLib.privacy.calibration.Calibration.share_above`; None where there is no
            threshold (the result is 1).
    """
    if count <= 0 or share_above is None:
        return 1.0
    return float(_tails(n, share_above)[count])


def _tails(n: int, share_above: Beta) -> NDArray[np.float64]:
    """(n + 2,) probability of at least 0, 1, ... n + 1 of n samples; a sum of its own, for SciPy's grows with n^2."""
    terms = np.exp(stats.betabinom.logpmf(np.arange(n + 1), n, *share_above))
    return np.append(np.clip(np.cumsum(terms[::-1])[::-1], 0.0, 1.0), 0.0)


def binomial_p_value(count: int, n: int, false_alarm: float) -> float:
    """The same where the share above the threshold is exactly `false_alarm`."""
    return float(stats.binom.sf(count - 1, n, false_alarm))


def exact_interval(count: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided interval of Clopper and Pearson for a share."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(stats.beta.ppf(tail, count, n - count + 1))
    return low, upper_bound(count, n, 1 - tail)


def upper_bound(count: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of a share."""
    return 1.0 if count == n else float(stats.beta.ppf(confidence, count + 1, n - count))


def holm(p_values: NDArray[np.float64], level: float) -> int:
    """How many samples are copies for sure: all of them are, but for a probability of `level` (Holm 1979)."""
    ordered = np.sort(p_values)
    passed = ordered <= level / (len(ordered) - np.arange(len(ordered))) + 1e-12
    return int(len(ordered) if passed.all() else np.argmin(passed))


def discoveries(p_values: NDArray[np.float64], level: float) -> int:
    """How many samples to call copies so that a share of at most `level` of them is wrong on average.

    Benjamini and Hochberg (1995); conformal p-values that share one calibrating cohort depend on each other in the way
    under which it still holds (Bates et al., Annals of Statistics 2023).
    """
    ordered = np.sort(p_values)
    passed = np.flatnonzero(ordered <= level * np.arange(1, len(ordered) + 1) / len(ordered) + 1e-12)
    return int(passed[-1]) + 1 if len(passed) else 0


def detectable_share(n: int, share_above: Beta | None, level: float, power: float = 0.8) -> float:
    """Smallest share of copies among n samples that the count test detects, were each copy above the threshold.

    Returns:
        The share; 1 where even copies alone would not be noticed with this power.
    """
    if share_above is None:
        return 1.0
    noticed = np.flatnonzero(_tails(n, share_above)[:-1] <= level)
    if not len(noticed):
        return 1.0
    needed = int(noticed[0])
    low, high = 0, needed
    while low < high:  # fewest copies with which the others make up the rest often enough
        copies = (low + high) // 2
        chance = float(_tails(n - copies, share_above)[needed - copies])
        low, high = (low, copies) if chance >= power else (copies + 1, high)
    return low / n


def bootstrap_thresholds(
    calibration: Calibration, false_alarm: float, resamples: int, rng: np.random.Generator, patients: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Thresholds that other calibrating patients would have given: these patients, drawn with replacement.

    Args:
        calibration: The scores.
        false_alarm: Rate of the threshold.
        resamples: How many.
        rng: Source of chance.
        patients: (m,) number of the patient of each score, in the order of the calibration.

    Returns:
        (resamples,) thresholds; infinite where the threshold is.
    """
    room = calibration.n_above(false_alarm)
    if room < 0:
        return np.full(resamples, np.inf)
    g = calibration.n_patients
    # Only the largest scores can be the threshold: those of some times as many patients as lie above it.
    reach = float(room + 10 * np.sqrt(room + 1) + 20)
    top = int(np.searchsorted(np.cumsum(calibration.weights[::-1]), reach, side="right")) + 1
    scores, weights = calibration.scores[::-1][:top], calibration.weights[::-1][:top]
    owners, which = np.unique(patients[::-1][:top], return_inverse=True)
    shares = np.append(np.full(len(owners), 1 / g), max(0.0, 1 - len(owners) / g))
    result = np.empty(resamples)
    for start in range(0, resamples, 100):
        drawn = rng.multinomial(g, shares / shares.sum(), size=min(100, resamples - start))[:, :-1]
        used = np.cumsum(drawn[:, which] * weights, axis=1)
        place = np.minimum((used <= room + 1e-9).sum(axis=1), len(scores) - 1)
        result[start : start + len(drawn)] = scores[place]
    return result


def bootstrap_interval(
    scores: NDArray[np.floating],
    thresholds: NDArray[np.float64],
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Interval of the share of scores above a threshold, over resampled thresholds and resampled scores.

    It is never narrower than the exact binomial interval, which a bootstrap of few or no counts would be.

    Args:
        scores: (n,) scores; -inf for what cannot be above.
        thresholds: Of :func:`bootstrap_thresholds`.
        rng: Source of chance.
        confidence: Of the interval.
    """
    n = len(scores)
    ordered = np.sort(scores)
    counts = n - np.searchsorted(ordered, thresholds, side="right")
    exact = exact_interval(round(float(np.median(counts))), n, confidence)
    # resampling n scores of which `count` lie above the threshold leaves a binomial number above it
    shares = rng.binomial(n, counts / n) / n
    tail = (1 - confidence) / 2
    low, high = np.quantile(shares, (tail, 1 - tail))
    return float(min(low, exact[0])), float(max(high, exact[1]))
