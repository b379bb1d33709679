"""The rule of Dar et al. for memorized training samples, exactly as published, and its known errors.

The rule is implemented so that numbers stay comparable with those of its authors (Dar et al., unconditional latent
diffusion models memorize patient imaging data; their public code):

* similarity: Pearson's correlation of embeddings;
* threshold: the 95th percentile, over the training samples, of the correlation with the nearest validation sample;
* N_mem: training samples whose nearest synthetic sample lies above the threshold;
* N_copies: synthetic samples whose nearest training sample lies above it;
* both are divided by the number of training samples.

Four things to know before quoting it; :func:`~CardioDiTLib.privacy.audit_memorization` does each of them right:

1. Among more samples the nearest one is nearer. With more synthetic than validation samples the rule finds
   "memorized" samples where nothing was memorized: :func:`~CardioDiTLib.privacy.null_rate` says how many.
2. The copies are divided by the number of training samples, so that more than 100 % are possible.
3. A validation sample that is also a training sample lifts the threshold; enough of them lift it to 1, and then no
   copy is ever found.
4. An embedding whose numbers are all the same has no correlation (NaN), and is left out without notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM, check_rate
from CardioDiTLib.privacy.nearest import DEFAULT_MEMORY_MB, exact_similarity, nearest_neighbours
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.schema import Record, Unknowable, check_seed

PERCENTILE = 95.0

_HINT = "Give the JSON that 'cardiodit audit' wrote."

_DECIMALS = 12  # identical embeddings correlate with 1 up to rounding, which must not decide what is above a threshold
METHODS = ("formula", "exact", "simulated")
_DIMENSION = 32
_REPEATS = 20
_MOST_REPEATS, _LEAST_REPEATS = 20, 3
_WORK = 1_000_000_000  # pairs; more repeats than fit are not made, for with large sets they agree anyway


@dataclass(frozen=True)
class DarResult(Record):
    """What the published rule says.

    Attributes:
        threshold: Correlation above which a sample counts.
        n_train: Training samples, the divisor of both shares.
        n_validation: Validation samples.
        n_synthetic: Synthetic samples.
        n_memorized: Training samples with a synthetic one above the threshold.
        n_copies: Synthetic samples with a training one above it.
        memorized_percent: ``n_memorized`` in percent of the training samples.
        copies_percent: ``n_copies`` in percent of the *training* samples, as published; may exceed 100.
    """

    record_name: ClassVar[str] = "result of the published rule"
    record_hint: ClassVar[str] = _HINT

    threshold: Unknowable
    n_train: int
    n_validation: int
    n_synthetic: int
    n_memorized: int
    n_copies: int
    memorized_percent: float
    copies_percent: float


def apply_dar_rule(
    train: ArrayLike,
    validation: ArrayLike,
    synthetic: ArrayLike,
    *,
    percentile: float = PERCENTILE,
    memory_mb: float = DEFAULT_MEMORY_MB,
    cancel: Cancel | None = None,
) -> DarResult:
    """Apply the published rule to embeddings.

    Samples with a constant embedding are never nearest and never counted; the threshold rests on the others.

    Args:
        train: (n, d) embeddings.
        validation: (m, d).
        synthetic: (s, d).
        percentile: Of the training samples, for the threshold (linear between order statistics, as NumPy has it).
        memory_mb: For the blocks of similarities.
        cancel: Asked now and then.

    Raises:
        Cancelled: The caller asked to stop.
        CardioDiTError: Sets that are empty or whose dimensions differ.
    """
    x, v, s = (_table(values, what) for values, what in ((train, "train"), (validation, "val"), (synthetic, "syn")))
    to_validation = nearest_correlation(x, v, memory_mb, cancel)
    to_synthetic = nearest_correlation(x, s, memory_mb, cancel)
    to_training = nearest_correlation(s, x, memory_mb, cancel)
    return counted(to_validation, to_synthetic, to_training, len(v), percentile)


def counted(
    train_to_validation: NDArray[np.float64],
    train_to_synthetic: NDArray[np.float64],
    synthetic_to_train: NDArray[np.float64],
    n_validation: int,
    percentile: float = PERCENTILE,
) -> DarResult:
    """The rule, given the correlation of each sample with its nearest one; NaN where it has none."""
    known = train_to_validation[~np.isnan(train_to_validation)]
    threshold = float(np.percentile(known, percentile)) if len(known) else float("nan")
    with np.errstate(invalid="ignore"):
        limit = np.round(threshold, _DECIMALS)
        memorized = int((np.round(train_to_synthetic, _DECIMALS) > limit).sum())
        copies = int((np.round(synthetic_to_train, _DECIMALS) > limit).sum())
    n = len(train_to_validation)
    return DarResult(
        threshold,
        n,
        n_validation,
        len(synthetic_to_train),
        memorized,
        copies,
        100.0 * memorized / n,
        100.0 * copies / n,
    )


def nearest_correlation(
    queries: NDArray[Any], references: NDArray[Any], memory_mb: float = DEFAULT_MEMORY_MB, cancel: Cancel | None = None
) -> NDArray[np.float64]:
    """(n,) correlation of each query with its nearest reference, in float64; NaN for constant ones."""
    found = nearest_neighbours(queries, references, memory_mb=memory_mb, cancel=cancel)
    return exact_similarity(queries, references, found.index[:, 0])


def _table(values: ArrayLike, name: str) -> NDArray[Any]:
    table = np.asarray(values)
    if table.ndim != 2 or not table.size:
        raise CardioDiTError(
            f"The embeddings '{name}' have shape {table.shape}.",
            "Give a table with one row a sample, and no empty one.",
        )
    return table


@dataclass(frozen=True)
class NullRate:
    """Shares that the published rule flags without any memorization, each of its own set.

    Attributes:
        memorized: Of the training samples.
        copies: Of the synthetic samples (not of the training samples, by which the published share is divided).
        false_alarm: Nominal rate of the rule's threshold.
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
    false_alarm: float = FALSE_ALARM,
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


def _expected(n: int, ratio: float, false_alarm: float) -> float:
    """E[1 - U^ratio], where U is the order statistic of n uniforms that the percentile picks."""
    rank = 1 + (1 - false_alarm) * (n - 1)
    return float(-np.expm1(betaln(rank + ratio, n + 1 - rank) - betaln(rank, n + 1 - rank)))


def _simulated(
    n: int, m: int, s: int, false_alarm: float, dimension: int, repeats: int, seed: int
) -> tuple[float, float]:
    check_seed(seed)
    rng = np.random.default_rng(seed)
    found = np.zeros(2)
    for _ in range(repeats):
        x, v, y = (rng.standard_normal((count, dimension)).astype(np.float32) for count in (n, m, s))
        result = apply_dar_rule(x, v, y, percentile=100 * (1 - false_alarm))
        found += (result.n_memorized / n, result.n_copies / s)
    memorized, copies = found / repeats
    return float(memorized), float(copies)


@dataclass(frozen=True)
class SizeMatched(Record):
    """Shares that the published rule flags when all sets are cut to the size of the smallest one.

    Without memorization both shares are near the false-alarm rate. Fewer synthetic samples find fewer memorized
    patients, so ``memorized`` grows with ``size`` and is a share *found with that many samples*.

    Attributes:
        size: Patients (of synthetic cines: samples) in each set.
        repeats: Random subsets over which the shares are averaged; 1 where all sets have this size.
        threshold: Mean threshold.
        memorized: Share of all training samples with a synthetic one above the threshold.
        copies: Share of the drawn synthetic samples with one of the drawn training samples above it.
        expected: What both would be without memorization.
    """

    record_name: ClassVar[str] = "result of the published rule at one size"
    record_hint: ClassVar[str] = _HINT

    size: int
    repeats: int
    threshold: float
    memorized: float
    copies: float
    expected: float


def size_matched(
    train: NDArray[np.float32],
    validation: NDArray[np.float32],
    synthetic: NDArray[np.float32],
    train_patients: NDArray[np.int64],
    validation_patients: NDArray[np.int64],
    whole: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    *,
    false_alarm: float = FALSE_ALARM,
    rng: np.random.Generator,
    memory_mb: float,
    cancel: Cancel | None = None,
) -> SizeMatched:
    """Apply the rule to random subsets of equal size, one embedding a patient, and average.

    Args:
        train: (n, d).
        validation: (m, d).
        synthetic: (s, d).
        train_patients: (n,) number of each embedding's patient.
        validation_patients: (m,).
        whole: Similarity of training with nearest validation, training with nearest synthetic, and synthetic with
            nearest training embeddings, taken where nothing has to be cut.
        false_alarm: 0.05 for the 95th percentile.
        rng: Source of chance.
        memory_mb: For the blocks of similarities.
        cancel: Asked now and then.
    """
    counts = [len(np.unique(train_patients)), len(np.unique(validation_patients)), len(synthetic)]
    size = min(counts)
    cut = max(counts) > size or len(train) > size or len(validation) > size
    repeats = int(np.clip(_WORK // (2 * len(train) * size), _LEAST_REPEATS, _MOST_REPEATS)) if cut else 1
    found = np.zeros((repeats, 3))
    for repeat in range(repeats):
        if not cut:
            found[repeat] = _rule(*whole, false_alarm)
            break
        x = train[_one_a_patient(train_patients, size, rng)]
        v = validation[_one_a_patient(validation_patients, size, rng)]
        y = synthetic[rng.permutation(len(synthetic))[:size]]
        pairs = ((train, v), (train, y), (y, x))
        near = [nearest_neighbours(a, b, memory_mb=memory_mb, cancel=cancel).similarity[:, 0] for a, b in pairs]
        found[repeat] = _rule(near[0], near[1], near[2], false_alarm)
    threshold, memorized, copies = found.mean(axis=0)
    return SizeMatched(size, repeats, float(threshold), float(memorized), float(copies), false_alarm)


def _rule(
    to_validation: NDArray[np.floating],
    to_synthetic: NDArray[np.floating],
    to_training: NDArray[np.floating],
    false_alarm: float,
) -> tuple[float, float, float]:
    """Threshold, and what lies above it."""
    threshold = float(np.quantile(to_validation, 1 - false_alarm))
    return threshold, float((to_synthetic > threshold).mean()), float((to_training > threshold).mean())


def _one_a_patient(patients: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places of `size` embeddings of different patients, at random."""
    shuffled = rng.permutation(len(patients))
    _, first = np.unique(patients[shuffled], return_index=True)
    return shuffled[rng.permutation(first)[:size]]


PublishedResult, apply_published_rule = DarResult, apply_dar_rule
"""Names under which `CardioDiTLib.privacy` exports them."""
