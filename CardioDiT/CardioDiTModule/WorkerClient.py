from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from slicer.i18n import tr as _

from .Problem import Problem
from .Signal import Signal


class ProcessProtocol(Protocol):
    """A child process that is written to and that tells by signals. Only what is named here is relied upon.

    Attributes:
        outputReceived: (bytes), from stdout.
        errorReceived: (bytes), from stderr.
        ended: (exit code, crashed), once, however it ended; also where it could not be started (code -1, crashed).
    """

    outputReceived: Signal
    errorReceived: Signal
    ended: Signal

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; `environment` is laid over the application's."""

    def write(self, data: bytes) -> None:
        """Send to its stdin."""

    def closeInput(self) -> None:
        """Close its stdin."""

    def isRunning(self) -> bool:
        """Whether it has been started and has not ended."""

    def processId(self) -> int:
        """Its number; 0 where it does not run."""

    def killTree(self) -> None:
        """End it and all that it started."""

    def waitForEnd(self, milliseconds: int) -> bool:
        """Block until it has ended, for use at the application's end; False if it takes longer."""


LONGEST_LINE = 1 << 24


class LineReader:
    """Whole lines of a stream of bytes that comes in pieces cut anywhere, also within a character.

    Example:
        >>> reader = LineReader()
        >>> reader.feed(b"one\\ntw")
        ['one']
        >>> reader.feed(b"o\\n")
        ['two']
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Take a piece; returns the complete lines, without their ends. Damaged bytes become question marks."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:  # somebody writes garbage without end
            lines.append(self._rest)
            self._rest = b""
        return [self._decode(line) for line in lines]

    def rest(self) -> str:
        """What came after the last line end; empties the reader."""
        rest, self._rest = self._rest, b""
        return self._decode(rest)

    @staticmethod
    def _decode(line: bytes) -> str:
        return line.rstrip(b"\r").decode("utf-8", errors="replace")


@dataclass
class WorkerRequest:
    """An order to the worker that is under way. Exactly one of onResult, onProblem and onCancelled is called, once.

    Attributes:
        id: Its number.
        command, arguments: What was asked for.
        onProgress: (event: dict), any number of times.
        onResult: (values: dict).
        onProblem: (problem).
        onCancelled: ().
        onEnd: (), after one of these three, however it ended and whoever listens: to tidy up.
        ended: True from the moment one of the three is called.
        cancelAsked: True once it was cancelled, until it has ended.
    """

    id: str
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    onProgress: Callable[[dict[str, Any]], None] | None = None
    onResult: Callable[[dict[str, Any]], None] | None = None
    onProblem: Callable[[Problem], None] | None = None
    onCancelled: Callable[[], None] | None = None
    onEnd: Callable[[], None] | None = None
    ended: bool = False
    cancelAsked: bool = False

    def progress(self, values: dict[str, Any]) -> None:
        """Tell how far it is."""
        if not self.ended and self.onProgress is not None:
            self.onProgress(values)

    def succeed(self, values: dict[str, Any]) -> None:
        """End well."""
        self._end(self.onResult, values)

    def fail(self, problem: Problem) -> None:
        """End with a problem."""
        self._end(self.onProblem, problem)

    def confirmCancel(self) -> None:
        """End as the user asked."""
        self._end(self.onCancelled)

    def _end(self, callback: Callable[..., None] | None, *values: Any) -> None:
        if self.ended:
            return
        self.ended = True
        try:
            if callback is not None:
                callback(*values)
        finally:
            if self.onEnd is not None:
                self.onEnd()


CANCEL_GRACE_MS = 1500
"""How long a worker has to answer a cancel before its process tree is ended."""

START_GRACE_MS = 60000
"""How long a worker has to say that it is ready: the first start after an installation compiles Python files."""

HEARING_GRACE_MS = 20000
"""How long a worker that is ready has to answer the first order, which costs it nothing."""

STOP_GRACE_MS = 2000
LOG_LINES = 2000


class WorkerClient:
    """The worker process as the application sees it: orders go in, each ends in exactly one answer, whatever happens to
    the process. It is started by the first order and again after it has ended.

    Args:
        makeProcess: Makes a `ProcessProtocol`.
        commandLine: () -> (program, arguments, environment) of the worker.
        after: (milliseconds, callback): call later. Tests hand in their own clock.

    Attributes:
        ready: (event) once the worker takes orders.
        ended: (problem or None) when the process has ended; None where that was wanted.
        logged: (line).
        isDeaf: True once a worker was ready and did not hear its orders: the launcher in between did not pass them on.
            `commandLine` may look at this and go another way; orders are then sent once more.
    """

    def __init__(
        self,
        makeProcess: Callable[[], ProcessProtocol],
        commandLine: Callable[[], tuple[str, Sequence[str], dict[str, str]]],
        after: Callable[[int, Callable[[], None]], None],
    ) -> None:
        self._makeProcess, self._commandLine, self._after = makeProcess, commandLine, after
        self.ready = Signal("worker ready")
        self.ended = Signal("worker ended")
        self.logged = Signal("worker log")
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._process: ProcessProtocol | None = None
        self.isDeaf = False
        self._isReady = False
        self._stopping = False
        self._hears = self._triedOtherWay = False
        self._requests: dict[str, WorkerRequest] = {}
        self._number = 0
        self._output, self._errors = LineReader(), LineReader()

    def isRunning(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def isReady(self) -> bool:
        """Whether it takes orders at once."""
        return self._isReady

    def openRequests(self) -> list[WorkerRequest]:
        """Orders that have not ended."""
        return list(self._requests.values())

    def start(self) -> None:
        """Start the process, if it does not run."""
        if self._process is not None:
            return
        from CardioDiTLib.service.protocol import parse_event

        self._parseEvent = parse_event
        self._output, self._errors = LineReader(), LineReader()
        self._isReady = self._stopping = self._hears = False
        process = self._process = self._makeProcess()
        process.outputReceived.connect(self._onOutput)
        process.errorReceived.connect(self._onErrorOutput)
        process.ended.connect(self._onEnded)
        program, arguments, environment = self._commandLine()
        self._log(f"starting {program} {' '.join(arguments)}")
        process.start(program, arguments, environment)
        self._after(START_GRACE_MS, lambda: self._giveUpStarting(process))

    def request(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onResult: Callable[[dict[str, Any]], None] | None = None,
        onProblem: Callable[[Problem], None] | None = None,
        onCancelled: Callable[[], None] | None = None,
        onEnd: Callable[[], None] | None = None,
    ) -> WorkerRequest:
        """Send an order; the worker is started if need be. Callbacks come later, never before this returns, but for a
        worker that cannot even be started.
        """
        self._number += 1
        request = WorkerRequest(
            str(self._number), command, arguments or {}, onProgress, onResult, onProblem, onCancelled, onEnd
        )
        self._requests[request.id] = request
        self.start()
        self._send(request.id, command, request.arguments)
        return request

    def cancel(self, request: WorkerRequest) -> None:
        """Ask for an order to be given up. If the worker does not answer soon, its processes are ended: the order is
        cancelled in any case.
        """
        if request.ended or request.cancelAsked:
            return
        request.cancelAsked = True
        self._number += 1
        self._send(str(self._number), "cancel", {"target": request.id})
        process = self._process

        def endIt() -> None:
            if not request.ended and process is not None and process is self._process:
                self._log("the worker did not answer the cancel and is ended")
                self._kill()

        self._after(CANCEL_GRACE_MS, endIt)

    def stop(self, wait: bool = False) -> None:
        """Let the worker end; open orders are cancelled.

        Args:
            wait: Block until it has ended: for the application's end, and before a reload.
        """
        process = self._process
        if process is None:
            return
        self._stopping = True
        process.closeInput()
        if not wait:
            self._after(STOP_GRACE_MS, lambda: self._kill() if process is self._process else None)
            return
        if not process.waitForEnd(STOP_GRACE_MS):
            self._kill()
            process.waitForEnd(STOP_GRACE_MS)
        if process is self._process:  # its last signal has not come through
            self._onEnded(0, False)

    def logText(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log)

    def _send(self, requestId: str, command: str, arguments: dict[str, Any]) -> None:
        if self._process is not None:
            line = json.dumps({"id": requestId, "command": command, "arguments": arguments})
            self._process.write(line.encode("ascii") + b"\n")

    def _kill(self) -> None:
        if self._process is not None:
            self._process.killTree()

    def _giveUpStarting(self, process: ProcessProtocol) -> None:
        if process is self._process and not self._isReady:
            self._log("the worker did not become ready and is ended")
            self._kill()

    def _listenForEcho(self) -> None:
        """Find out whether orders arrive at all."""
        process = self._process
        self._number += 1
        self._send(str(self._number), "ping", {})

        def look() -> None:
            if process is not None and process is self._process and not self._hears:
                self._log("the worker does not hear its orders and is ended")
                self.isDeaf = True
                self._kill()

        self._after(HEARING_GRACE_MS, look)

    def _onOutput(self, data: bytes) -> None:
        for line in self._output.feed(data):
            event = self._parseEvent(line)
            if event is None:
                self._log(line)
            else:
                self._onEvent(event)

    def _onErrorOutput(self, data: bytes) -> None:
        for line in self._errors.feed(data):
            self._log(line)

    def _onEvent(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "ready":
            self._isReady = True
            self._listenForEcho()
            self.ready.emit(event)
            return
        self._hears = True  # whatever it says after that, it says because it was asked
        if kind == "log":
            self._log(str(event.get("text", "")))
            return
        request = self._requests.get(str(event.get("id")))
        if request is None:
            if kind == "error":
                self._log(f"worker: {event.get('message')} {event.get('hint')}")
            return
        values = {name: value for name, value in event.items() if name not in ("event", "id")}
        if kind == "progress":
            request.progress(values)
            return
        if kind not in ("result", "cancelled", "error"):
            self._log(f"unknown event {kind!r}")
            return
        del self._requests[request.id]
        if kind == "result":
            request.succeed(values)
        elif kind == "cancelled":
            request.confirmCancel()
        else:
            detail = str(event.get("detail") or "")
            for line in detail.splitlines():
                self._log(line)
            request.fail(Problem(str(event.get("message", "")), str(event.get("hint", "")), detail))

    def _onEnded(self, exitCode: int, crashed: bool) -> None:
        for line in (self._output.rest(), self._errors.rest()):
            if line:
                self._log(line)
        process, self._process = self._process, None
        wasReady, self._isReady = self._isReady, False
        if process is not None:
            for signal in (process.outputReceived, process.errorReceived, process.ended):
                signal.disconnectAll()
        if self.isDeaf and not self._hears and not self._stopping and not self._triedOtherWay:
            self._triedOtherWay = True
            self._startAgain()
            return
        requests, self._requests = self.openRequests(), {}
        asked = self._stopping or any(request.cancelAsked for request in requests)
        problem = None if asked else self._problemOfEnd(exitCode, crashed, wasReady)
        self._log(f"the worker has ended with code {exitCode}")
        for request in requests:
            if request.cancelAsked or self._stopping:
                request.confirmCancel()
            else:
                request.fail(
                    problem or Problem(_("The computation was stopped together with another."), _("Start it again."))
                )
        self.ended.emit(problem)

    def _startAgain(self) -> None:
        """Start another worker and send it all that is open."""
        for request in self.openRequests():
            if request.cancelAsked:
                del self._requests[request.id]
                request.confirmCancel()
        self.start()
        for request in self.openRequests():
            self._send(request.id, request.command, request.arguments)

    def _problemOfEnd(self, exitCode: int, crashed: bool, wasReady: bool) -> Problem:
        last = "\n".join(list(self.log)[-40:])
        if self.isDeaf and wasReady and not self._hears:
            return Problem(
                _("The worker does not hear its orders: Slicer's launcher does not pass them on."),
                _("Copy the log and report it with your system and version of Slicer."),
                last,
            )
        if not wasReady:
            if exitCode == -1:
                return Problem(
                    _("The worker could not be started."),
                    _("Python packages may be missing: see the top of the panel."),
                    last,
                )
            return Problem(
                _("The worker ended while it was starting (code {code}).").format(code=exitCode),
                _("Packages may be missing or broken: see the top of the panel, and copy the log if it goes on."),
                last,
            )
        # what the system does to a process that takes too much memory looks like this (9, or 137 through a shell)
        if crashed or exitCode in (9, 137, -9):
            return Problem(
                _("The worker was ended from outside, perhaps because memory ran out."),
                _("Try again; if it happens again, make fewer hearts at a time or close other programs."),
                last,
            )
        return Problem(
            _("The worker ended unexpectedly (code {code}).").format(code=exitCode),
            _("Try again; copy the log if it goes on."),
            last,
        )

    def _log(self, line: str) -> None:
        self.log.append(line)
        logging.debug("CardioDiT worker: %s", line)
        self.logged.emit(line)
