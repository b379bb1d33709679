from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem, Problem
from .Steps import Steps
from .WorkerClient import WorkerClient, WorkerRequest


class RunRefused(Exception):
    """Raised by `prepare` where the user decided otherwise: the run counts as cancelled."""


class WorkerRun:
    """One order about what is in the scene, without blocking the event loop: what the worker needs goes into files a
    frame at a time, the worker computes, and what comes back goes into the scene a frame at a time.

    Exactly one of onDone, onProblem and onCancelled is called, once. What a section offers is a pair of generators:

    Args:
        worker: The worker client.
        later: (milliseconds, callback).
        command: Of the worker.
        prepare: (folder) -> generator that writes files into the folder and returns the arguments of the order.
        build: (values of the worker) -> generator that makes nodes and returns the result. Closed before its end, it
            has to leave the scene as it was.
        onProgress: (event), see `CardioDiTLib.service.protocol`; the stages "send", "wait" and "build" are
            this run's own.
        onDone: (result of `build`); files of the worker are there until it comes back.
        onProblem: (problem).
        onCancelled: ().
    """

    def __init__(
        self,
        worker: WorkerClient,
        later: Callable[[int, Callable[[], None]], None],
        command: str,
        prepare: Callable[[str], Iterator[Any]],
        build: Callable[[dict[str, Any]], Iterator[Any]],
        *,
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onDone: Callable[[Any], None] | None = None,
        onProblem: Callable[[Problem], None] | None = None,
        onCancelled: Callable[[], None] | None = None,
    ) -> None:
        self._worker, self._later, self._command = worker, later, command
        self._prepare, self._build = prepare, build
        self._onProgress, self._onDone = onProgress, onDone
        self._onProblem, self._onCancelled = onProblem, onCancelled
        self._folder = ""
        self._steps: Steps | None = None
        self._order: WorkerRequest | None = None
        self.isRunning = False

    def start(self) -> WorkerRun:
        """Begin; callbacks come later, never before this returns. Returns itself."""
        self.isRunning = True
        self._folder = slicer.util.tempDirectory("CardioDiT")
        self._tell("send", 0.0)
        self._steps = Steps(self._prepare(self._folder), self._later, self._send, self._failWith)
        return self

    def cancel(self) -> None:
        """Give up; `onCancelled` follows soon, and the scene is as it was."""
        if not self.isRunning:
            return
        if self._order is not None and not self._order.ended:
            self._worker.cancel(self._order)
        elif self._steps is not None:
            self._steps.close()
            self._later(0, self._endCancelled)

    def abandon(self) -> None:
        """Give up and tell nobody: whoever listened is gone. Nothing half built stays in the scene, and the files go as
        soon as the worker has let go of them.
        """
        if not self.isRunning:
            return
        self.isRunning = False
        self._onProgress = self._onDone = self._onProblem = self._onCancelled = None
        if self._order is not None and not self._order.ended:
            self._worker.cancel(self._order)  # `_tidyIfOver` follows
            return
        if self._steps is not None:
            self._steps.close()
        self._tidy()

    def _send(self, arguments: dict[str, Any]) -> None:
        self._tell("wait", 0.0)
        self._order = self._worker.request(
            self._command,
            arguments,
            onProgress=self._onProgress,
            onResult=self._receive,
            onProblem=self._fail,
            onCancelled=self._endCancelled,
            onEnd=self._tidyIfOver,
        )

    def _receive(self, values: dict[str, Any]) -> None:
        if not self.isRunning:
            return
        self._tell("build", 1.0)
        self._steps = Steps(self._build(values), self._later, self._finish, self._failWith)

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
        elif isinstance(error, CardioDiTProblem):
            self._fail(error.problem)
        else:
            self._fail(
                Problem(
                    _("The scene could not be read or changed: {error}.").format(error=error),
                    _("Copy the log and report it."),
                    repr(error),
                )
            )

    def _fail(self, problem: Problem) -> None:
        if self.isRunning:
            self.isRunning = False
            self._tidy()
            if self._onProblem is not None:
                self._onProblem(problem)

    def _endCancelled(self) -> None:
        if self.isRunning:
            self.isRunning = False
            self._tidy()
            if self._onCancelled is not None:
                self._onCancelled()

    def _tidyIfOver(self) -> None:
        if not self.isRunning:
            self._tidy()

    def _tidy(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, stage: str, fraction: float) -> None:
        if self._onProgress is not None:
            self._onProgress({"stage": stage, "step": 0, "of": 1, "fraction": fraction, "eta_s": None})
