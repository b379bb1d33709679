"""How far a running job is, and stopping it from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from CardioDiTLib.errors import Cancelled

StepCallback = Callable[[int, int], object]
"""Told how many of how many are done."""

StageCallback = Callable[[str, int, int], object]
"""Told what is at work, and how many of how many are done."""

CancelSource = Callable[[], bool] | threading.Event | None
"""Who may ask for a job to stop: a function that says so, an event that is set, or nobody."""

_SLICE_S = 0.1


@dataclass(frozen=True)
class Progress:
    """One sign of progress of a job.

    Attributes:
        stage: What is at work, one word.
        done: How many are done.
        of: Of how many.
        seconds_left: Seconds that the rest will take; None where nobody knows.
    """

    stage: str
    done: float
    of: float
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """Share that is done, 0 to 1."""
        return self.done / self.of if self.of else 1.0


Listener = Callable[[Progress], object]
"""Told of progress; what jobs of the command line, the worker and Slicer have in common."""


def steps_to(listener: Listener | None, stage: str) -> StepCallback | None:
    """A listener for functions that call back with (done, of); None for nobody."""
    return None if listener is None else lambda done, of: listener(Progress(stage, done, of))


class Pace:
    """What the pace so far says of the rest.

    Args:
        now: The clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began = now()
        self.share = 0.0
        """Largest share so far: one that is shown never falls, also where a function begins anew."""

    def seconds_left(self, share: float) -> float | None:
        """Take note of a share that is done, 0 to 1; seconds that the rest will take, None where nothing is done."""
        self.share = max(self.share, share)
        elapsed = self._now() - self._began
        return elapsed * (1.0 - share) / share if share > 0 else None


class Stop:
    """Asks whether a job has to stop.

    Args:
        source: A function without arguments, something with ``is_set()``, or None for a job that nobody stops.
    """

    def __init__(self, source: CancelSource = None) -> None:
        self._source = source

    def wanted(self) -> bool:
        """True where the job has to stop."""
        if self._source is None:
            return False
        if callable(self._source):
            return bool(self._source())
        return self._source.is_set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Cancelled: The job has to stop.
        """
        if self.wanted():
            raise Cancelled()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the job lives.

        Raises:
            Cancelled: The job has to stop.
        """
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))
            self.check()
