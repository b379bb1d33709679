"""The whole of a cohort: every byte checked, one manifest, the audit, pictures of some, and a card that says it all."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.cohort.belonging import HINT, check_shards, problem_of_heart
from CardioDiTLib.cohort.card import CardFacts, data_card
from CardioDiTLib.cohort.claims import shard_name
from CardioDiTLib.cohort.heart_record import HeartFailure
from CardioDiTLib.cohort.making import planned_bundle, poses_of
from CardioDiTLib.cohort.manifest import (
    ManifestRow,
    row_of,
    row_of_failure,
    row_of_missing,
    write_manifest_csv,
    write_manifest_parquet,
)
from CardioDiTLib.cohort.page import write_page
from CardioDiTLib.cohort.plan import SHARDS, PlannedCohort, open_plan
from CardioDiTLib.cohort.reading import CohortHeart, Shard, open_heart
from CardioDiTLib.cohort.shard import ShardRecord, problem_of_shard, read_shard_record
from CardioDiTLib.cohort.status import CohortStatus, cohort_status
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import CancelSource, Listener, Progress, Stop
from CardioDiTLib.reporting.tables import write_json, write_text
from CardioDiTLib.schema import Count, Record, check_seed

if TYPE_CHECKING:
    from CardioDiTLib.evaluation.cohort import Cohort
    from CardioDiTLib.evaluation.synthesis_report import SynthesisReport
    from CardioDiTLib.privacy.audit_report import AuditReport

MANIFEST, PARQUET, CARD, SHEET = "manifest.csv", "manifest.parquet", "DATA_CARD.md", "sheet.png"
AUDIT, SYNTHESIS = "audit", "synthesis"
_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class MergeRequest(Record):
    """An order for the whole of a cohort.

    Args:
        folder: Of the cohort.
        partial: Also where hearts are missing.
        real: Real cines to compare with: a folder, or a training pack.
        evaluate: How many hearts are compared with them, chosen at random.
        audit: Hold all hearts against the bundle's training set, where it carries one.
        sheet: Hearts on the contact sheet, chosen at random.
        seed: Of what is chosen.
    """

    record_name: ClassVar[str] = "request to merge a cohort"

    folder: str
    partial: bool = False
    real: str | None = None
    evaluate: Count = 200
    audit: bool = True
    sheet: Count = 24
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Merged:
    """What came of it.

    Attributes:
        files: What was written.
        made, failed, missing: Hearts.
        audit: The audit of the whole; None where there was none.
        synthesis: The comparison with real cines; None where none were given.
        notes: What should be known, in plain sentences.
    """

    files: tuple[Path, ...]
    made: int
    failed: int
    missing: int
    audit: AuditReport | None
    synthesis: SynthesisReport | None
    notes: tuple[str, ...]


@dataclass
class _Read:
    """What the shards hold."""

    rows: list[ManifestRow] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    poses: list[NDArray[np.float32]] = field(default_factory=list)
    records: list[ShardRecord] = field(default_factory=list)


def merge_cohort(request: MergeRequest, *, progress: Listener | None = None, cancel: CancelSource = None) -> Merged:
    """Check all shards, and write manifest, audit, comparison, contact sheet and data card into the folder.

    Args:
        request: The order.
        progress: Told of the stages "verifying", "reading", "auditing", "comparing" and "drawing".
        cancel: Asked in between.

    Raises:
        Cancelled: `cancel` said so.
        CardioDiTError: Hearts are missing, a shard is torn, or a file cannot be written.
    """
    check_seed(request.seed)
    cohort, stop = open_plan(request.folder), Stop(cancel)
    check_shards(cohort)
    real = None if request.real is None else _real(Path(request.real))
    status = cohort_status(request.folder)
    _check(request, status)
    _verify(cohort, progress, stop)
    bundle = planned_bundle(cohort.plan)
    notes: list[str] = []
    encode = _encoder(cohort, bundle, request, notes)
    read = _read_all(cohort, encode, progress, stop)
    if not read.numbers:
        raise CardioDiTError("No shard is whole yet.", "Run the cohort first.")
    folder = cohort.folder
    files = [write_manifest_csv(read.rows, cohort.plan.measure, folder / MANIFEST)]
    parquet = write_manifest_parquet(read.rows, cohort.plan.measure, folder / PARQUET)
    if parquet is None:
        notes.append(f"No {PARQUET}: that needs the package pyarrow (pip install pyarrow). {MANIFEST} says the same.")
    else:
        files.append(parquet)
    report = None
    if read.poses:
        report = _audit(cohort, bundle, read, progress, stop)
        files += _write_audit(report, folder, bundle)
    chosen = random.Random(request.seed)
    synthesis = None
    if real is not None:
        picked = sorted(chosen.sample(read.numbers, min(request.evaluate, len(read.numbers))))
        synthesis = _compare(cohort, picked, real, request.seed, progress)
        files += _write_synthesis(synthesis, folder)
    page = sorted(random.Random(request.seed).sample(read.numbers, min(request.sheet, len(read.numbers))))
    sheet = _sheet(cohort, page, progress, stop, notes)
    files += [] if sheet is None else [sheet]
    notes += _taken_away(folder, files)
    facts = CardFacts(cohort.plan, bundle.manifest, read.rows, read.records, report, synthesis, sheet is not None)
    notes += facts.notes()
    files.append(write_text(data_card(facts), folder / CARD))
    made = len(read.numbers)
    failed = sum(row.values["status"] == "failed" for row in read.rows)
    return Merged(
        tuple(files), made, failed, len(read.rows) - made - failed, report, synthesis, tuple(dict.fromkeys(notes))
    )


def _taken_away(folder: Path, files: Sequence[Path]) -> list[str]:
    """Remove what an earlier merge wrote and this one did not: it may be of other hearts than the manifest."""
    names = (PARQUET, SHEET, *(f"{name}.{kind}" for name in (AUDIT, SYNTHESIS) for kind in ("json", "html")))
    old = [name for name in names if folder / name not in files and (folder / name).is_file()]
    for name in old:
        try:
            (folder / name).unlink()
        except OSError as error:
            raise CardioDiTError(
                f"'{folder / name}' of an earlier merge cannot be taken away: {error.strerror or error}.",
                "Remove it by hand, and merge again.",
            ) from error
    return [f"Taken away, of an earlier merge: {', '.join(old)}."] if old else []


def _check(request: MergeRequest, status: CohortStatus) -> None:
    if status.damaged:
        raise CardioDiTError(status.damaged[0], "'cardiodit cohort run --verify' makes damaged shards again.")
    if not status.complete and not request.partial:
        raise CardioDiTError(
            f"{status.shards - status.shards_done} of {status.shards} shards are not whole yet.",
            "Run the cohort first, or merge what is there with --partial.",
        )


def _whole(cohort: PlannedCohort) -> list[int]:
    return [n for n in range(cohort.plan.shards) if (cohort.folder / SHARDS / shard_name(n)).is_dir()]


def _verify(cohort: PlannedCohort, progress: Listener | None, stop: Stop) -> None:
    wrong: list[str] = []
    there = _whole(cohort)
    for done, number in enumerate(there, start=1):
        stop.check()
        problem = problem_of_shard(cohort.folder / SHARDS / shard_name(number), number)
        wrong += [] if problem is None else [problem]
        _tell(progress, "verifying", done, len(there))
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CardioDiTError(f"{wrong[0]}{more}", "'cardiodit cohort run --verify' makes damaged shards again.")


def _read_all(
    cohort: PlannedCohort,
    encode: Callable[[CohortHeart], NDArray[np.float32]] | None,
    progress: Listener | None,
    stop: Stop,
) -> _Read:
    read, done, names = _Read(), 0, cohort.file_names
    for number in range(cohort.plan.shards):
        stop.check()
        folder = cohort.folder / SHARDS / shard_name(number)
        record = read_shard_record(folder)
        hearts = {} if record is None else {heart.number: heart for heart in Shard(folder)}
        failed = {} if record is None else {failure.number: failure for failure in record.failed}
        read.records += [] if record is None else [record]
        for asked in cohort.of_shard(number):
            heart = hearts.get(asked.number)
            other = None if heart is None else problem_of_heart(heart.record, asked, cohort.plan)
            if other is not None:
                raise CardioDiTError(other, HINT)
            if heart is None:
                read.rows.append(_absent(asked, failed.get(asked.number), record))
                continue
            read.rows.append(row_of(heart, folder.name, names[asked.number]))
            read.numbers.append(asked.number)
            read.names.append(names[asked.number])
            if encode is not None:
                read.poses.append(encode(heart))
        done += 1
        _tell(progress, "reading", done, cohort.plan.shards)
    return read


def _absent(asked: Any, failure: HeartFailure | None, record: ShardRecord | None) -> ManifestRow:
    if failure is not None:
        return row_of_failure(asked, failure)
    if record is not None:
        raise CardioDiTError(
            f"Heart {asked.number} is not in its shard, and nobody said why.",
            "'cardiodit cohort run --verify' makes damaged shards again.",
        )
    return row_of_missing(asked)


def _encoder(
    cohort: PlannedCohort, bundle: Bundle, request: MergeRequest, notes: list[str]
) -> Callable[[CohortHeart], NDArray[np.float32]] | None:
    """What the audit's encoder makes of a heart: kept in its shard, or made now; None where nothing is audited."""
    if not request.audit:
        return None
    if bundle.manifest.privacy is None:
        notes.append(f"No audit: '{bundle.manifest.name}' carries no training embeddings.")
        return None
    loaded: list[Any] = []

    def encode(heart: CohortHeart) -> NDArray[np.float32]:
        kept = heart.embedding
        if kept is not None:
            return kept
        from CardioDiTLib.privacy.embedding_io import embedded
        from CardioDiTLib.privacy.gate import load_encoder_of, load_reference

        if not loaded:
            loaded.extend([load_encoder_of(bundle), load_reference(bundle).values])
        return poses_of(embedded(loaded[0], [heart.cine], "synthetic", references=loaded[1]))

    return encode


def _audit(cohort: PlannedCohort, bundle: Bundle, read: _Read, progress: Listener | None, stop: Stop) -> AuditReport:
    from CardioDiTLib.privacy.audit import audit_memorization
    from CardioDiTLib.privacy.embedding_set import checked
    from CardioDiTLib.privacy.gate import load_reference

    reference = load_reference(bundle)
    most = max(len(poses) for poses in read.poses)
    # a cine with fewer places where its heart may lie has fewer poses; its first one is repeated, which changes nothing
    table = np.stack([np.concatenate([poses, np.repeat(poses[:1], most - len(poses), 0)]) for poses in read.poses])
    read.poses.clear()  # tens of kilobytes a heart, which need not be there twice
    synthetic = checked(
        table[:, 0],
        "synthetic",
        names=tuple(read.names),
        encoder_sha256=reference.encoder_sha256,
        poses=table,
    )
    return audit_memorization(
        reference,
        None,
        synthetic,
        false_alarm=cohort.plan.false_alarm,
        published=False,
        names=True,  # of synthetic hearts: a bundle does not know those of patients
        progress=None if progress is None else lambda what, done, of: _tell(progress, "auditing", done, of),
        cancel=stop.wanted,
    )


def _write_audit(report: AuditReport, folder: Path, bundle: Bundle) -> list[Path]:
    from CardioDiTLib.privacy.report_html import to_html

    manifest = bundle.manifest
    about = {
        "model": f"{manifest.name} {manifest.version}",
        "training set": "the training embeddings that this model carries",
        "synthetic": "all hearts of a cohort",
    }
    page = to_html(report, folder / f"{AUDIT}.html", published=False, about=about)
    return [write_json(report, folder / f"{AUDIT}.json"), page]


def _real(path: Path) -> Cohort:
    """Real cines, found before shards are read: that takes hours."""
    from CardioDiTLib.evaluation.cohort import cohort_from_folder, cohort_from_pack

    return cohort_from_pack(path) if path.suffix.lower() == ".npz" else cohort_from_folder(path)


def _compare(
    cohort: PlannedCohort, numbers: list[int], real: Cohort, seed: int, progress: Listener | None
) -> SynthesisReport:
    from CardioDiTLib.evaluation.cohort import Cohort, CohortItem
    from CardioDiTLib.evaluation.synthesis import evaluate_synthesis

    folder = cohort.folder

    def load(number: int) -> Any:
        heart = open_heart(folder, number)
        return heart.cine, heart.segmentation

    items = tuple(
        CohortItem(
            cohort.hearts[number].name,
            cohort.hearts[number].pathology or "",
            lambda number=number: load(number),  # type: ignore[misc]
        )
        for number in numbers
    )
    total, done = len(real.items) + len(items), 0

    def tell(name: str, one: int, of: int) -> None:
        nonlocal done
        done += 1
        _tell(progress, "comparing", done, total)

    return evaluate_synthesis(Cohort("real", real.items, real.notes), Cohort("cohort", items), seed=seed, progress=tell)


def _write_synthesis(report: SynthesisReport, folder: Path) -> list[Path]:
    from CardioDiTLib.evaluation.report_html import to_html

    return [write_json(report, folder / f"{SYNTHESIS}.json"), to_html(report, folder / f"{SYNTHESIS}.html")]


def _sheet(
    cohort: PlannedCohort, numbers: list[int], progress: Listener | None, stop: Stop, notes: list[str]
) -> Path | None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        notes.append(f"No {SHEET}: pictures need the package Pillow (pip install pillow).")
        return None
    hearts = []
    for done, number in enumerate(numbers, start=1):
        stop.check()
        hearts.append(open_heart(cohort.folder, number))
        _tell(progress, "drawing", done, len(numbers))
    plan = cohort.plan
    title = f"{len(hearts)} of {plan.count} hearts, chosen at random"
    return write_page(hearts, cohort.folder / SHEET, title, foot=f"{plan.model} {plan.model_version}")


def _tell(progress: Listener | None, stage: str, done: int, of: int) -> None:
    if progress is not None:
        progress(Progress(stage, done, of))
