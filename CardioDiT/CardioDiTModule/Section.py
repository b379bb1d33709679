from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from .RunControls import RunControls
from .Signal import Signal
from .WorkerClient import WorkerClient
from .WorkerRun import Later


class Section(ABC):
    """A part of the panel that lets the worker compute something, mostly about the cine that is chosen.

    Args:
        ui: The module's widgets.
        worker: The worker client.
        parameterNode: () -> the module's parameter node, or None.
        later: (milliseconds, callback).

    Attributes:
        problemOccurred: (problem).
        beside: The run that is on and has no controls of its own; None for none.
    """

    def __init__(self, ui: Any, worker: WorkerClient, parameterNode: Callable[[], Any], later: Later) -> None:
        self.ui, self._worker, self._parameterNode, self._later = ui, worker, parameterNode, later
        self.problemOccurred = Signal(f"problem of {type(self).__name__}")
        self.beside: Any = None
        self._browser: Any = None
        self._notReady = _("The worker is starting")
        self._filling = False
        self._allControls: list[RunControls] = []
        self._combos: dict[str, Any] = {}

    @abstractmethod
    def update(self, _unused: Any = None) -> None:
        """Show what is there and what can be done, and why the rest cannot."""

    def setNotReady(self, reason: str) -> None:
        """Why nothing can be computed now; empty where it can."""
        self._notReady = reason
        self.update()

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine; a run on another one goes on."""
        self._browser = browser
        for controls in self._allControls:
            controls.clearText()
        self.update()

    def updateFromParameterNode(self) -> None:
        """Show what the parameter node says, where widgets are not bound to it by themselves."""
        node = self._parameterNode()
        if node is not None:
            with self.filling():
                for name, combo in self._combos.items():
                    combo.setCurrentIndex(max(0, combo.findData(getattr(node, name))))
            self.update()

    def cancel(self) -> None:
        """Give up what is under way."""
        for controls in self._allControls:
            controls.cancel()
        if self.beside is not None:
            self.beside.cancel()

    def cleanup(self) -> None:
        """The widgets go, or are gone: what is under way is given up, and nobody hears of it."""
        for controls in self._allControls:
            controls.cleanup()
        if self.beside is not None:
            self.beside.abandon()
            self.beside = None

    # -- what derived classes call

    def makeControls(
        self,
        widgets: tuple[Any, Any, Any],
        startText: str,
        toolTip: str,
        start: Callable[..., Any],
        stages: dict[str, str],
        onDone: Callable[[Any], None],
    ) -> RunControls:
        """Controls of a run; arguments as for `RunControls`, of which ``widgets`` are button, bar and label."""
        controls = RunControls(*widgets, startText, toolTip, start, stages)
        controls.onDone, controls.onProblem, controls.onChanged = onDone, self.problemOccurred.emit, self.update
        self._allControls.append(controls)
        return controls

    def startRun(self, makeRun: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Start a run of those that the modules ``...Runs`` make; returns it."""
        return makeRun(self._worker, self._later, *arguments, **options).start()

    def startBeside(
        self, makeRun: Callable[..., Any], *arguments: Any, onDone: Callable[[Any], None], onEnd: Callable[[], None]
    ) -> None:
        """Start a run that has no controls of its own, if none such is on.

        Args:
            makeRun, *arguments: As for `startRun`.
            onDone: (result), after `onEnd`.
            onEnd: () however it ended.
        """

        def end(then: Callable[..., None] | None = None, *values: Any) -> None:
            self.beside = None
            onEnd()
            if then is not None:
                then(*values)

        if self.beside is None:
            self.beside = self.startRun(
                makeRun,
                *arguments,
                onDone=partial(end, onDone),
                onProblem=partial(end, self.problemOccurred.emit),
                onCancelled=end,
            )

    def lacksCine(self) -> str:
        """Why nothing can be done with the chosen cine now; empty where there is one and the worker is ready."""
        return self._notReady or ("" if self._browser is not None else str(_("Choose a cine in the section Play")))

    def device(self) -> str:
        """Where to compute, as chosen in the section Generate."""
        node = self._parameterNode()
        return "auto" if node is None else str(node.device)

    def bindCombo(self, combo: Any, name: str) -> None:
        """Keep the data of a combo box that was filled by code in an entry of the parameter node."""
        self._combos[name] = combo
        combo.connect("currentIndexChanged(int)", partial(self._onCombo, name))

    def _onCombo(self, name: str, _index: int) -> None:
        node = self._parameterNode()
        if node is not None and not self._filling:
            setattr(node, name, str(self._combos[name].currentData or ""))
        self.update()

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While widgets are filled by the program, what they tell is not the user's doing."""
        before, self._filling = self._filling, True
        try:
            yield
        finally:
            self._filling = before
