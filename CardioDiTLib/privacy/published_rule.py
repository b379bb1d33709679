"""The published rule for memorized training samples, exactly as published, with what is wrong with it.

The rule stands here so that numbers stay comparable with those of its authors (Dar et al., unconditional latent
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
4. An embedding whose numbers are all the same correlates with nothing (NaN), and is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.nearest import DEFAULT_MEMORY_MB, Cancel, exact_similarity, nearest_neighbours

PERCENTILE = 95.0

_DECIMALS = 12  # identical embeddings correlate with 1 up to rounding, which must not decide what is above a threshold


@dataclass(frozen=True)
class PublishedResult:
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

    threshold: float
    n_train: int
    n_validation: int
    n_synthetic: int
    n_memorized: int
    n_copies: int
    memorized_percent: float
    copies_percent: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**values, "threshold": None if np.isnan(self.threshold) else self.threshold}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PublishedResult:
        """The inverse of :meth:`to_dict`."""
        threshold = values["threshold"]
        return cls(**{**values, "threshold": float("nan") if threshold is None else float(threshold)})


def apply_published_rule(
    train: ArrayLike,
    validation: ArrayLike,
    synthetic: ArrayLike,
    *,
    percentile: float = PERCENTILE,
    memory_mb: float = DEFAULT_MEMORY_MB,
    cancel: Cancel | None = None,
) -> PublishedResult:
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
) -> PublishedResult:
    """The rule, given the correlation of each sample with its nearest one; NaN where it has none."""
    known = train_to_validation[~np.isnan(train_to_validation)]
    threshold = float(np.percentile(known, percentile)) if len(known) else float("nan")
    with np.errstate(invalid="ignore"):
        limit = np.round(threshold, _DECIMALS)
        memorized = int((np.round(train_to_synthetic, _DECIMALS) > limit).sum())
        copies = int((np.round(synthetic_to_train, _DECIMALS) > limit).sum())
    n = len(train_to_validation)
    return PublishedResult(
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
