"""Events out, one whole line at a time, whatever thread they come from."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from CardioDiTLib.service.protocol import format_event


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
