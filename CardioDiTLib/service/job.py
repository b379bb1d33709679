"""What every job gets and how its end is told."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.missing_operator import missing_operator
from CardioDiTLib.service.protocol import EventWriter, ServiceRequest


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


@dataclass
class Job:
    """A request on its way.

    Attributes:
        request: The request.
        writer: Where events go.
        cancel: Set once somebody asks to stop.
    """

    request: ServiceRequest
    writer: EventWriter
    cancel: threading.Event = field(default_factory=threading.Event)

    def progress(self, stage: str, **values: Any) -> None:
        """Tell how far it is."""
        self.writer.send("progress", self.request.id, stage=stage, **values)

    def argument(self, name: str, kind: type, default: Any = ...) -> Any:
        """An argument of the request.

        Raises:
            CardioDiTError: It is missing or of another type.
        """
        value = self.request.arguments.get(name, default)
        if value is ...:
            raise CardioDiTError(f"The request '{self.request.command}' lacks '{name}'.", "Send it with the request.")
        if value is default:
            return value
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise CardioDiTError(
                f"'{name}' of the request '{self.request.command}' is {value!r}, not a {kind.__name__}.",
                "Correct the request.",
            )
        return value

    def check_arguments(self, *known: str) -> None:
        """Refuse arguments that nobody would look at.

        Raises:
            CardioDiTError: Naming the unknown ones.
        """
        unknown = sorted(set(self.request.arguments) - set(known))
        if unknown:
            raise CardioDiTError(
                f"The request '{self.request.command}' takes no '{', '.join(unknown)}'.",
                f"It takes {', '.join(known) or 'nothing'}.",
            )


Handler = Callable[[Job], dict[str, Any]]


def run_job(job: Job, handler: Handler) -> None:
    """Do a job and tell its end; nothing that goes wrong in it gets past here."""
    send, request = job.writer.send, job.request
    try:
        if job.cancel.is_set():
            raise Cancelled()
        values = handler(job)
    except Cancelled:
        send("cancelled", request.id)
    except CardioDiTError as error:
        detail = "" if error.__cause__ is None else _detail(error)
        send("error", request.id, message=error.message, hint=error.hint, kind="problem", detail=detail)
    except MemoryError as error:
        send(
            "error",
            request.id,
            message="The memory is not enough.",
            hint="Close other programs, or ask for less at a time.",
            kind="problem",
            detail=_detail(error),
        )
    except Exception as error:
        known = missing_operator(error)
        if known is not None:
            send("error", request.id, message=known.message, hint=known.hint, kind="problem", detail=_detail(error))
            return
        reason = " ".join(str(error).split())[:300]
        send(
            "error",
            request.id,
            message=f"An unexpected problem came up ({type(error).__name__}: {reason}).",
            hint="Copy the log and report it.",
            kind="unexpected",
            detail=_detail(error),
        )
    else:
        send("result", request.id, **values)


def _detail(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class MeasurementProgress:
    """Tells a job's progress for functions that call back with (done, of), such as `segment`.

    The share never falls, also where a function begins anew, and the time that is left follows from the pace so far.

    Args:
        job: Whose progress it is.
        stage: Name of the stage.
    """

    def __init__(self, job: Job, stage: str) -> None:
        self._job, self._stage = job, stage
        self._began = time.perf_counter()
        self._share = 0.0

    def __call__(self, done: int, of: int) -> None:
        """Frames done, frames in all."""
        share = done / of if of else 1.0
        elapsed = time.perf_counter() - self._began
        left = elapsed * (1.0 - share) / share if share > 0 else None
        self._share = max(self._share, share)
        self._job.progress(self._stage, step=done, of=of, fraction=self._share, eta_s=left)


_EMBEDDING = "embedding"


class AuditProgress:
    """Tells a job's progress from what `audit_memorization` calls back with. Embedding takes the time: the share is
    that of the cines that are embedded.

    Args:
        job: Whose progress it is.
        expected: How many cines are to be embedded.
    """

    def __init__(self, job: Job, expected: int) -> None:
        self._job, self._expected = job, expected
        self._before, self._stage, self._done = 0, "", 0
        self._began = time.perf_counter()
        self._share = 0.0
        job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)

    def expect(self, more: int) -> None:
        """So many cines more are to be embedded."""
        self._expected += more

    def tell(self, what: str, done: int, of: int) -> None:
        """What is at work, and how many of how many are done."""
        if not what.startswith(_EMBEDDING):
            self._job.progress("compare", step=0, of=1, fraction=self._share, eta_s=None)
            return
        if what != self._stage or done <= self._done:
            self._before, self._stage = self._before + self._done, what
        self._done = done
        total = max(self._expected, self._before + of)
        share = (self._before + done) / total
        self._share = max(self._share, share)
        elapsed = time.perf_counter() - self._began
        self._job.progress(
            "embed",
            step=self._before + done,
            of=total,
            fraction=self._share,
            eta_s=elapsed * (1.0 - share) / share if share > 0 else None,
        )

    def finish(self) -> None:
        """All is done."""
        self._job.progress("compare", step=1, of=1, fraction=1.0, eta_s=0.0)
