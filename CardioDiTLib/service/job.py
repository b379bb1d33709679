"""What every job gets and how its end is told."""

from __future__ import annotations

import queue
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import sha256_of
from CardioDiTLib.missing_operator import missing_operator
from CardioDiTLib.progress import Pace, Progress
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

    def given(self, *names: str) -> dict[str, Any]:
        """Those arguments that say something: what is absent, null or empty is left to the defaults of a request."""
        return {name: value for name in names if (value := self.request.arguments.get(name)) not in (None, "")}

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


class JobListener:
    """Tells a job's progress; the share never falls, also where a function begins anew.

    Args:
        job: Whose progress it is.
        paced: Stage that takes the time: what is left of it follows from its pace so far.
    """

    def __init__(self, job: Job, paced: str = "") -> None:
        self._job, self._paced = job, paced
        self._pace = Pace()

    def __call__(self, sign: Progress) -> None:
        """A sign of progress."""
        left = self._pace.seconds_left(sign.share)
        self._job.progress(
            sign.stage,
            step=sign.done,
            of=sign.of,
            fraction=self._pace.share,
            eta_s=left if sign.stage == self._paced else sign.seconds_left,
        )


LoadedT = TypeVar("LoadedT")


class Loaded(Generic[LoadedT]):
    """Networks that stay loaded from one request to the next; those of a folder that has changed are loaded anew.

    Args:
        most: How many are kept; those that were not used for longest go first.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, ...], LoadedT] = OrderedDict()

    def get(self, job: Job, manifest: Path, load: Callable[[], LoadedT], *settings: str) -> LoadedT:
        """Networks of a folder, loaded with some settings.

        Args:
            job: Told where something has to be loaded.
            manifest: What describes the folder: where it changes, the networks have.
            load: Loads them.
            settings: What else they depend on, such as the device.
        """
        key = (str(manifest.parent.resolve()), sha256_of(manifest) if manifest.is_file() else "", *settings)
        if key not in self._kept:
            job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)
            while len(self._kept) >= self._most:  # before the next ones need the memory
                self._kept.popitem(last=False)
            self._kept[key] = load()
        self._kept.move_to_end(key)
        return self._kept[key]

    def forget(self, folder: Path) -> None:
        """Let go of the networks of a folder, before it is removed or replaced."""
        for key in [key for key in self._kept if key[0] == str(folder.resolve())]:
            del self._kept[key]
