"""Stopping a running job from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from CardioDiTLib.errors import Cancelled

CancelSource = Callable[[], bool] | threading.Event | None
"""Who may ask for a job to stop: a function that says so, an event that is set, or nobody."""

_SLICE_S = 0.1


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
