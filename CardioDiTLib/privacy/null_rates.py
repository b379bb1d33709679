"""How many samples the published rule flags where nothing was memorized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.published_rule import apply_published_rule

METHODS = ("formula", "exact", "simulated")

_DIMENSION = 32
_REPEATS = 20


@dataclass(frozen=True)
class NullRate:
    """Shares that the published rule flags without any memorization, each of its own set.

    Attributes:
        memorized: Of the training samples.
        copies: Of the synthetic samples (not of the training samples, by which the published share is divided).
        false_alarm: What the rule's threshold seems to promise.
        method: How they were found.
    """

    memorized: float
    copies: float
    false_alarm: float
    method: str


def null_rate(
    n_train: int,
    n_validation: int,
    n_synthetic: int,
    false_alarm: float = 0.05,
    *,
    method: str = "exact",
    dimension: int = _DIMENSION,
    repeats: int = _REPEATS,
    seed: int = 0,
) -> NullRate:
    """What share of samples the published rule flags where nothing was memorized.

    A training sample's nearest of m validation samples lies under the threshold with probability 1 - a. If it stands
    to each sample that is not its copy alike, its nearest of s synthetic samples lies under it with probability
    (1 - a)^(s/m); and a synthetic sample's nearest of n training samples with (1 - a)^(n/m).

    ==========  =====================================================================================================
    method      what
    ==========  =====================================================================================================
    formula     1 - (1 - a)^(s/m) and 1 - (1 - a)^(n/m)
    exact       the same with a threshold that is a percentile of only n training samples: the expectation over the
                order statistic that it is (a Beta variable)
    simulated   the rule itself, on independent normal embeddings
    ==========  =====================================================================================================

    Args:
        n_train: n.
        n_validation: m.
        n_synthetic: s.
        false_alarm: a, 0.05 for the 95th percentile.
        method: As above.
        dimension: Of simulated embeddings.
        repeats: Simulated data sets.
        seed: Of the simulation.

    Raises:
        CardioDiTError: A number that is not possible, or another method.

    Examples:
        >>> round(null_rate(904, 226, 904, method="formula").memorized, 3)
        0.185
    """
    for name, count in (("n_train", n_train), ("n_validation", n_validation), ("n_synthetic", n_synthetic)):
        if count < 1:
            raise CardioDiTError(f"'{name}' is {count}.", "Give sets with at least one sample.")
    check_rate(false_alarm)
    if method == "formula":
        memorized, copies = (1 - (1 - false_alarm) ** (c / n_validation) for c in (n_synthetic, n_train))
    elif method == "exact":
        memorized, copies = (_expected(n_train, c / n_validation, false_alarm) for c in (n_synthetic, n_train))
    elif method == "simulated":
        memorized, copies = _simulated(n_train, n_validation, n_synthetic, false_alarm, dimension, repeats, seed)
    else:
        raise CardioDiTError(f"The method {method!r} is not known.", f"Choose one of {', '.join(METHODS)}.")
    return NullRate(memorized, copies, false_alarm, method)


def check_rate(false_alarm: float) -> None:
    """Refuse what is no rate of false alarms.

    Raises:
        CardioDiTError: Not a number between 0 and 1.
    """
    if not 0 < false_alarm < 1:
        raise CardioDiTError(f"The false-alarm rate is {false_alarm!r}.", "Give a share between 0 and 1, such as 0.05.")


def _expected(n: int, ratio: float, false_alarm: float) -> float:
    """E[1 - U^ratio], where U is the order statistic of n uniforms that the percentile picks."""
    rank = 1 + (1 - false_alarm) * (n - 1)
    return float(-np.expm1(betaln(rank + ratio, n + 1 - rank) - betaln(rank, n + 1 - rank)))


def _simulated(
    n: int, m: int, s: int, false_alarm: float, dimension: int, repeats: int, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    found = np.zeros(2)
    for _ in range(repeats):
        x, v, y = (rng.standard_normal((count, dimension)).astype(np.float32) for count in (n, m, s))
        result = apply_published_rule(x, v, y, percentile=100 * (1 - false_alarm))
        found += (result.n_memorized / n, result.n_copies / s)
    memorized, copies = found / repeats
    return float(memorized), float(copies)
