from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .PanelLife import PanelLife
from .WorkerClient import WorkerClient
from .WorkerRequest import WorkerRequest


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
