"""A worker process for tests: send requests, wait for events."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from CardioDiTLib.service.protocol import parse_event

REPOSITORY = Path(__file__).resolve().parents[1]


class WorkerUnderTest:
    """`python -m CardioDiTLib.worker` with a thread that collects its events.

    Args:
        environment: Laid over this process's.
        arguments: Words for the worker.
        patch: Python source that runs in the worker's process before it starts, to plant faults.
    """

    def __init__(self, environment: dict[str, str], *arguments: str, patch: str = "") -> None:
        start = ["-m", "CardioDiTLib.worker"]
        if patch:
            start = ["-c", f"{patch}\nimport sys\nfrom CardioDiTLib.worker import main\nsys.exit(main())"]
        self.process = subprocess.Popen(
            [sys.executable, *start, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, **environment},
        )
        self.events: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stderr: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_stderr, daemon=True).start()
        self._number = 0

    @property
    def stderr(self) -> str:
        return b"".join(self._stderr).decode(errors="replace")

    def send_line(self, line: str | bytes) -> None:
        data = line if isinstance(line, bytes) else line.encode()
        assert self.process.stdin is not None
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def send(self, command: str, **arguments: Any) -> str:
        """Send a request; returns its id."""
        self._number += 1
        number = f"r{self._number}"
        self.send_line(json.dumps({"id": number, "command": command, "arguments": arguments}))
        return number

    def wait(self, *names: str, request: str | None = None, seconds: float = 60) -> dict[str, Any]:
        """The next event of these names (and this request); others on the way are kept in `events`."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {names} within {seconds} s; {self.events[-3:]}; {self.stderr}") from None
            if event is None:
                raise AssertionError(f"the worker ended before {names}; {self.events[-3:]}; {self.stderr}")
            if event["event"] in names and (request is None or event.get("id") == request):
                return event

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its end."""
        return self.wait("result", "error", "cancelled", request=self.send(command, **arguments))

    def end(self) -> int:
        """Close its stdin and wait; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=20)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = parse_event(line.decode("utf-8", errors="replace"))
            if event is None:
                self.other_lines.append(line.decode(errors="replace"))
                continue
            self.events.append(event)
            self._queue.put(event)
        self._queue.put(None)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while data := self.process.stderr.read1():
            self._stderr.append(data)
