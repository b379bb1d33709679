from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

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
