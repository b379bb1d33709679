"""How far a transfer is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_EVERY_S = 0.1
_WINDOW_S = 5.0


@dataclass(frozen=True)
class TransferProgress:
    """One sign of progress.

    Attributes:
        name: Name of the bundle.
        file: The file at work; empty where there is none.
        done_bytes: Bytes that are there.
        total_bytes: Of how many; None where nobody knows yet.
        bytes_per_s: Bytes that come in a second now; 0 where none do.
        eta_s: Seconds that the rest will take; None where nobody knows.
        fraction: Share that is done, 0 to 1.
        state: "download", "retry" (waiting before another try), "wait" (for another process), "check", "import"
            (copying) or "done".
    """

    name: str
    file: str
    done_bytes: int
    total_bytes: int | None
    bytes_per_s: float
    eta_s: float | None
    fraction: float
    state: str = "download"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


TransferCallback = Callable[[TransferProgress], None]


class TransferMeter:
    """Turns bytes into signs of progress, not more than ten a second.

    Args:
        name: Name of the bundle.
        total_bytes: Bytes of all files; None where nobody knows yet.
        callback: Who is told; None for nobody.
        now: The clock, seconds.
    """

    def __init__(
        self,
        name: str,
        total_bytes: int | None,
        callback: TransferCallback | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.total_bytes = total_bytes
        self._callback = callback
        self._now = now
        self._before = 0
        self._at = 0
        self._file = ""
        self._came = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._last = -_EVERY_S

    def begin(self, file: str) -> None:
        """A file is begun; what the one before brought counts."""
        self._before += self._at
        self._at = 0
        self._file = file

    def at(self, position: int, state: str = "download", came: int = 0) -> None:
        """The file is there up to a position.

        Args:
            position: Its bytes that are there.
            state: As in :class:`TransferProgress`.
            came: How many of them are new, for the speed.
        """
        self._at = position
        moment = self._now()
        self._came += came
        if came:
            self._seen.append((moment, self._came))
        while len(self._seen) > 2 and moment - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        if moment - self._last >= _EVERY_S:
            self._tell(state)

    def tell(self, state: str) -> None:
        """Give a sign now."""
        self._tell(state)

    def waiting(self, done_bytes: int) -> None:
        """Another process is at work; it has got so far."""
        self._before, self._at, self._file = done_bytes, 0, ""
        if self._now() - self._last >= _EVERY_S:
            self._tell("wait")

    def restart(self) -> None:
        """Count from the beginning again, as after waiting."""
        self._before, self._at, self._file = 0, 0, ""

    def _tell(self, state: str) -> None:
        self._last = self._now()
        if self._callback is None:
            return
        done, total = self._before + self._at, self.total_bytes
        speed = self._speed() if state in ("download", "import") else 0.0
        left = None if total is None else max(0, total - done)
        fraction = 0.0 if total is None else 1.0 if left == 0 else min(1.0, done / max(1, total))
        eta_s = None if left is None else 0.0 if left == 0 else left / speed if speed > 0 else None
        self._callback(TransferProgress(self.name, self._file, done, total, speed, eta_s, fraction, state))

    def _speed(self) -> float:
        if len(self._seen) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / max(last_s - first_s, 1e-3)
