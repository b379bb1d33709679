"""The published rule between sets of equal size, where its threshold means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.privacy.nearest import Cancel, nearest_neighbours

_MOST_REPEATS, _LEAST_REPEATS = 20, 3
_WORK = 1_000_000_000  # pairs; more repeats than fit are not made, for with large sets they agree anyway


@dataclass(frozen=True)
class EqualSizes:
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

    size: int
    repeats: int
    threshold: float
    memorized: float
    copies: float
    expected: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EqualSizes:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def equal_sizes(
    train: NDArray[np.float32],
    validation: NDArray[np.float32],
    synthetic: NDArray[np.float32],
    train_patients: NDArray[np.int64],
    validation_patients: NDArray[np.int64],
    whole: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    *,
    false_alarm: float = 0.05,
    rng: np.random.Generator,
    memory_mb: float,
    cancel: Cancel | None = None,
) -> EqualSizes:
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
    return EqualSizes(size, repeats, float(threshold), float(memorized), float(copies), false_alarm)


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
