"""Limits on wall-clock time that hold on a machine which is busy with other things: what the system keeps from this
process is not its fault. On an idle machine they are as strict as they are written."""

from __future__ import annotations

import os
import time
from pathlib import Path

SAMPLE_S = 0.05
WORST = 8.0
"""However busy a machine is: a limit that is exceeded this many times is exceeded."""


def crowding() -> float:
    """How many times longer than its processor time a computation takes here and now; 1 on an idle machine."""
    wall, own = time.perf_counter(), time.thread_time()
    while time.thread_time() - own < SAMPLE_S:
        sum(range(2000))
    return min(WORST, max(1.0, (time.perf_counter() - wall) / (time.thread_time() - own)))


class FairClock:
    """Seconds since it was made, as they would have been without others.

    Args:
        pid: A process that is waited for: where it has had less processor time than has gone by, that time counts.
            None for one that sleeps, or for none; then crowding at both ends is allowed for.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid, self._crowding = pid, crowding()
        self._began, self._used = time.monotonic(), processorSeconds(pid)

    def seconds(self) -> float:
        """Until now."""
        wall = time.monotonic() - self._began
        used = processorSeconds(self._pid)
        if used is not None and self._used is not None:
            return min(wall, used - self._used)
        return wall / max(self._crowding, crowding())


def processorSeconds(pid: int | None) -> float | None:
    """Processor time of a process so far; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class LoopWatch:
    """How long the event loop was away: a timer that ticks every few milliseconds.

    On two cores that are busy with the worker the system itself keeps this process waiting now and then. What counts is
    what this process does between two ticks, so its own processor time is measured beside the wall clock.
    """

    def __init__(self) -> None:
        import qt

        self.busy: list[float] = []
        self.wall: list[float] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(2)
        self._timer.connect("timeout()", self._tick)
        self._last = (time.perf_counter(), time.thread_time())
        self._timer.start()

    def stop(self) -> float:
        """The longest processor time between two ticks."""
        self._timer.stop()
        return max(self.busy)

    def _tick(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self.wall.append(now[0] - self._last[0])
        self.busy.append(now[1] - self._last[1])
        self._last = now
