"""Whether hearts were made for the plan that lies beside them: plans are text files, which people change by hand."""

from __future__ import annotations

from pathlib import Path

from CardioDiTLib.cohort.claims import shard_name, shard_number
from CardioDiTLib.cohort.heart import Heart
from CardioDiTLib.cohort.heart_record import HeartRecord
from CardioDiTLib.cohort.plan import SHARDS, CohortPlan, PlannedCohort
from CardioDiTLib.cohort.reading import Shard
from CardioDiTLib.cohort.shard import ShardRecord, read_shard_record
from CardioDiTLib.errors import CardioDiTError

HINT = "Put back the plan.json and hearts.csv that they were made with, or plan another folder."


def problem_of_record(record: ShardRecord, number: int, plan: CohortPlan) -> str | None:
    """Why a whole shard is none of a plan, in a sentence.

    Args:
        record: Of the shard.
        number: Of its folder.
        plan: The plan.
    """
    numbers = plan.numbers(number)
    if (record.number, record.first, record.count) == (number, numbers.start, len(numbers)):
        return None
    return f"{shard_name(number)} holds {record.count} hearts from {record.first} on, which the plan has elsewhere."


def problem_of_heart(record: HeartRecord, asked: Heart, plan: CohortPlan) -> str | None:
    """Why a heart is none of a plan, in a sentence.

    Args:
        record: Of the heart.
        asked: What the plan has at its number.
        plan: The plan.
    """
    kept: tuple[tuple[str, object, object], ...] = (
        ("request", record.heart, asked),
        ("model", record.provenance.get("model_sha256"), plan.model_sha256),
        ("storage", record.storage, plan.storage),
        ("gate", bool(record.audit), plan.gate),
        *((name, record.settings.get(name), plan.settings.get(name)) for name in {**record.settings, **plan.settings}),
    )
    if plan.precision not in (None, "auto"):
        kept += (("precision", record.provenance.get("precision"), plan.precision),)
    if plan.gate:
        kept += (("false_alarm", record.audit.get("false_alarm"), plan.false_alarm),)
    other = [name for name, made, planned in kept if made != planned]
    if not other:
        return None
    return f"Heart {record.heart.number} was made for another plan: its {other[0].replace('_', ' ')} differs."


def check_shards(cohort: PlannedCohort) -> None:
    """See that the whole shards are of the plan: all by their records, the first one by its hearts too.

    Raises:
        CardioDiTError: One is not.
    """
    looked_into = False
    for number in _numbers(cohort.folder / SHARDS):
        folder = cohort.folder / SHARDS / shard_name(number)
        try:
            record = read_shard_record(folder)
            shard = None if record is None or looked_into else Shard(folder)
        except CardioDiTError:
            continue  # damaged, which others find and tell
        problem = None if record is None else problem_of_record(record, number, cohort.plan)
        if problem is None and shard is not None:
            looked_into = True
            problem = problem_of_shard_hearts(shard, cohort)
        if problem is not None:
            raise CardioDiTError(problem, HINT)


def problem_of_shard_hearts(shard: Shard, cohort: PlannedCohort) -> str | None:
    """Why a heart of a shard is none of a plan, in a sentence; the shard's record is of the plan."""
    found = (problem_of_heart(heart.record, cohort.hearts[heart.number], cohort.plan) for heart in shard)
    return next((problem for problem in found if problem is not None), None)


def _numbers(shards: Path) -> list[int]:
    names = (path.name for path in shards.glob("shard-*")) if shards.is_dir() else ()
    return sorted(number for name in names if (number := shard_number(name)) is not None)
