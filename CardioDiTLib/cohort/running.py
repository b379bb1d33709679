"""One worker of a cohort: shards are claimed, made heart by heart, and written whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from CardioDiTLib.cohort.belonging import HINT, check_shards, problem_of_heart, problem_of_shard_hearts
from CardioDiTLib.cohort.claims import Claim, Claims, shard_name, shard_number
from CardioDiTLib.cohort.heart import Heart
from CardioDiTLib.cohort.heart_record import HeartFailure
from CardioDiTLib.cohort.plan import CLAIMS, PARTS, SHARDS, PlannedCohort, open_plan
from CardioDiTLib.cohort.reading import Shard
from CardioDiTLib.cohort.shard import (
    TAR_NAME,
    Parts,
    ShardRecord,
    parts_of,
    problem_of_shard,
    read_shard_record,
    write_shard,
)
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import FileRecord, rename_folder
from CardioDiTLib.io.output_set import sweep
from CardioDiTLib.progress import CancelSource, Stop

Told = Callable[[int, bool], object]
"""Told of each heart that came to an end: its number, and whether it is there."""

_FIRST_FAILURES, _FAILURES = 3, 10  # in a row, after which a worker stops: one that has made nothing, any other


@dataclass
class RunResult:
    """What a worker did.

    Attributes:
        made: Hearts that it made.
        failed: Hearts that it could not make.
        shards: Shards that it finished.
        out_of_time: Whether it stopped for time.
    """

    made: int = 0
    failed: int = 0
    shards: int = 0
    out_of_time: bool = False


def run_cohort(
    folder: str | os.PathLike[str],
    *,
    minutes: float | None = None,
    retry: bool = False,
    most_hearts: int | None = None,
    told: Told | None = None,
    cancel: CancelSource = None,
) -> RunResult:
    """Work on a cohort until nothing is free: this process alone, beside any others.

    It may be ended in any way, by force too: what it made is kept, heart by heart, and the next worker goes on.

    Args:
        folder: With a plan.
        minutes: Begin no heart that would not be done by then.
        retry: Try hearts again that failed before this call.
        most_hearts: Stop after so many.
        told: Told of each heart.
        cancel: Asked after every step and slice.

    Raises:
        Cancelled: `cancel` said so.
        CardioDiTError: There is no plan, the bundle is another one, the disk refuses, or the first hearts all failed.
    """
    return Worker(open_plan(folder), minutes=minutes, retry=retry, most_hearts=most_hearts, told=told).work(cancel)


def verify_shards(folder: str | os.PathLike[str], told: Callable[[int, int], object] | None = None) -> dict[int, str]:
    """Read all shards that are there, and take away those that are not what their record says.

    Returns:
        What was wrong, by shard; the next run makes them again.

    Raises:
        CardioDiTError: There is no plan, a shard is of another one, or cannot be taken away.
    """
    cohort = open_plan(folder)
    check_shards(cohort)
    shards = cohort.folder / SHARDS
    there = sorted(path for path in shards.glob("shard-*") if path.is_dir()) if shards.is_dir() else []
    wrong: dict[int, str] = {}
    for done, path in enumerate(there, start=1):
        number = shard_number(path.name)
        problem = None if number is None else problem_of_shard(path, number)
        if problem is not None and number is not None:
            wrong[number] = problem
            _remove(path)
        elif number is not None and (other := problem_of_shard_hearts(Shard(path), cohort)) is not None:
            raise CardioDiTError(other, HINT)
        if told is not None:
            told(done, len(there))
    return wrong


class Worker:
    """A worker of a cohort; see `run_cohort` for its arguments."""

    def __init__(
        self,
        cohort: PlannedCohort,
        *,
        minutes: float | None = None,
        retry: bool = False,
        most_hearts: int | None = None,
        told: Told | None = None,
    ) -> None:
        self._cohort, self._plan = cohort, cohort.plan
        self._shards, self._parts = cohort.folder / SHARDS, cohort.folder / PARTS
        self._claims = Claims(cohort.folder / CLAIMS)
        self._began, self._began_at = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._seconds = None if minutes is None else minutes * 60
        self._retry, self._most, self._told = retry, most_hearts, told
        self._heart_s: list[float] = []
        self._in_a_row: list[tuple[int, Parts]] = []
        self.result = RunResult()
        self._maker: object | None = None

    def work(self, cancel: CancelSource = None) -> RunResult:
        """Make what is free.

        Raises:
            Cancelled, CardioDiTError: See `run_cohort`.
        """
        stop = Stop(cancel)
        check_shards(self._cohort)
        self._tidy()
        while not self._enough():
            stop.check()
            claim = self._next()
            if claim is None:
                break
            with self._claims.held(claim):
                self._shard(claim, stop)
        return self.result

    def _tidy(self) -> None:
        """Take away what killed workers left that nobody needs."""
        for place in (self._cohort.folder, self._cohort.folder / CLAIMS, self._shards):
            if place.is_dir():
                sweep(place)
        held = self._claims.all()
        for path in self._parts.glob("shard-*"):
            number = shard_number(path.name)
            if number is not None and number not in held and (self._shards / path.name).is_dir() and not self._retry:
                shutil.rmtree(path, ignore_errors=True)

    def _next(self) -> Claim | None:
        """Claim the first shard that is free."""
        for shard in self._wanted():
            self._maker_of_hearts()  # loaded before a shard is held for it
            claim = self._claims.take(shard)
            if claim is not None:
                if not self._is_wanted(shard):  # finished between looking and claiming
                    with self._claims.held(claim):
                        continue
                return claim
        return None

    def _wanted(self) -> Iterator[int]:
        taken = {shard for shard, (_, lives) in self._claims.all().items() if lives}
        there = {shard_number(path.name) for path in self._shards.glob("shard-*")} if self._shards.is_dir() else set()
        for shard in range(self._plan.shards):
            if shard not in taken and (shard not in there or self._retry) and self._is_wanted(shard):
                yield shard

    def _is_wanted(self, shard: int) -> bool:
        record = read_shard_record(self._shards / shard_name(shard))
        return record is None or (self._retry and any(self._is_old(one) for one in record.failed))

    def _is_old(self, failure: HeartFailure) -> bool:
        return failure.at < self._began_at

    def _shard(self, claim: Claim, stop: Stop) -> None:
        shard, final = claim.shard, self._shards / shard_name(claim.shard)
        parts = Parts(self._parts / shard_name(shard))
        _give_back(final)
        before = read_shard_record(final)
        if before is not None:
            if not self._is_wanted(shard):
                return
            self._take_apart(final, before, parts)
        elif parts.folder.is_dir():
            sweep(parts.folder)
        seconds, timed = 0.0, 0
        hearts = self._cohort.of_shard(shard)
        for batch in self._plan.batches(hearts):
            if all(self._is_done(heart, parts) for heart in batch):
                continue
            if self._enough() or not self._claims.holds(claim):
                return
            if before is None and final.is_dir():  # another worker, taken for dead, was not
                break
            begin = time.monotonic()
            for heart, made in self._maker_of_hearts().make(batch, stop.wanted):
                self._keep(heart, made, parts)
            took = time.monotonic() - begin
            self._heart_s.append(took / len(batch))
            seconds, timed = seconds + took, timed + len(batch)
        if before is None and final.is_dir():
            shutil.rmtree(parts.folder, ignore_errors=True)
            return
        self._finish(shard, hearts, parts, seconds, timed, replacing=before is not None)

    def _is_done(self, heart: Heart, parts: Parts) -> bool:
        record = parts.whole(heart.number)
        if record is not None:
            problem = problem_of_heart(record, heart, self._plan)
            if problem is not None:
                raise CardioDiTError(problem, HINT)
            return True
        failure = parts.failure(heart.number)
        return failure is not None and not (self._retry and self._is_old(failure))

    def _keep(self, heart: Heart, made: object, parts: Parts) -> None:
        if isinstance(made, HeartFailure):
            before = parts.failure(heart.number)
            made = made if before is None else replace(made, attempts=before.attempts + 1)
            parts.fail(made)
            self.result.failed += 1
            if made.refused:  # it was made and judged: all works
                self._in_a_row.clear()
            else:
                self._look_at_failures(made, parts)
        else:
            parts.keep(heart.number, made)  # type: ignore[arg-type]  # files of a heart
            parts.forgive(heart.number)
            self._in_a_row.clear()
            self.result.made += 1
        if self._told is not None:
            self._told(heart.number, not isinstance(made, HeartFailure))

    def _look_at_failures(self, failure: HeartFailure, parts: Parts) -> None:
        """Where nothing works any more (another program took the memory, for one), hearts are not to blame."""
        self._in_a_row.append((failure.number, parts))
        limit = min(_FAILURES if self.result.made else _FIRST_FAILURES, self._plan.count)
        if len(self._in_a_row) < limit:
            return
        for number, place in self._in_a_row:
            place.forgive(number)
        raise CardioDiTError(
            f"{limit} hearts in a row could not be made, the last one for this: {failure.reason}",
            "Mend this, or plan another folder; hearts of a shard that is not whole are not marked as failed.",
        )

    def _finish(
        self, shard: int, hearts: list[Heart], parts: Parts, seconds: float, timed: int, replacing: bool
    ) -> None:
        there = [heart for heart in hearts if parts.path(heart.number).is_file()]
        failed = [one for heart in hearts if (one := parts.failure(heart.number)) is not None and heart not in there]
        if len(there) + len(failed) != len(hearts):
            return  # somebody else finished it, and took the parts away

        def record_of(tar: FileRecord) -> ShardRecord:
            return ShardRecord(
                number=shard,
                first=hearts[0].number,
                count=len(hearts),
                tar=tar,
                failed=tuple(failed),
                seconds=round(seconds, 3),
                timed=timed,
                finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                machine=self._maker_of_hearts().machine,
            )

        try:
            files = [parts.path(heart.number) for heart in there]
            written = write_shard(self._shards, record_of, files, shard, replacing=replacing)
        except CardioDiTError as error:
            if isinstance(error.__cause__, FileNotFoundError) and read_shard_record(self._shards / shard_name(shard)):
                return  # as above
            raise
        if written is not None:
            self.result.shards += 1
        shutil.rmtree(parts.folder, ignore_errors=True)

    def _take_apart(self, folder: Path, record: ShardRecord, parts: Parts) -> None:
        """The hearts of a shard that is made again for those that failed."""
        problem = problem_of_shard(folder, record.number)
        if problem is not None:
            raise CardioDiTError(problem, "Make it again with 'cardiodit cohort run --verify'.")
        for number, content in parts_of(folder / TAR_NAME):
            if parts.whole(number) is None:
                parts.copy(number, content)
        for failure in record.failed:
            if parts.failure(failure.number) is None:
                parts.fail(failure)

    def _enough(self) -> bool:
        if self._most is not None and self.result.made >= self._most:
            return True
        if self._seconds is None:
            return False
        left = self._seconds - (time.monotonic() - self._began)
        heart = max(self._heart_s[-20:], default=0.0)
        self.result.out_of_time = left < heart or left <= 0
        return self.result.out_of_time

    def _maker_of_hearts(self):  # type: ignore[no-untyped-def]  # HeartMaker, which brings torch
        if self._maker is None:
            from CardioDiTLib.cohort.making import HeartMaker

            self._maker = HeartMaker(self._plan)
        return self._maker


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise CardioDiTError(
            f"'{path}' is damaged and cannot be taken away: {error.strerror or error}.",
            "Check the folder and its permissions.",
        ) from error


def _give_back(final: Path) -> None:
    """A shard that was moved aside by a worker that was killed while it replaced it."""
    for aside in sorted(final.parent.glob(f".{final.name}.*")):
        if aside.is_dir() and not final.exists() and read_shard_record(aside) is not None:
            with suppress(OSError):
                rename_folder(aside, final)
        shutil.rmtree(aside, ignore_errors=True)


__all__ = ["Cancelled", "RunResult", "Worker", "run_cohort", "verify_shards"]
