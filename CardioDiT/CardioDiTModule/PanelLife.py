from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PanelLife:
    """Whether the panel is still there, for everything that calls into it later: widgets may be deleted, by a reload or
    at the end of the application, while the worker computes and timers run.

    Args:
        later: (milliseconds, callback).
    """

    def __init__(self, later: Callable[[int, Callable[[], None]], None]) -> None:
        self._later = later
        self.isOver = False

    def end(self) -> None:
        """The panel goes: nothing that was handed out here calls into it from now on."""
        self.isOver = True

    def whileAlive(self, callback: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """The callback, which does nothing once the panel is gone; None stays None."""
        if callback is None:
            return None

        def call(*arguments: Any) -> Any:
            return None if self.isOver else callback(*arguments)

        return call

    def later(self, milliseconds: int, callback: Callable[[], None]) -> None:
        """Call back after a while, unless the panel is gone by then."""
        guarded = self.whileAlive(callback)
        assert guarded is not None
        self._later(milliseconds, guarded)
