from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .WorkerClient import WorkerClient, WorkerRequest


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


class PanelWorker:
    """The application's worker as the panel's sections see it. The worker outlives the panel: what it answers after the
    panel has gone is told to nobody, and only tidied up after (`onEnd` of a request).

    Args:
        worker: The worker client.
        life: Of the panel.
    """

    def __init__(self, worker: WorkerClient, life: PanelLife) -> None:
        self._worker, self._life = worker, life

    def request(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        onEnd: Callable[[], None] | None = None,
        **callbacks: Callable[..., None] | None,
    ) -> WorkerRequest:
        """As `WorkerClient.request`."""
        guarded = {name: self._life.whileAlive(callback) for name, callback in callbacks.items()}
        return self._worker.request(command, arguments, onEnd=onEnd, **guarded)

    def cancel(self, request: WorkerRequest) -> None:
        """As `WorkerClient.cancel`."""
        self._worker.cancel(request)

    def stop(self, wait: bool = False) -> None:
        """As `WorkerClient.stop`."""
        self._worker.stop(wait)
