"""Audits in the worker: are cines of the scene nearer to training patients than novel patients would be?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.service.arrays import cine_of, describe_cine
from CardioDiTLib.service.generation_jobs import DEFAULT_FALSE_ALARM
from CardioDiTLib.service.job import AuditProgress, Job
from CardioDiTLib.service.probe import load_torch

if TYPE_CHECKING:
    from CardioDiTLib.privacy.audit_report import AuditReport
    from CardioDiTLib.privacy.embedding_io import Encoder

Audit = Callable[[Any, "Encoder"], "AuditReport"]
"""Synthetic embeddings and their encoder to a report."""


class PrivacyJobs:
    """Jobs ``audit_cines`` and ``load_cine``."""

    def audit_cines(self, job: Job) -> dict[str, Any]:
        """Hold cines against training sets.

        Arguments of the job:
            cines: A list, each as `arrays.describe_cine` describes it.
            bundles: A list, for each cine the name or folder of the bundle whose training set it is held against.
            train: In place of `bundles`: a folder of training cines, a training pack, or a file of embeddings.
            validation: Beside `train`: other real patients, as above; may be missing.
            encoder: Beside `train`: folder of an encoder; the embedded one without it.
            false_alarm: Share of novel patients who may be called copies; 0.05 without it.

        Returns:
            ``cines``: for each cine, see `describe_verdict`. ``sets``: for each training set the `AuditReport.summary`
            with ``against`` (a bundle's name, or "folder"), ``sentence`` and ``cines`` (numbers of those that were held
            against it).

        Raises:
            CardioDiTError: A bundle has no training embeddings, or as `audit_memorization` does.
        """
        job.check_arguments("cines", "bundles", "train", "validation", "encoder", "false_alarm")
        cines = job.argument("cines", list)
        bundles, train = job.argument("bundles", list, None), job.argument("train", str, None)
        rate = job.argument("false_alarm", float, None)
        rate = DEFAULT_FALSE_ALARM if rate is None else rate
        _check_order(job, cines, bundles, train)
        load_torch()
        from CardioDiTLib.privacy.false_alarm import check_rate

        check_rate(rate)
        verdicts: list[dict[str, Any]] = [{} for _ in cines]
        sets: list[dict[str, Any]] = []
        progress = AuditProgress(job, len(cines))
        if train is not None:
            validation, encoder = job.argument("validation", str, None), job.argument("encoder", str, None)
            groups = [("folder", list(range(len(cines))), *_by_folder(job, train, validation, encoder, rate, progress))]
        else:
            assert bundles is not None
            groups = []
            for name in dict.fromkeys(bundles):
                places = [number for number, other in enumerate(bundles) if other == name]
                groups.append((name, places, *_by_bundle(job, name, rate)))
        for against, places, encoder_used, audit, files in groups:
            report = audit(_embedded(job, [cines[place] for place in places], encoder_used, progress), encoder_used)
            for place, sample in zip(places, report.samples):
                verdicts[place] = describe_verdict(report, sample, against, files)
            sets.append({**report.summary(), "against": against, "sentence": report.sentence, "cines": places})
        progress.finish()
        return {"cines": verdicts, "sets": sets}

    def load_cine(self, job: Job) -> dict[str, Any]:
        """Read a cine file, such as the nearest training cine in a folder of the user's.

        Arguments of the job:
            path: The file.
            folder: Where its array goes.

        Returns:
            ``cine``: as `arrays.describe_cine` describes it.
        """
        job.check_arguments("path", "folder")
        from CardioDiTLib.io import load_cine

        folder = Path(job.argument("folder", str))
        return {"cine": describe_cine(load_cine(job.argument("path", str)), folder / f"cine-{job.request.id}.npy")}


def describe_verdict(report: AuditReport, sample: Any, against: str, files: Sequence[Path] = ()) -> dict[str, Any]:
    """What an audit says about one cine.

    Args:
        report: The audit.
        sample: Its `SampleVerdict`.
        against: A bundle's name, or "folder".
        files: Training cines where they are at hand.

    Returns:
        ``verdict``: "passed", "failed" or "undecided" (too few real patients); ``passed``: True, False or None;
        ``score``, ``threshold`` (or None), ``p_value``, ``false_alarm``; ``hash``, ``nearest_hash``: short names of the
        embeddings; ``nearest_file``: the nearest training cine, empty where it is not at hand; ``against``,
        ``encoder_sha256``.
    """
    # A copy is one whether or not there are patients enough for a threshold: it may be the very same cine.
    passed = False if sample.copy else None if report.threshold is None else True
    return {
        "verdict": {True: "passed", False: "failed", None: "undecided"}[passed],
        "passed": passed,
        "score": round(sample.score, 5),
        "threshold": None if report.threshold is None else round(report.threshold, 5),
        "p_value": round(sample.p_value, 6),
        "false_alarm": report.false_alarm,
        "hash": sample.hash,
        "nearest_hash": sample.nearest_hash,
        "nearest_file": str(files[sample.nearest_index]) if files else "",
        "against": against,
        "encoder_sha256": report.encoder_sha256,
    }


def _check_order(job: Job, cines: list[Any], bundles: list[Any] | None, train: str | None) -> None:
    if not cines or not all(isinstance(one, Mapping) for one in cines):
        raise CardioDiTError("There is no cine to audit.", "Send at least one.")
    if (bundles is None) == (train is None):
        raise CardioDiTError("An audit needs either bundles or a folder of training cines.", "Send one of the two.")
    if bundles is not None and (len(bundles) != len(cines) or not all(isinstance(one, str) for one in bundles)):
        raise CardioDiTError("There is not one name of a bundle for each cine.", "Send as many names as cines.")
    for name in ("validation", "encoder"):
        if bundles is not None and job.argument(name, str, None) is not None:
            raise CardioDiTError(f"'{name}' goes along with 'train' only.", "Leave it out.")


def _by_bundle(job: Job, name: str, rate: float) -> tuple[Encoder, Audit, list[Path]]:
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.privacy.audit import audit_memorization
    from CardioDiTLib.privacy.gate import load_encoder_of, load_reference

    bundle = load_bundle(name)
    reference = load_reference(bundle)

    def audit(synthetic: Any, encoder: Encoder) -> AuditReport:
        return audit_memorization(
            reference, None, synthetic, false_alarm=rate, encoder=encoder, cancel=job.cancel.is_set
        )

    return load_encoder_of(bundle), audit, []


def _by_folder(
    job: Job, train: str, validation: str | None, encoder: str | None, rate: float, progress: AuditProgress
) -> tuple[Encoder, Audit, list[Path]]:
    from CardioDiTLib.privacy.audit import audit_memorization
    from CardioDiTLib.privacy.embedding_io import CINE_SUFFIXES, cine_files
    from CardioDiTLib.privacy.encoder import load_encoder

    def files_of(path: str | None) -> list[Path]:
        if path is None or not (Path(path).is_dir() or path.lower().endswith(CINE_SUFFIXES)):
            return []
        return cine_files(Path(path))

    files = files_of(train)
    progress.expect(len(files) + len(files_of(validation)))

    def audit(synthetic: Any, used: Encoder) -> AuditReport:
        return audit_memorization(
            train,
            validation,
            synthetic,
            false_alarm=rate,
            published=False,
            encoder=used,
            progress=progress.tell,
            cancel=job.cancel.is_set,
        )

    return load_encoder(encoder), audit, files


def _embedded(job: Job, cines: Sequence[Mapping[str, Any]], encoder: Encoder, progress: AuditProgress) -> Any:
    """Embeddings of described cines, read one after the other."""
    from CardioDiTLib.privacy.embedding_io import embedded

    return embedded(
        encoder,
        (cine_of(one) for one in cines),
        "synthetic",
        progress=lambda done, _: progress.tell("embedding", done, len(cines)),
        cancel=job.cancel,
    )
