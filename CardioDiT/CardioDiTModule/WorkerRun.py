from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem, Problem
from .Steps import Steps
from .WorkerClient import WorkerClient, WorkerRequest

Later = Callable[[int, Callable[[], None]], None]


class RunRefused(Exception):
    """Raised by `prepare` where the user decided otherwise: the run counts as cancelled."""


class Run(ABC):
    """Orders to the worker, and what is done around them, without blocking the event loop. What follows the last order
    and what comes between two is up to the class that is derived; the ways to end are the same for all.

    Exactly one of onDone, onProblem and onCancelled is called, once.

    Args:
        worker: The worker client.
        later: (milliseconds, callback).
        onProgress: (event), see `CardioDiTLib.service.protocol`.
        onDone: (result); the temporary folder is there until it comes back.
        onProblem: (problem).
        onCancelled: ().
    """

    def __init__(
        self,
        worker: WorkerClient,
        later: Later,
        *,
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onDone: Callable[[Any], None] | None = None,
        onProblem: Callable[[Problem], None] | None = None,
        onCancelled: Callable[[], None] | None = None,
    ) -> None:
        self._worker, self._later = worker, later
        self._onProgress, self._onDone = onProgress, onDone
        self._onProblem, self._onCancelled = onProblem, onCancelled
        self._folder = ""
        self._order: WorkerRequest | None = None
        self.isRunning = False

    def start(self) -> Any:
        """Begin; callbacks come later, never before this returns. Returns itself."""
        self.isRunning = True
        self._folder = slicer.util.tempDirectory("CardioDiT")
        self._begin()
        return self

    def cancel(self) -> None:
        """Give up; `onCancelled` follows soon, and the scene is as it was."""
        if not self.isRunning:
            return
        if self._order is not None and not self._order.ended:
            self._worker.cancel(self._order)
        else:
            self._halt()
            self._later(0, self._endCancelled)

    def abandon(self, finish: bool = False) -> None:
        """Give up and tell nobody: whoever listened is gone. Nothing half built stays in the scene, and the files go as
        soon as the worker has let go of them.

        Args:
            finish: Let the worker finish what it has been told.
        """
        if not self.isRunning:
            return
        self.isRunning = False
        self._onProgress = self._onDone = self._onProblem = self._onCancelled = None
        if self._order is None or self._order.ended:
            self._tidy()
        elif not finish:
            self._worker.cancel(self._order)
        # of an order that is under way `_tidyIfOver` follows

    # -- what derived classes define

    @abstractmethod
    def _begin(self) -> None:
        """Send the first order, now or later."""

    def _halt(self) -> None:  # noqa: B027 - most have nothing to stop
        """Stop what is done between orders; the scene is as it was."""

    def _problemOf(self, error: Exception) -> Problem:
        """What is told about an error that is no `CardioDiTProblem`."""
        return Problem(
            _("The scene could not be read or changed: {error}.").format(error=error),
            _("Copy the log and report it."),
            repr(error),
        )

    # -- what they call

    def _request(
        self,
        command: str,
        arguments: dict[str, Any],
        onResult: Callable[[dict[str, Any]], None],
        onProblem: Callable[[Problem], None] | None = None,
    ) -> None:
        self._order = self._worker.request(
            command,
            arguments,
            onProgress=self._progress,
            onResult=onResult,
            onProblem=onProblem or self._fail,
            onCancelled=self._endCancelled,
            onEnd=self._tidyIfOver,
        )

    def _progress(self, event: dict[str, Any]) -> None:
        if self._onProgress is not None:
            self._onProgress(event)

    def _tell(self, stage: str, fraction: float) -> None:
        self._progress({"stage": stage, "step": 0, "of": 1, "fraction": fraction, "eta_s": None})

    def _finish(self, result: Any) -> None:
        self.isRunning = False
        try:
            if self._onDone is not None:
                self._onDone(result)
        finally:
            self._tidy()

    def _failWith(self, error: Exception) -> None:
        if isinstance(error, RunRefused):
            self._endCancelled()
        else:
            self._fail(error.problem if isinstance(error, CardioDiTProblem) else self._problemOf(error))

    def _fail(self, problem: Problem) -> None:
        self._endWith(self._onProblem, problem)

    def _endCancelled(self) -> None:
        self._endWith(self._onCancelled)

    def _endWith(self, callback: Callable[..., None] | None, *values: Any) -> None:
        if self.isRunning:
            self.isRunning = False
            self._tidy()
            if callback is not None:
                callback(*values)

    def _tidyIfOver(self) -> None:
        if not self.isRunning:
            self._tidy()

    def _tidy(self) -> None:
        self._halt()
        shutil.rmtree(self._folder, ignore_errors=True)


class WorkerRun(Run):
    """One order about what is in the scene: what the worker needs goes into files a frame at a time, the worker
    computes, and what comes back goes into the scene a frame at a time. What a section offers is a pair of generators:

    Args:
        worker, later: As `Run`.
        command: Of the worker.
        prepare: (folder) -> generator that writes files into the folder and returns the arguments of the order; or
            these arguments, where nothing is to be written: the order is sent at once then.
        build: (values of the worker) -> generator that makes nodes and returns the result. Closed before its end, it
            has to leave the scene as it was.
        **callbacks: As `Run`; the stages "send", "wait" and "build" of the progress are this run's own.
    """

    def __init__(
        self,
        worker: WorkerClient,
        later: Later,
        command: str,
        prepare: Callable[[str], Iterator[Any] | dict[str, Any]],
        build: Callable[[dict[str, Any]], Iterator[Any]],
        **callbacks: Any,
    ) -> None:
        super().__init__(worker, later, **callbacks)
        self._command, self._prepare, self._build = command, prepare, build
        self._steps: Steps | None = None

    def _begin(self) -> None:
        try:
            prepared = self._prepare(self._folder)
        except Exception as error:
            self._later(0, partial(self._failWith, error))
            return
        if isinstance(prepared, dict):
            self._send(prepared)
        else:
            self._tell("send", 0.0)
            self._steps = Steps(prepared, self._later, self._send, self._failWith)

    def _halt(self) -> None:
        if self._steps is not None:
            self._steps.close()

    def _send(self, arguments: dict[str, Any]) -> None:
        self._tell("wait", 0.0)
        self._request(self._command, arguments, self._receive)

    def _receive(self, values: dict[str, Any]) -> None:
        if self.isRunning:
            self._tell("build", 1.0)
            self._steps = Steps(self._build(values), self._later, self._finish, self._failWith)
