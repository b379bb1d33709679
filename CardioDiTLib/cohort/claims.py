"""Who works on which shard: a folder that one worker gives its name and no other can.

Nothing of what is right hangs on claims: two workers that make one shard make the same bytes, and the first to finish
gives it its name. Claims only keep work from being done twice. So renaming a folder is all that is needed of a drive:
no lock, which network drives may lack.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from CardioDiTLib.cohort.heart import Whole
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import is_running, machine, own_name
from CardioDiTLib.schema import Record, Words

BEAT_S = 20.0
STALE_S = 180.0
"""A claim from another machine whose heart has not beaten for so long belongs to nobody."""
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Claim(Record):
    """A worker's word that it makes a shard.

    Args:
        shard: Number of the shard.
        token: Of this claim alone.
        host: Name of the machine, for people.
        place: See `files.machine`.
        pid: Number of the process.
        born: When the process began, in the system's own clock; empty where it does not say.
        since: When the claim was made, UTC.
    """

    record_name: ClassVar[str] = "claim of a shard"
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit.claim/1")

    shard: Whole
    token: Words
    host: str
    place: str
    pid: Whole
    born: str
    since: str

    @property
    def who(self) -> str:
        """The worker, for people."""
        return f"{self.host}:{self.pid}"


class Claims:
    """The claims of a cohort.

    Args:
        folder: Where they lie.
        stale_s: See `STALE_S`.
    """

    def __init__(self, folder: Path, stale_s: float = STALE_S) -> None:
        self._folder = folder
        self._stale_s = stale_s

    def all(self) -> dict[int, tuple[Claim | None, bool]]:
        """By shard: its claim (None where it cannot be read) and whether its worker lives."""
        found: dict[int, tuple[Claim | None, bool]] = {}
        now: float | None = None
        for place in self._folders():
            number = shard_number(place.name)
            if number is None:
                continue
            if now is None:
                now = self._now()
            claim, beat = _read(place)
            found[number] = (claim, self._lives(claim, beat, now))
        return found

    def take(self, shard: int) -> Claim | None:
        """Claim a shard; None where a living worker has it.

        Raises:
            CardioDiTError: Nothing can be written there.
        """
        target = self._folder / shard_name(shard)
        claim = _own(shard)
        for _ in range(2):
            if self._give(claim, target):
                return claim
            there, beat = _read(target)
            if self._lives(there, beat, self._now()) or not self._clear(target, there):
                return None
        return None

    @contextmanager
    def held(self, claim: Claim, beat_s: float = BEAT_S) -> Iterator[Claim]:
        """Let a claim's heart beat during a block, and give it up afterwards."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(beat_s):
                with suppress(OSError):
                    os.utime(self._file(claim))

        thread = threading.Thread(target=beat, name="heartbeat of a claim", daemon=True)
        thread.start()
        try:
            yield claim
        finally:
            ended.set()
            thread.join()
            if self.holds(claim):
                self._clear(self._folder / shard_name(claim.shard), claim)

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is still there: a worker that was taken for dead finds another's in its place."""
        return self._file(claim).is_file()

    def _file(self, claim: Claim) -> Path:
        return self._folder / shard_name(claim.shard) / f"{claim.token}{_SUFFIX}"

    def _folders(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []

    def _give(self, claim: Claim, target: Path) -> bool:
        """Give a folder with the claim its name, unless one has it."""
        hidden = self._folder / own_name()
        try:
            hidden.mkdir(parents=True)
            (hidden / f"{claim.token}{_SUFFIX}").write_text(claim.to_json(), encoding="utf-8")
            return give_name(hidden, target)
        except OSError as error:
            raise CardioDiTError(
                f"No shard can be claimed in '{self._folder}': {error.strerror or error}.",
                "Check the folder, its permissions and the free disk space.",
            ) from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def _clear(self, target: Path, seen: Claim | None) -> bool:
        """Take a claim away; False where it was another's meanwhile, which is then put back."""
        aside = self._folder / own_name()
        try:
            os.rename(target, aside)
        except OSError:
            return not target.exists()
        there, _ = _read(aside)
        if there is not None and seen is not None and there.token != seen.token and give_name(aside, target):
            return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def _lives(self, claim: Claim | None, beat: float, now: float) -> bool:
        if claim is not None and claim.place == machine() and sys.platform != "win32":
            return is_running(claim.pid) and claim.born in ("", _born(claim.pid))
        return now - beat < self._stale_s

    def _now(self) -> float:
        """The time as the drive sees it: clocks of machines differ."""
        probe = self._folder / own_name()
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:  # a drive that may only be read: status is asked for
            return time.time()
        finally:
            with suppress(OSError):
                probe.unlink()


def give_name(hidden: Path, target: Path) -> bool:
    """Rename a folder that is not empty, unless another has the name: the first one has it for good."""
    try:
        os.rename(hidden, target)
    except OSError:
        if target.exists():
            return False
        raise
    return True


def shard_name(shard: int) -> str:
    """Name of what belongs to a shard."""
    return f"shard-{shard:05d}"


def shard_number(name: str) -> int | None:
    """Number of the shard that a name belongs to; None where it is another kind of name."""
    prefix, _, digits = name.partition("-")
    return int(digits) if prefix == "shard" and digits.isdecimal() else None


def _read(place: Path) -> tuple[Claim | None, float]:
    """The claim in a folder, and when its heart last beat."""
    try:
        files = sorted(place.glob(f"*{_SUFFIX}"))
        beat = max((file.stat().st_mtime for file in files), default=place.stat().st_mtime)
        return (Claim.read(files[0]) if files else None), beat
    except CardioDiTError:
        return None, beat
    except OSError:
        return None, 0.0  # gone meanwhile


def _own(shard: int) -> Claim:
    return Claim(
        shard=shard,
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        place=machine(),
        pid=os.getpid(),
        born=_born(os.getpid()),
        since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _born(pid: int) -> str:
    """When a process began: numbers of processes are given again. Empty where the system does not say."""
    with suppress(OSError, IndexError):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
        return "ended" if fields[0] == "Z" else f"{boot[:8]}-{fields[19]}"
    return ""
