"""A thread that does one job after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Lane:
    """Jobs of one kind, in order, on one thread: a network is always called from the same thread, and two never compete
    for the processors.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # a daemon: a job that hangs must not keep the process alive
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Do this after all that came before; a job deals with its own exceptions."""
        self._jobs.put(job)

    def close(self, timeout_s: float | None) -> bool:
        """No more jobs; True once those at hand are done, False if that takes longer (None: however long)."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
