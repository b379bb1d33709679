"""From a score to a p-value: how near novel patients come to the training set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.embedding_set import EmbeddingSet
from CardioDiTLib.privacy.false_alarm import check_rate
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.schema import Record

KINDS = ("validation", "leave-one-out")

LEAK_CORRELATION = 0.999
"""Embeddings that correlate so are almost equal: the same cine, saved or scaled in another way."""

_BLIND = 0.99  # where novel patients are as near as this, almost equal embeddings prove nothing

_ROUNDING = 1e-9

IDENTICAL = 1 - 1e-6
"""Correlation from which two embeddings are the same but for rounding."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of patients who are no copies, with which other scores are compared.

    The score of a sample is its similarity with the nearest training sample. P-values are conformal: a novel sample,
    exchangeable with the G calibrating patients, has p <= a with a probability of at most a, whatever the distribution
    of the scores. Nothing is extrapolated: with G patients no p-value is below 1 / (G + 1).

    * ``validation``: real patients who were not trained on. p = (1 + patients who lie as near) / (G + 1).
    * ``leave-one-out``: the training patients themselves, each against all others. p has one more patient in its
      numerator: were the sample a training patient too, its nearest one would lie as near to it. This assumes that
      the embedding was not trained to separate these patients.

    A patient with several scores counts as one, with the share of them that lie as near.

    Attributes:
        scores: (m,) float64, rising.
        weights: (m,) share of its patient that each score stands for; the sum is G.
        kind: One of :data:`KINDS`.
    """

    scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    kind: str = "validation"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CardioDiTError(f"The calibration {self.kind!r} is not known.", f"Choose one of {', '.join(KINDS)}.")
        if not len(self.scores) or self.scores.shape != self.weights.shape or np.any(np.diff(self.scores) < 0):
            raise CardioDiTError("The scores of a calibration are not a rising row with weights.", "Make it anew.")

    @classmethod
    def of(
        cls, scores: NDArray[np.floating], patients: NDArray[np.int64] | None = None, kind: str = "validation"
    ) -> Calibration:
        """Sort scores and weigh them.

        Args:
            scores: (m,) in any order.
            patients: (m,) number of the patient of each; None where each is of another patient.
            kind: One of :data:`KINDS`.
        """
        order = np.argsort(scores, kind="stable")
        weights = np.ones(len(scores))
        if patients is not None and len(scores):
            _, which, sizes = np.unique(patients, return_inverse=True, return_counts=True)
            weights = 1.0 / sizes[which]
        return cls(np.asarray(scores, np.float64)[order], weights[order], kind)

    @property
    def n_patients(self) -> int:
        """G."""
        return round(float(self.weights.sum()))

    @property
    def blind(self) -> bool:
        """Whether the embedding hardly tells patients apart, so that an almost equal one proves nothing."""
        return float(np.median(self.scores)) > _BLIND

    @property
    def smallest_p(self) -> float:
        """Of a score above all others."""
        return self._offset / (self.n_patients + 1)

    def p_values(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Conformal p-value of each score."""
        above = np.concatenate([np.cumsum(self.weights[::-1])[::-1], [0.0]])
        near = above[np.searchsorted(self.scores, scores, side="left")]
        return np.minimum(1.0, (self._offset + near) / (self.n_patients + 1))

    def threshold(self, false_alarm: float) -> float:
        """Scores above this one have p <= `false_alarm`; infinity where there are too few patients to say so."""
        check_rate(false_alarm)
        room = false_alarm * (self.n_patients + 1) - self._offset + _ROUNDING
        if room < 0:
            return math.inf
        used = np.cumsum(self.weights[::-1])
        place = int(np.searchsorted(used, room, side="right"))
        return float(self.scores[::-1][place]) if place < len(used) else -math.inf

    def n_above(self, false_alarm: float) -> int:
        """How many calibrating patients may lie above the threshold; -1 where it is infinite."""
        return math.floor(false_alarm * (self.n_patients + 1) - self._offset + _ROUNDING)

    def share_above(self, false_alarm: float) -> tuple[float, float] | None:
        """(a, b) of the Beta distribution of the share of novel patients above the threshold; None without threshold.

        The threshold is the (r + 1)-th largest of G scores. For leave-one-out G and r count half: two training patients
        who are each other's nearest have one score between them.
        """
        above, patients = self.n_above(false_alarm), self.n_patients
        if not 0 <= above < patients:
            return None
        each = 1.0 if self.kind == "validation" else 0.5
        return each * above + 1, each * (patients - above)

    @property
    def _offset(self) -> int:
        return 1 if self.kind == "validation" else 2


def patients_needed(false_alarm: float, kind: str = "validation") -> int:
    """Fewest calibrating patients with which a threshold for a false-alarm rate exists."""
    return math.ceil((1 if kind == "validation" else 2) / false_alarm - 1 - _ROUNDING)


@dataclass(frozen=True)
class Leakage(Record):
    """What the training and the validation set have in common.

    Attributes:
        shared_patients: Patients with embeddings in both, by their group ids.
        identical: Validation embeddings that a training one equals, but for rounding.
        near_identical: Validation embeddings that are almost equal to one; those that are identical are not counted.
        left_out: Validation embeddings that were left out of the calibration for any of these reasons.
    """

    record_name: ClassVar[str] = "overlap of training and validation"
    record_hint: ClassVar[str] = "Give the JSON that 'cardiodit audit' wrote."

    shared_patients: int = 0
    identical: int = 0
    near_identical: int = 0
    left_out: int = 0


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

    Each is compared in all its poses, as any other cine is. Two patients whose embeddings are almost equal are taken
    for one patient with two entries, and left out.

    Args:
        train: Training set.
        patients: (n,) number of the patient of each.
        leak_correlation: Similarity from which two embeddings are almost equal.
        memory_mb: For the blocks of similarities.
        cancel: Asked now and then.
        references: (n, d) what they are compared with, in place of their own values (rounded ones, say).

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
