"""A real web server on this machine that serves a folder, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_PIECE = 4096


@dataclass
class Served:
    """A request and what was sent for it.

    Attributes:
        path: Path without query.
        wanted_range: The header Range; empty where there was none.
        if_range: The header If-Range; empty where there was none.
        query: The query.
        status: Number of the answer.
        body_bytes: Bytes of the body that went out.
        headers: All headers of the request.
    """

    path: str
    wanted_range: str
    if_range: str
    query: str = ""
    status: int = 0
    body_bytes: int = 0
    headers: dict[str, str] = field(default_factory=dict)


Fault = Callable[["_Handler", bytes], None]


def status(number: int, **headers: str) -> Fault:
    """Answer with a status; ``Retry_After="1"`` becomes a header."""

    def answer(handler: _Handler, content: bytes) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.head(number, {"Content-Length": "5", **named})
        handler.body(b"sorry")

    return answer


def redirect(address: str) -> Fault:
    """Send the client elsewhere."""
    return status(302, Location=address)


def cut(after: int, reset: bool = False) -> Fault:
    """Send the right head, but only some bytes of the body; then close the connection, or reset it."""

    def answer(handler: _Handler, content: bytes) -> None:
        first = handler.ranged_head(content)
        handler.body(content[first : first + after])
        if reset:
            handler.wfile.flush()
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

    return answer


def length(claimed: int) -> Fault:
    """Say another length than the body has, then send all of it."""

    def answer(handler: _Handler, content: bytes) -> None:
        handler.head(200, {"Content-Length": str(claimed), "ETag": handler.etag(content)})
        handler.body(content)

    return answer


def no_length(extra: bytes = b"", chop: int = 0) -> Fault:
    """Say no length; the end of the connection is the end of the body."""

    def answer(handler: _Handler, content: bytes) -> None:
        handler.head(200, {"ETag": handler.etag(content)})
        handler.body(content[: len(content) - chop] + extra)

    return answer


def chunked(extra: bytes = b"") -> Fault:
    """Send the body in chunks of unsaid number."""

    def answer(handler: _Handler, content: bytes) -> None:
        handler.head(200, {"Transfer-Encoding": "chunked", "ETag": handler.etag(content)})
        whole = content + extra
        for start in range(0, len(whole), _PIECE):
            piece = whole[start : start + _PIECE]
            handler.body(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.body(b"0\r\n\r\n")

    return answer


def silent(after: int | None, seconds: float = 30.0) -> Fault:
    """Fall silent: before the head (None), or after some bytes of the body."""

    def answer(handler: _Handler, content: bytes) -> None:
        if after is not None:
            first = handler.ranged_head(content)
            handler.body(content[first : first + after])
        handler.server.closing.wait(seconds)

    return answer


def slow(bytes_per_s: float) -> Fault:
    """Send slowly."""

    def answer(handler: _Handler, content: bytes) -> None:
        first = handler.ranged_head(content)
        for start in range(first, len(content), _PIECE):
            handler.body(content[start : start + _PIECE])
            if handler.server.closing.wait(_PIECE / bytes_per_s):
                return

    return answer


def gated(gate: threading.Event) -> Fault:
    """Send half of the body, and the rest once the gate is open."""

    def answer(handler: _Handler, content: bytes) -> None:
        first = handler.ranged_head(content)
        middle = (first + len(content)) // 2
        handler.body(content[first:middle])
        gate.wait(60)
        handler.body(content[middle:])

    return answer


def ignoring_range() -> Fault:
    """Send everything, whatever part was asked for."""

    def answer(handler: _Handler, content: bytes) -> None:
        handler.head(200, {"Content-Length": str(len(content)), "ETag": handler.etag(content)})
        handler.body(content)

    return answer


def wrong_range(shift: int) -> Fault:
    """Answer a wish for a part with another part."""

    def answer(handler: _Handler, content: bytes) -> None:
        first = max(0, handler.first(content) + shift)
        head = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}", "ETag": handler.etag(content)}
        handler.head(206, {"Content-Length": str(len(content) - first), **head})
        handler.body(content[first:])

    return answer


def other_content(content: bytes, etag: str | None = None, then: Fault | None = None) -> Fault:
    """Serve something else, under its own mark or a given one."""

    def answer(handler: _Handler, _: bytes) -> None:
        handler.forced_etag = etag
        (then or _Handler.answer)(handler, content)

    return answer


def without_etag(then: Fault | None = None) -> Fault:
    """Send no mark by which a changed file could be told."""

    def answer(handler: _Handler, content: bytes) -> None:
        handler.forced_etag = ""
        (then or _Handler.answer)(handler, content)

    return answer


class MisbehavingServer(ThreadingHTTPServer):
    """Serves a folder from 127.0.0.1 while it is entered.

    Args:
        folder: The folder.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.served: list[Served] = []
        self.closing = threading.Event()
        self._faults: dict[str, list[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> MisbehavingServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def url(self, path: str = "") -> str:
        """Address of a path."""
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def misbehave(self, path: str, *faults: Fault) -> None:
        """The next requests for a path meet these faults, one each; those after them are served well."""
        self._faults.setdefault(f"/{path}", []).extend(faults)

    def always(self, path: str, fault: Fault | None) -> None:
        """Every request for a path meets this fault; None ends that."""
        if fault is None:
            self._always.pop(f"/{path}", None)
        else:
            self._always[f"/{path}"] = fault

    def requests(self, path: str) -> list[Served]:
        """What was asked for a path."""
        return [served for served in self.served if served.path == f"/{path}"]

    def sent_bytes(self, path: str) -> int:
        """Bytes of bodies that went out for a path, all requests together."""
        return sum(served.body_bytes for served in self.requests(path))

    def fault_for(self, path: str) -> Fault | None:
        """The fault that the next request meets."""
        with self._guard:
            waiting = self._faults.get(path)
            return waiting.pop(0) if waiting else self._always.get(path)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MisbehavingServer
    forced_etag: str | None = None

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.seen = Served(
            path,
            self.headers.get("Range", ""),
            self.headers.get("If-Range", ""),
            parts.query,
            headers=dict(self.headers),
        )
        self.server.served.append(self.seen)
        self.close_connection = True
        self.forced_etag = None
        place = self.server.folder / path.lstrip("/")
        content = place.read_bytes() if place.is_file() else None
        fault = self.server.fault_for(path)
        with suppress(BrokenPipeError, ConnectionResetError):
            if fault is not None:
                fault(self, content or b"")
            elif content is None:
                status(404)(self, b"")
            else:
                self.answer(content)

    def answer(self, content: bytes) -> None:
        """Behave well."""
        first = self.ranged_head(content)
        self.body(content[first:])

    def first(self, content: bytes) -> int:
        """The byte from which on is asked for, 0 for all."""
        wanted = self.seen.wanted_range
        if not wanted or self.seen.if_range not in ("", self.etag(content)):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def ranged_head(self, content: bytes) -> int:
        """Send the head of a good answer; the first byte of its body."""
        first = self.first(content)
        if first > len(content) or (first and first == len(content)):
            self.head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"})
            return len(content)
        headers = {"Content-Length": str(len(content) - first), "Accept-Ranges": "bytes"}
        if mark := self.etag(content):
            headers["ETag"] = mark
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.head(206 if first else 200, headers)
        return first

    def etag(self, content: bytes) -> str:
        """Mark of a content."""
        return f'"{hashlib.md5(content).hexdigest()}"' if self.forced_etag is None else self.forced_etag

    def head(self, number: int, headers: dict[str, str]) -> None:
        """Send the head of an answer."""
        self.seen.status = number
        self.send_response(number)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def body(self, content: bytes) -> None:
        """Send bytes, and count those that went out."""
        for start in range(0, len(content), _PIECE):
            piece = content[start : start + _PIECE]
            self.wfile.write(piece)
            self.seen.body_bytes += len(piece)

    def log_message(self, *_: Any) -> None:
        """Keep the output of tests clean."""


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to happen in another thread or process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
