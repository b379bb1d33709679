from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .Problem import Problem


@dataclass
class WorkerRequest:
    """An order to the worker that is under way. Exactly one of onResult, onProblem and onCancelled is called, once.

    Attributes:
        id: Its number.
        command, arguments: What was asked for.
        onProgress: (event: dict), any number of times.
        onResult: (values: dict).
        onProblem: (problem).
        onCancelled: ().
        onEnd: (), after one of these three, however it ended and whoever listens: to tidy up.
        ended: True from the moment one of the three is called.
        cancelAsked: True once it was cancelled, until it has ended.
    """

    id: str
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    onProgress: Callable[[dict[str, Any]], None] | None = None
    onResult: Callable[[dict[str, Any]], None] | None = None
    onProblem: Callable[[Problem], None] | None = None
    onCancelled: Callable[[], None] | None = None
    onEnd: Callable[[], None] | None = None
    ended: bool = False
    cancelAsked: bool = False

    def progress(self, values: dict[str, Any]) -> None:
        """Tell how far it is."""
        if not self.ended and self.onProgress is not None:
            self.onProgress(values)

    def succeed(self, values: dict[str, Any]) -> None:
        """End well."""
        self._end(self.onResult, values)

    def fail(self, problem: Problem) -> None:
        """End with a problem."""
        self._end(self.onProblem, problem)

    def confirmCancel(self) -> None:
        """End as the user asked."""
        self._end(self.onCancelled)

    def _end(self, callback: Callable[..., None] | None, *values: Any) -> None:
        if self.ended:
            return
        self.ended = True
        try:
            if callback is not None:
                callback(*values)
        finally:
            if self.onEnd is not None:
                self.onEnd()
