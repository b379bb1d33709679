"""What every job gets and how its end is told."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.missing_operator import missing_operator
from CardioDiTLib.service.event_writer import EventWriter
from CardioDiTLib.service.protocol import ServiceRequest


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
