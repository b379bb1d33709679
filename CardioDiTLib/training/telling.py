"""How a long training tells where it is: a bar where somebody looks at it, a line now and then where nobody does."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from CardioDiTLib.data.packing import FramesNotMade, PackedCines, read_pack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.training import distributed

_LINE_EVERY_S = 30.0


def deadline_after(minutes: float | None) -> float | None:
    """`time.monotonic()` after so many minutes; None for no end.

    Raises:
        CardioDiTError: Not a number: nothing would ever be later than that.
    """
    if minutes is None:
        return None
    if not math.isfinite(minutes):
        raise CardioDiTError(f"{minutes} minutes are no length of time.", "Give a number, or leave it out.")
    return time.monotonic() + 60 * minutes


def told_time(seconds: float) -> str:
    """Seconds for people: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Telling:
    """Progress of something countable; called with (done, of).

    Args:
        what: Name of the work.
        unit: Of what is counted.
    """

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = what, unit
        self._bar: tqdm | None = None
        self._first = 0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Telling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, of: int) -> None:
        if self._bar is None:
            self._first = done - 1
            self._bar = tqdm(
                desc=self.what,
                total=of,
                initial=self._first,
                unit=self.unit,
                file=sys.stderr,
                disable=None,
                leave=False,
            )
        if not self._bar.disable:
            self._bar.update(done - self._bar.n)
        now = time.monotonic()
        if self._bar.disable and (now - self._last > _LINE_EVERY_S or done == of):
            self._last = now
            left = (now - self._began) / max(done - self._first, 1) * (of - done)
            more = f", about {told_time(left)} left" if done < of else ""
            print(f"{self.what}: {done} of {of}{more}", flush=True)


def opened_pack(path: str | Path, frames: int, deadline: float | None) -> PackedCines | None:
    """A pack for training, told while its frames are made; None where the time is used up before they all are.

    Ranks that train together make theirs to the end: they have to agree on what comes next.
    """
    alone = distributed.start()[1] == 1
    try:
        with Telling("frames", "cine") as tell:
            return read_pack(path, frames, deadline=deadline if alone else None, progress=tell)
    except FramesNotMade as error:
        print(error.message, flush=True)
        return None
