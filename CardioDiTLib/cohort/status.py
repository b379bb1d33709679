"""How far a cohort is, as its folder shows it at this moment."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from CardioDiTLib.cohort.belonging import problem_of_record
from CardioDiTLib.cohort.claims import Claim, Claims, shard_name, shard_number
from CardioDiTLib.cohort.heart import Whole
from CardioDiTLib.cohort.heart_record import HeartFailure
from CardioDiTLib.cohort.plan import CLAIMS, PARTS, SHARDS, CohortPlan, read_plan
from CardioDiTLib.cohort.shard import FAILED, PART, ShardRecord, read_shard_record
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Record, Unknowable

_RECENT = 50  # shards, of which the pace is taken


@dataclass(frozen=True, kw_only=True)
class WorkerStatus(Record):
    """A worker at a shard.

    Args:
        shard: Number of the shard.
        host, pid: Where it runs; empty and 0 where its claim cannot be read.
        since: When it began with the shard, UTC.
        hearts: Hearts of the shard that are made.
        of: Hearts of the shard.
        alive: Whether it lives; a dead one's shard is free.
    """

    record_name: ClassVar[str] = "status of a worker"

    shard: Whole
    host: str
    pid: Whole
    since: str
    hearts: Whole
    of: Whole
    alive: bool


@dataclass(frozen=True, kw_only=True)
class CohortStatus(Record):
    """How far a cohort is.

    Args:
        planned: Hearts of the plan.
        made: Hearts that are there, in shards or on their way into one.
        failed: Hearts that could not be made, and why.
        shards: Shards of the plan.
        shards_done: Shards that are whole.
        workers: Who is at work, and whose claims are left over.
        hearts_per_hour: What living workers make together; not known before one has made a heart.
        seconds_left: Until all are made at this pace; not known where nobody works.
        seconds_a_heart: What a heart takes one worker; not known before one is made.
        bytes: Of whole shards.
        damaged: What is wrong with shards whose record cannot be read, or is of another plan.
    """

    record_name: ClassVar[str] = "status of a cohort"
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit.cohort-status/1")
    derived: ClassVar[tuple[str, ...]] = ("complete",)

    planned: Whole
    made: Whole
    failed: tuple[HeartFailure, ...]
    shards: Whole
    shards_done: Whole
    workers: tuple[WorkerStatus, ...]
    hearts_per_hour: Unknowable
    seconds_left: Unknowable
    seconds_a_heart: Unknowable
    bytes: Whole
    damaged: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        """Hearts that are neither made nor failed."""
        return max(0, self.planned - self.made - len(self.failed))

    @property
    def complete(self) -> bool:
        """Whether all shards are whole; some of their hearts may have failed."""
        return self.shards_done == self.shards


def cohort_status(folder: str | os.PathLike[str]) -> CohortStatus:
    """How far a cohort is.

    Raises:
        CardioDiTError: There is no plan.
    """
    return StatusReader(folder).read()


class StatusReader:
    """Reads a status again and again; records of whole shards are read once.

    Args:
        folder: With a plan.

    Raises:
        CardioDiTError: There is no plan.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._plan: CohortPlan = read_plan(folder)
        self._claims = Claims(self._folder / CLAIMS)
        self._known: dict[int, tuple[int, ShardRecord]] = {}

    def read(self) -> CohortStatus:
        """The status now."""
        # parts first: a shard that is finished in between is then seen as a shard
        parts = {number: names for number, names in self._parts().items()}
        claims = self._claims.all()
        records, damaged = self._records()
        open_parts = {number: found for number, found in parts.items() if number not in records}
        failed = [failure for record in records.values() for failure in record.failed]
        for number, found in open_parts.items():
            failed += self._failures(number, [name for name in found if name.endswith(FAILED)])
        on_the_way = {n: [name for name in found if name.endswith(PART)] for n, found in open_parts.items()}
        made = sum(record.made for record in records.values()) + sum(map(len, on_the_way.values()))
        workers = tuple(self._worker(n, *claim, on_the_way.get(n, []), records.get(n)) for n, claim in claims.items())
        pace = self._seconds_a_heart(records, workers, on_the_way)
        at_work = sum(worker.alive for worker in workers)
        left = max(0, self._plan.count - made - len(failed))
        return CohortStatus(
            planned=self._plan.count,
            made=made,
            failed=tuple(sorted(failed, key=lambda failure: failure.number)),
            shards=self._plan.shards,
            shards_done=len(records),
            workers=workers,
            hearts_per_hour=at_work * 3600 / pace if pace > 0 else math.nan,
            seconds_left=0.0 if not left else left * pace / at_work if at_work else math.nan,
            seconds_a_heart=pace,
            bytes=sum(record.tar.bytes for record in records.values()),
            damaged=tuple(damaged),
        )

    def _records(self) -> tuple[dict[int, ShardRecord], list[str]]:
        found: dict[int, ShardRecord] = {}
        damaged: list[str] = []
        for path in _named(self._folder / SHARDS):
            number = shard_number(path.name)
            if number is None:
                continue
            try:
                stamp = path.stat().st_mtime_ns
                known = self._known.get(number)
                if known is None or known[0] != stamp:
                    record = read_shard_record(path)
                    if record is None:
                        raise CardioDiTError(f"{path.name} has no record.")
                    problem = problem_of_record(record, number, self._plan)
                    if problem is not None:
                        raise CardioDiTError(problem)
                    known = self._known[number] = (stamp, record)
                found[number] = known[1]
            except CardioDiTError as error:
                damaged.append(error.message)
            except OSError:
                continue  # replaced at this moment
        return found, damaged

    def _parts(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for path in _named(self._folder / PARTS):
            number = shard_number(path.name)
            if number is not None:
                made = {one.name.partition(".")[0] for one in _named(path) if one.name.endswith(PART)}
                names = [f"{name}{PART}" for name in made]
                names += [one.name for one in _named(path) if one.name.endswith(FAILED)]
                found[number] = [name for name in names if name.endswith(PART) or name.partition(".")[0] not in made]
        return found

    def _failures(self, shard: int, names: list[str]) -> list[HeartFailure]:
        found = []
        for name in names:
            try:
                found.append(HeartFailure.read(self._folder / PARTS / shard_name(shard) / name))
            except CardioDiTError:
                continue  # torn, or made meanwhile
        return found

    def _worker(
        self, shard: int, claim: Claim | None, alive: bool, parts: list[str], record: ShardRecord | None
    ) -> WorkerStatus:
        return WorkerStatus(
            shard=shard,
            host="" if claim is None else claim.host,
            pid=0 if claim is None else claim.pid,
            since="" if claim is None else claim.since,
            hearts=len(parts) if record is None else record.made,
            of=len(self._plan.numbers(shard)),
            alive=alive,
        )

    def _seconds_a_heart(
        self, records: dict[int, ShardRecord], workers: tuple[WorkerStatus, ...], parts: dict[int, list[str]]
    ) -> float:
        """What a heart takes one worker: as living workers show it, else as the last shards do."""
        now, spent, hearts = time.time(), 0.0, 0
        for worker in workers:
            fresh = self._made_since(worker, parts.get(worker.shard, [])) if worker.alive else 0
            if fresh:
                spent, hearts = spent + now - _seconds(worker.since), hearts + fresh
        timed = sorted((one for one in records.values() if one.timed), key=lambda one: one.finished)[-_RECENT:]
        spent += sum(one.seconds for one in timed)
        hearts += sum(one.timed for one in timed)
        return max(spent, 1e-3) / hearts if hearts else math.nan

    def _made_since(self, worker: WorkerStatus, names: list[str]) -> int:
        begin, count = _seconds(worker.since), 0
        for name in names:
            try:
                count += (self._folder / PARTS / shard_name(worker.shard) / name).stat().st_mtime >= begin
            except OSError:
                continue
        return count


def _named(folder: Path) -> list[Path]:
    """What lies in a folder under a name of its own."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc).timestamp()
    except ValueError:
        return time.time()
