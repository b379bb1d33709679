from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import qt

BUDGET_S = 0.008
"""How long steps may follow each other before the event loop has its turn."""


class Steps:
    """Runs a generator through the event loop: some small steps, then the application's turn, and so on.

    Args:
        generator: Each `next` takes some milliseconds.
        later: (milliseconds, callback).
        onEnd: (what the generator returned).
        onError: (exception), also for what the generator itself raises to stop.
    """

    def __init__(
        self,
        generator: Iterator[Any],
        later: Callable[[int, Callable[[], None]], None],
        onEnd: Callable[[Any], None],
        onError: Callable[[Exception], None],
    ) -> None:
        self._generator, self._later = generator, later
        self._onEnd, self._onError = onEnd, onError
        self._closed = self._stepping = False
        later(0, self._turn)

    def close(self) -> None:
        """Run no further; the generator cleans up at once, and nobody is told. Called from within a step (by a dialog
        that lets the application go on), it cleans up after that step.
        """
        if not self._closed:
            self._closed = True
            if not self._stepping:
                self._generator.close()

    def _turn(self) -> None:
        end = time.perf_counter() + BUDGET_S
        while not self._closed:
            self._stepping = True
            try:
                next(self._generator)
            except StopIteration as stop:
                if not self._closed:
                    self._closed = True
                    self._onEnd(stop.value)
                return
            except Exception as error:
                if not self._closed:
                    self._closed = True
                    self._onError(error)
                return
            finally:
                self._stepping = False
            if self._closed:
                self._generator.close()
                return
            if time.perf_counter() >= end:
                self._later(0, self._turn)
                return


def runAtOnce(generator: Iterator[Any]) -> Any:
    """Run a generator to its end without the event loop; what it returned."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


LOOK_MS = 10


def blockUntil(isDone: Callable[[], bool]) -> None:
    """Come back once something is done; the application goes on meanwhile. For scripts.

    Args:
        isDone: Asked again and again.
    """
    loop = qt.QEventLoop()

    def look() -> None:
        if isDone():
            loop.quit()
        else:
            qt.QTimer.singleShot(LOOK_MS, look)

    qt.QTimer.singleShot(0, look)
    loop.exec_()
