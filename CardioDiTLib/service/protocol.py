"""The lines between a worker and whoever started it.

A request is one JSON object a line on stdin::

    {"id": "7", "command": "generate", "arguments": {"request": {"seed": 7}, "folder": "/tmp/x"}}

An event is one line on stdout: the prefix, then a JSON object. Any other line is a log line.

=========== ======================================================================================================
event       entries beside ``event`` and, where it belongs to a request, ``id``
=========== ======================================================================================================
ready       protocol, version, python, pid: the worker takes requests from now on
progress    stage, step, of, fraction (0 to 1), eta_s; optional: text, preview (file), done_bytes, total_bytes
result      what the request asked for; the request has ended
cancelled   the request has ended, nothing was left behind
error       message, hint, kind ("problem" or "unexpected"), detail (for a bug report); the request has ended
log         level, text
=========== ======================================================================================================
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import parse_json

PROTOCOL_VERSION = 1

PREFIX = "CARDIODIT "

_ENTRIES = ("id", "command", "arguments")

_EXAMPLE = 'Send one line such as {"id": "1", "command": "probe"}.'

_LONGEST_LINE = 4_000_000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ServiceRequest:
    """One order to a worker.

    Attributes:
        id: Chosen by the sender, plain enough for a file's name; every event of this request carries it.
        command: Name of a job, or ``cancel`` or ``shutdown``.
        arguments: Plain values.
    """

    id: str
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)


def parse_request(line: str) -> ServiceRequest:
    """Read a line of stdin.

    Raises:
        CardioDiTError: The line is no request.
    """
    if len(line) > _LONGEST_LINE:
        raise CardioDiTError(f"A request of {len(line)} characters is too long.", "Send arrays as files.")
    try:
        values = parse_json(line)
    except ValueError as error:
        raise CardioDiTError(f"This line is not JSON: {_shown(line)}.", _EXAMPLE) from error
    if not isinstance(values, Mapping):
        raise CardioDiTError(f"A request is an object, not {_shown(line)}.", _EXAMPLE)
    unknown = sorted(str(key) for key in values if key not in _ENTRIES)
    if unknown:
        raise CardioDiTError(f"A request has no entry {', '.join(unknown)}.", f"Its entries are {', '.join(_ENTRIES)}.")
    for name in ("id", "command"):
        if not isinstance(values.get(name), str) or not values[name]:
            raise CardioDiTError(f"'{name}' of a request is {values.get(name)!r}, not a text.", _EXAMPLE)
    if not _ID.fullmatch(values["id"]):
        # files of a request are called after it
        raise CardioDiTError(
            f"{_shown(values['id'])} cannot be the id of a request.",
            "Use at most 64 letters, digits, dots, dashes and underscores, a letter or digit first.",
        )
    arguments = values.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise CardioDiTError(f"'arguments' of a request is {arguments!r}, not an object.", _EXAMPLE)
    return ServiceRequest(values["id"], values["command"], dict(arguments))


def format_event(values: Mapping[str, Any]) -> str:
    """One line for stdout, ASCII, with its end; numbers that JSON does not have become null."""
    try:
        text = json.dumps(values, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(values), allow_nan=False)
    return f"{PREFIX}{text}\n"


def parse_event(line: str) -> dict[str, Any] | None:
    """An event of a line of a worker's stdout; None where it is a log line, damaged events included."""
    if not line.startswith(PREFIX):
        return None
    try:
        values = parse_json(line[len(PREFIX) :])
    except ValueError:
        return None
    return values if isinstance(values, dict) and isinstance(values.get("event"), str) else None


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")


class EventWriter:
    """Writes events to a stream.

    Args:
        stream: Where to.
        when_lost: Called once, when nobody reads any more.
    """

    def __init__(self, stream: BinaryIO, when_lost: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._when_lost = when_lost
        self._lock = threading.Lock()
        self._lost = False

    def send(self, event: str, request_id: str | None = None, **values: Any) -> None:
        """Write one event.

        Args:
            event: Its name, see `protocol`.
            request_id: The request that it belongs to.
            **values: Its entries, plain values.
        """
        entries: dict[str, Any] = {"event": event}
        if request_id is not None:
            entries["id"] = request_id
        line = format_event({**entries, **values}).encode("ascii")
        with self._lock:
            if self._lost:
                return
            try:
                self._stream.write(line)
                self._stream.flush()
                return
            except (OSError, ValueError):
                self._lost = True
        if self._when_lost is not None:
            self._when_lost()


def claim_stdout() -> BinaryIO:
    """Take stdout for events alone: whatever else prints there, from Python or from C, goes to stderr from now on."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own
