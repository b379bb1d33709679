"""Scores of real patients against the training set, without those that are in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.embedding_set import EmbeddingSet
from CardioDiTLib.privacy.nearest import Cancel

IDENTICAL = 1 - 1e-6
"""Correlation from which two embeddings are the same but for rounding."""


@dataclass(frozen=True)
class Leakage:
    """What the training and the validation set have in common.

    Attributes:
        shared_patients: Patients with embeddings in both, by their group ids.
        identical: Validation embeddings that a training one equals, but for rounding.
        near_identical: Validation embeddings that are almost equal to one; those that are identical are not counted.
        left_out: Validation embeddings that were left out of the calibration for any of these reasons.
    """

    shared_patients: int = 0
    identical: int = 0
    near_identical: int = 0
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Leakage:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def validation_scores(
    train: NDArray[np.float32],
    validation: EmbeddingSet,
    train_patients: NDArray[np.int64],
    validation_patients: NDArray[np.int64],
    leak_correlation: float,
    *,
    memory_mb: float,
    cancel: Cancel | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], Leakage]:
    """Similarity of validation embeddings with the nearest training one.

    Returns:
        Scores and patients of those that have no part in the training set, and what was left out.

    Raises:
        CardioDiTError: All of them are in the training set.
    """
    scores = validation.nearest(train, memory_mb=memory_mb, cancel=cancel).similarity[:, 0]
    shared = np.isin(validation_patients, train_patients)
    identical = scores >= IDENTICAL
    near = (scores >= leak_correlation) & ~identical
    # one embedding in the training set is enough to know the patient
    known = np.isin(validation_patients, validation_patients[shared | identical | near])
    leak = Leakage(len(np.unique(validation_patients[shared])), int(identical.sum()), int(near.sum()), int(known.sum()))
    if known.all():
        raise CardioDiTError(
            f"All {len(scores)} validation embeddings are of training patients, or almost equal to theirs.",
            "Give patients who were not trained on, or use an encoder that tells patients apart.",
        )
    return scores[~known], validation_patients[~known], leak


def leave_one_out(
    train: EmbeddingSet,
    patients: NDArray[np.int64],
    leak_correlation: float,
    memory_mb: float,
    cancel: Cancel | None = None,
    references: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Similarity of training embeddings with the nearest one of another patient.

    Each is asked about in all its poses, as any other cine is. Two patients whose embeddings are almost equal are taken
    for one who is there twice, and left out.

    Args:
        train: Training set.
        patients: (n,) number of the patient of each.
        leak_correlation: Similarity from which two embeddings are almost equal.
        memory_mb: For the blocks of similarities.
        cancel: Asked now and then.
        references: (n, d) what they are held against, in place of their own values (rounded ones, say).

    Returns:
        Scores, patients, and how many embeddings were left out.

    Raises:
        CardioDiTError: There are not two patients.
    """
    if len(np.unique(patients)) < 2:
        raise CardioDiTError("There is one training patient only.", "Give a validation set.")
    table = train.values if references is None else references
    found = train.nearest(
        table, groups=patients, reference_groups=patients, memory_mb=memory_mb, cancel=cancel
    ).similarity[:, 0]
    twice = found >= leak_correlation
    if twice.all():
        raise CardioDiTError(
            "All training embeddings are almost equal to one of another patient.",
            "Use an encoder that tells them apart.",
        )
    return found[~twice], patients[~twice], int(twice.sum())
