"""Audit: does a generator reproduce the patients that it was trained on?

Each synthetic cine is tested: is it nearer to the training set than a novel patient would be? How near novel patients
come is measured on real ones (:class:`~CardioDiTLib.privacy.calibration.Calibration`), so that the rate of false alarms
is the one that was asked for, whatever the sizes of the sets. Then the count is tested: are there more copies than this
rate gives?
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.audit_calibration import CALIBRATIONS, LEAKS, AuditSettings, calibrate
from CardioDiTLib.privacy.audit_report import AuditReport, CountTest, SampleVerdict, Share, VerdictWord
from CardioDiTLib.privacy.calibration import LEAK_CORRELATION, Calibration, patients_needed
from CardioDiTLib.privacy.count_tests import (
    binomial_p_value,
    bootstrap_interval,
    bootstrap_thresholds,
    detectable_share,
    discoveries,
    holm,
    p_value_of_count,
    upper_bound,
)
from CardioDiTLib.privacy.dar_rule import (
    DarResult,
    SizeMatched,
    counted,
    nearest_correlation,
    null_rate,
    size_matched,
)
from CardioDiTLib.privacy.embedding_io import Encoder, EncoderHolder, Source, has_validation_part, read_embeddings
from CardioDiTLib.privacy.embedding_set import EmbeddingSet, check_dimensions, embedding_hash, patient_numbers
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM, check_rate
from CardioDiTLib.privacy.nearest import DEFAULT_MEMORY_MB, exact_similarity, nearest_neighbours
from CardioDiTLib.privacy.reference_set import ReferenceSet
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.progress import StageCallback as AuditProgress
from CardioDiTLib.schema import check_seed

_LEVEL = 0.05  # of the verdict, the count and single samples together
_RESAMPLES = 1000
_LARGEST = float(np.finfo(np.float64).max)  # a threshold that nothing but an exact copy exceeds


def audit_memorization(
    train: Source | ReferenceSet,
    validation: Source | None = None,
    synthetic: Source | None = None,
    *,
    false_alarm: float = FALSE_ALARM,
    train_groups: Sequence[Any] | None = None,
    validation_groups: Sequence[Any] | None = None,
    calibration: str = "auto",
    leaks: str = "leave out",
    leak_correlation: float = LEAK_CORRELATION,
    published: bool = True,
    names: bool = False,
    encoder: Encoder | str | os.PathLike[str] | None = None,
    seed: int = 0,
    memory_mb: float = DEFAULT_MEMORY_MB,
    progress: AuditProgress | None = None,
    cancel: Cancel | None = None,
) -> AuditReport:
    """Audit synthetic cines for copies of training patients.

    Args:
        train: What the generator was trained on: embeddings (n, d), a file of them, a folder of cines, a training pack,
            or the :class:`ReferenceSet` of a bundle.
        validation: Real patients who were not trained on, as above. None where there are none; of a training pack, its
            own validation part is then taken, of a `ReferenceSet` its own calibration.
        synthetic: What the generator made, as above.
        false_alarm: Share of novel patients who may be called copies.
        train_groups: (n,) patient of each training embedding, numbers or text; patients are counted and calibrated as
            one, however many embeddings they have.
        validation_groups: The same for `validation`; an id that is in both sets is a leak.
        calibration: "validation", "leave-one-out", or "auto": validation where it has enough patients for the rate,
            else leave-one-out where that has.
        leaks: What to do with validation embeddings of training patients: "leave out" or "refuse".
        leak_correlation: Similarity from which two embeddings are almost equal.
        published: Also apply the published rule, and the same between sets of equal size.
        names: Put the names of files into the report.
        encoder: What embeds cines: an encoder, its folder, or None for the one that comes with the software.
        seed: Of random subsets and intervals.
        memory_mb: For blocks of similarities, MB.
        progress: Told what is done.
        cancel: Asked in between.

    Returns:
        The report.

    Raises:
        Cancelled: The caller asked to stop.
        CardioDiTError: An input that cannot be used, or nothing to calibrate with.

    Examples:
        >>> report = audit_memorization(train, validation, synthetic)  # doctest: +SKIP
        >>> report.verdict, report.copies.fraction, report.memorized.fraction  # doctest: +SKIP
        ('none found', 0.04, 0.02)
    """
    check_rate(false_alarm)
    check_seed(seed)
    for what, value, known in (("calibration", calibration, CALIBRATIONS), ("choice for leaks", leaks, LEAKS)):
        if value not in known:
            raise CardioDiTError(f"The {what} {value!r} is not known.", f"Choose one of {', '.join(known)}.")
    if synthetic is None:
        raise CardioDiTError("There is nothing to audit.", "Give synthetic cines or their embeddings.")
    tell = progress or (lambda what, done, of: None)
    holder = EncoderHolder(encoder)

    def read(
        source: Source,
        what: str,
        groups: Sequence[Any] | None,
        part: str,
        references: NDArray[np.float32] | None = None,
    ) -> EmbeddingSet:
        return read_embeddings(
            source,
            what,
            holder,
            groups=groups,
            part=part,
            references=references,
            progress=lambda done, of: tell(f"embedding {what} cines", done, of),
            cancel=cancel,
        )

    stored = train if isinstance(train, ReferenceSet) else None
    x = stored.embedding_set() if stored is not None else read(train, "training", train_groups, "train")  # type: ignore[arg-type]
    if validation is None and has_validation_part(train):
        validation = train  # type: ignore[assignment]  # a path
    v = None if validation is None else read(validation, "validation", validation_groups, "validation", x.values)
    y = read(synthetic, "synthetic", None, "all", x.values)
    check_dimensions(training=x, validation=v, synthetic=y)
    return _audit(
        x,
        v,
        y,
        stored,
        AuditSettings(false_alarm, calibration, leaks, leak_correlation, published, names, seed),
        memory_mb,
        tell,
        cancel,
    )


def _audit(
    x: EmbeddingSet,
    v: EmbeddingSet | None,
    y: EmbeddingSet,
    stored: ReferenceSet | None,
    settings: AuditSettings,
    memory_mb: float,
    tell: AuditProgress,
    cancel: Cancel | None,
) -> AuditReport:
    rng = np.random.default_rng(settings.seed)
    x_patients, *others = patient_numbers(*(one for one in (x, v) if one is not None))
    v_patients = others[0] if others else np.zeros(0, np.int64)
    tell("calibrating", 0, 1)
    made = calibrate(x, v, stored, x_patients, v_patients, settings, memory_mb, cancel)
    calibration, notes = made.calibration, list(made.notes)
    threshold = calibration.threshold(settings.false_alarm)

    tell("comparing with training patients", 0, len(y))
    found = y.nearest(
        x.values,
        memory_mb=memory_mb,
        cancel=cancel,
        progress=lambda done, of: tell("comparing with training patients", done, of),
    )
    scores, near = found.similarity[:, 0].astype(np.float64), found.index[:, 0]
    p_values = calibration.p_values(scores)
    identical = scores >= settings.leak_correlation
    # A score of an exact copy counts by itself, with or without patients enough for a threshold.
    counted = np.where(identical & (not calibration.blind), np.inf, scores)
    limit = min(threshold, _LARGEST)
    copy = counted > limit
    tell("comparing synthetic cines", 0, len(y))
    duplicates = _duplicates(y.values, settings.leak_correlation, memory_mb, cancel)

    thresholds = bootstrap_thresholds(calibration, settings.false_alarm, _RESAMPLES, rng, made.patients)
    thresholds = np.minimum(thresholds, _LARGEST)
    _, patient_of = np.unique(x_patients, return_inverse=True)
    n_patients = int(patient_of.max()) + 1
    nearest_copy = np.full(n_patients, -np.inf)
    np.maximum.at(nearest_copy, patient_of[near], counted)
    expected = settings.false_alarm if np.isfinite(threshold) else 0.0
    chance = 1 - (1 - expected / n_patients) ** len(y)
    n_above = int((scores > threshold).sum())
    copies = Share(int(copy.sum()), len(y), *bootstrap_interval(counted, thresholds, rng), expected)
    memorized = Share(
        int((nearest_copy > limit).sum()), n_patients, *bootstrap_interval(nearest_copy, thresholds, rng), chance
    )
    share_above = calibration.share_above(settings.false_alarm)
    test = CountTest(
        p_value_of_count(n_above, len(y), share_above),
        binomial_p_value(n_above, len(y), settings.false_alarm),
        upper_bound(copies.count, len(y)),
        max(0.0, (copies.fraction - settings.false_alarm) / (1 - settings.false_alarm)),
        holm(p_values, _LEVEL),
        discoveries(p_values, _LEVEL),
        detectable_share(len(y), share_above, _LEVEL / 2),
    )
    n_identical = int(identical.sum())
    if calibration.blind:
        notes.append("This embedding hardly tells patients apart: half of the real ones are almost equal to another.")
    sure = holm(p_values, _LEVEL / 2) > 0 or (n_identical > 0 and not calibration.blind)
    verdict: VerdictWord = (
        "copies" if test.p_value <= _LEVEL / 2 or sure else "none found" if np.isfinite(threshold) else "undecided"
    )
    notes += _notes(calibration, settings, threshold, n_identical, duplicates, len(y))
    if v is not None and not calibration.blind:
        notes += _of_validation(v, y, settings.leak_correlation, memory_mb, cancel)
    notes += [note for one in (x, v, y) if one is not None for note in one.notes]

    published: DarResult | None = None
    rates: tuple[float | None, float | None] = (None, None)
    equal: SizeMatched | None = None
    if settings.published and v is not None:
        tell("applying the published rule", 0, 1)
        published, rates, equal = _dar(x, v, y, near, x_patients, v_patients, settings, rng, memory_mb, cancel)
    tell("done", 1, 1)
    return AuditReport(
        verdict=verdict,
        n_train=len(x),
        n_train_patients=n_patients,
        n_validation=len(v) if v is not None else 0 if stored is None else stored.n_validation,
        n_validation_patients=len(np.unique(v_patients))
        if v is not None or stored is None
        else (stored.calibration.n_patients if stored.n_validation else 0),
        n_synthetic=len(y),
        dimension=int(x.values.shape[1]),
        false_alarm=settings.false_alarm,
        calibration=calibration.kind,
        n_calibration=calibration.n_patients,
        smallest_p_value=calibration.smallest_p,
        threshold=float(threshold) if np.isfinite(threshold) else None,
        copies=copies,
        memorized=memorized,
        test=test,
        n_identical=n_identical,
        n_duplicates=duplicates,
        n_train_duplicates=made.train_duplicates,
        leak=made.leak,
        exchangeability_p=made.exchangeability_p,
        published=published,
        published_null_memorized=rates[0],
        published_null_copies=rates[1],
        equal_sizes=equal,
        scores_calibration=tuple(float(q) for q in np.quantile(calibration.scores, np.linspace(0, 1, 101))),
        samples=_samples(x, y, scores, p_values, copy, near, settings.names),
        encoder_sha256=x.encoder_sha256 or y.encoder_sha256,
        seed=settings.seed,
        notes=tuple(notes),
    )


def _duplicates(values: NDArray[np.float32], limit: float, memory_mb: float, cancel: Cancel | None) -> int:
    if len(values) < 2:
        return 0
    each = np.arange(len(values))
    found = nearest_neighbours(
        values, values, query_groups=each, reference_groups=each, memory_mb=memory_mb, cancel=cancel
    )
    return int((found.similarity[:, 0] >= limit).sum())


def _of_validation(
    v: EmbeddingSet, y: EmbeddingSet, limit: float, memory_mb: float, cancel: Cancel | None
) -> list[str]:
    """Synthetic cines that are validation cines: one folder given twice, or a generator that was trained on them."""
    near = nearest_neighbours(y.values, v.values, memory_mb=memory_mb, cancel=cancel).similarity[:, 0]
    count = int((near >= limit).sum())
    if not count:
        return []
    return [
        f"{_cines_have(count)} an embedding that is almost equal to a validation one: the same cines were given as "
        "both, or the generator was trained on these patients."
    ]


def _cines_have(count: int) -> str:
    return f"{count} synthetic cine{' has' if count == 1 else 's have'}"


def _dar(
    x: EmbeddingSet,
    v: EmbeddingSet,
    y: EmbeddingSet,
    near: NDArray[np.int64],
    x_patients: NDArray[np.int64],
    v_patients: NDArray[np.int64],
    settings: AuditSettings,
    rng: np.random.Generator,
    memory_mb: float,
    cancel: Cancel | None,
) -> tuple[DarResult, tuple[float, float], SizeMatched]:
    to_validation, to_synthetic = (nearest_correlation(x.values, o.values, memory_mb, cancel) for o in (v, y))
    to_training = exact_similarity(y.values, x.values, near)
    result = counted(to_validation, to_synthetic, to_training, len(v))
    rate = null_rate(len(x), len(v), len(y))
    equal = size_matched(
        x.values,
        v.values,
        y.values,
        x_patients,
        v_patients,
        (to_validation, to_synthetic, to_training),
        false_alarm=settings.false_alarm,
        rng=rng,
        memory_mb=memory_mb,
        cancel=cancel,
    )
    return result, (rate.memorized, rate.copies), equal


def _samples(
    x: EmbeddingSet,
    y: EmbeddingSet,
    scores: NDArray[np.float64],
    p_values: NDArray[np.float64],
    copy: NDArray[np.bool_],
    near: NDArray[np.int64],
    names: bool,
) -> tuple[SampleVerdict, ...]:
    own = y.names if names and y.names is not None else ("",) * len(y)
    others = x.names if names and x.names is not None else None
    hashes = {int(i): embedding_hash(x.values[i]) for i in np.unique(near)}
    return tuple(
        SampleVerdict(
            i,
            embedding_hash(y.values[i]),
            float(scores[i]),
            float(p_values[i]),
            bool(copy[i]),
            int(near[i]),
            hashes[int(near[i])],
            own[i],
            "" if others is None else others[near[i]],
        )
        for i in range(len(y))
    )


def _notes(
    calibration: Calibration, settings: AuditSettings, threshold: float, n_identical: int, duplicates: int, n: int
) -> list[str]:
    notes = []
    if not np.isfinite(threshold):
        notes.append(
            f"{calibration.n_patients} calibrating patients are too few for a false-alarm rate of "
            f"{settings.false_alarm:g} ({patients_needed(settings.false_alarm, calibration.kind)} are needed): no cine "
            "can be called a copy by it."
        )
    if calibration.kind == "leave-one-out":
        notes.append(
            "Training patients calibrate, each against all others. Where the encoder was trained on them, it may have "
            "pushed them apart, and novel patients would come nearer: there may be more false alarms than said."
        )
    if n_identical:
        notes.append(f"{_cines_have(n_identical)} an embedding that is almost equal to a training one.")
    if duplicates:
        notes.append(f"{duplicates} of the {n} synthetic cines have an embedding almost equal to another one's.")
    return notes
