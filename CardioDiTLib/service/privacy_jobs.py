"""Audits in the worker: are cines of the scene nearer to training patients than novel patients would be?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.service.arrays import cine_of, describe_cine
from CardioDiTLib.service.job import Job, JobListener
from CardioDiTLib.service.probe import load_torch
from CardioDiTLib.workflow.audit import CineAuditRequest, run_cines

if TYPE_CHECKING:
    from CardioDiTLib.privacy.audit_report import AuditReport

_OPTIONS = ("bundles", "train", "validation", "encoder", "false_alarm")


class PrivacyJobs:
    """Jobs ``audit_cines`` and ``load_cine``."""

    def audit_cines(self, job: Job) -> dict[str, Any]:
        """Hold cines against training sets.

        Arguments of the job:
            cines: A list, each as `arrays.describe_cine` describes it.
            bundles, train, validation, encoder, false_alarm: See `CineAuditRequest`.

        Returns:
            ``cines``: for each cine, see `describe_verdict`. ``sets``: for each training set the `AuditReport.summary`
            with ``against`` (a bundle's name, or "folder"), ``sentence`` and ``cines`` (numbers of those that were held
            against it).

        Raises:
            CardioDiTError: A bundle has no training embeddings, or as `audit_memorization` does.
        """
        job.check_arguments("cines", *_OPTIONS)
        cines = job.argument("cines", list)
        if not all(isinstance(one, Mapping) for one in cines):
            raise CardioDiTError("A cine to audit is not described.", "Send arrays, affines and times.")
        request = CineAuditRequest(**job.given(*_OPTIONS))
        request.check(len(cines))
        load_torch()
        found = run_cines(
            request, [partial(cine_of, one) for one in cines], progress=JobListener(job, "embed"), cancel=job.cancel
        )
        verdicts: list[dict[str, Any]] = [{} for _ in cines]
        for one in found:
            for place, sample in zip(one.cines, one.report.samples):
                nearest = one.nearest_file(sample)
                verdicts[place] = describe_verdict(one.report, sample, one.against, nearest)
        sets = [
            {**one.report.summary(), "against": one.against, "sentence": one.report.sentence, "cines": list(one.cines)}
            for one in found
        ]
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


def describe_verdict(report: AuditReport, sample: Any, against: str, nearest: Path | None = None) -> dict[str, Any]:
    """What an audit says about one cine.

    Args:
        report: The audit.
        sample: Its `SampleVerdict`.
        against: A bundle's name, or "folder".
        nearest: The nearest training cine, where it is at hand.

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
        "nearest_file": "" if nearest is None else str(nearest),
        "against": against,
        "encoder_sha256": report.encoder_sha256,
    }
