"""Which real patients calibrate an audit, with leaks, duplicates and exchangeability found on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.calibration import Calibration, Leakage, leave_one_out, patients_needed, validation_scores
from CardioDiTLib.privacy.embedding_set import EmbeddingSet
from CardioDiTLib.privacy.reference_set import ReferenceSet
from CardioDiTLib.progress import CancelSource as Cancel

CALIBRATIONS = ("auto", "validation", "leave-one-out")
LEAKS = ("leave out", "refuse")

_UNLIKELY = 0.01  # p-value from which two ways of calibrating are said to disagree

Scores = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and the number of the patient of each."""


@dataclass(frozen=True)
class AuditSettings:
    """Choices of an audit; see :func:`~CardioDiTLib.privacy.audit.audit_memorization`."""

    false_alarm: float
    calibration: str
    leaks: str
    leak_correlation: float
    published: bool
    names: bool
    seed: int


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration and what was found while making it.

    Attributes:
        calibration: The calibration.
        patients: (m,) number of the patient of each of its scores.
        leak: What training and validation set have in common.
        train_duplicates: Training embeddings almost equal to one of another patient.
        exchangeability_p: See :class:`~CardioDiTLib.privacy.audit_report.AuditReport`.
        notes: What the reader should know.
    """

    calibration: Calibration
    patients: NDArray[np.int64]
    leak: Leakage
    train_duplicates: int
    exchangeability_p: float | None
    notes: tuple[str, ...]


def calibrate(
    x: EmbeddingSet,
    v: EmbeddingSet | None,
    stored: ReferenceSet | None,
    x_patients: NDArray[np.int64],
    v_patients: NDArray[np.int64],
    settings: AuditSettings,
    memory_mb: float,
    cancel: Cancel | None,
) -> Calibrated:
    """Calibrate an audit.

    Args:
        x: Training set.
        v: Validation set, or None.
        stored: The reference set that `x` comes from, or None.
        x_patients: (n,) number of the patient of each training embedding.
        v_patients: (m,) the same of the validation set; one number is one patient in both.
        settings: Choices of the audit.
        memory_mb: For the blocks of similarities.
        cancel: Asked now and then.

    Raises:
        CardioDiTError: There is nothing to calibrate with, or leaks are to be refused.
    """
    if v is None and stored is not None and settings.calibration in ("auto", stored.calibration.kind):
        count = len(stored.calibration.scores)
        return Calibrated(stored.calibration, np.arange(count), Leakage(), 0, None, ())
    if v is None and settings.calibration == "validation":
        raise CardioDiTError("There is no validation set to calibrate with.", "Give one, or use 'leave-one-out'.")
    notes: list[str] = []
    leak = Leakage()
    by_validation: Scores | None = None
    if v is not None:
        scores, patients, leak = validation_scores(
            x.values, v, x_patients, v_patients, settings.leak_correlation, memory_mb=memory_mb, cancel=cancel
        )
        by_validation = scores, patients
        notes += _about_leaks(leak, len(v), settings)
    by_training: Scores | None = None
    twice = 0
    try:
        scores, patients, twice = leave_one_out(x, x_patients, settings.leak_correlation, memory_mb, cancel)
        by_training = scores, patients
    except CardioDiTError:
        if by_validation is None or settings.calibration == "leave-one-out":
            raise
    if twice:
        notes.append(
            f"{twice} training embeddings are almost equal to one of another patient: somebody may be there twice."
        )
    p = None
    if by_validation is not None and by_training is not None:
        p = float(stats.ks_2samp(_a_patient(by_validation), _a_patient(by_training)).pvalue)
        if p < _UNLIKELY:
            notes.append(
                "Validation patients do not lie as near to the training patients as these do to each other "
                f"(p = {p:.2g}): the encoder may have learned the training patients, or the groups differ."
            )
    kind, why = _choice(by_validation, by_training, settings)
    chosen = by_validation if kind == "validation" else by_training
    assert chosen is not None  # refused above
    order = np.argsort(chosen[0], kind="stable")
    calibration = Calibration.of(chosen[0], chosen[1], kind)
    return Calibrated(calibration, chosen[1][order], leak, twice, p, (*notes, *why))


def _about_leaks(leak: Leakage, count: int, settings: AuditSettings) -> list[str]:
    if not leak.left_out:
        return []
    if settings.leaks == "refuse":
        raise CardioDiTError(
            f"{leak.left_out} of the {count} validation embeddings are of training patients.",
            "Take them out, or let the audit leave them out.",
        )
    return [
        f"{leak.left_out} of the {count} validation embeddings are of patients who are in the training set; they were "
        "left out of the calibration, but not of the published rule."
    ]


def _choice(
    by_validation: Scores | None, by_training: Scores | None, settings: AuditSettings
) -> tuple[str, tuple[str, ...]]:
    """Kind of calibration, and notes: validation patients, unless they are too few and training patients are not."""
    if settings.calibration != "auto":
        return settings.calibration, ()
    if by_validation is None:
        return "leave-one-out", ()
    needed = patients_needed(settings.false_alarm)
    if _patients(by_validation) >= needed or by_training is None:
        return "validation", ()
    if _patients(by_training) < patients_needed(settings.false_alarm, "leave-one-out"):
        return "validation", ()
    return "leave-one-out", (
        f"The validation set has too few patients for a false-alarm rate of {settings.false_alarm:g} ({needed} are "
        "needed): the training patients calibrate, each against all others.",
    )


def _patients(scores: Scores) -> int:
    return len(np.unique(scores[1]))


def _a_patient(scores: Scores) -> NDArray[np.float64]:
    """Mean score of each patient."""
    _, which = np.unique(scores[1], return_inverse=True)
    return np.bincount(which, weights=scores[0]) / np.bincount(which)
