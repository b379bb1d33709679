from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .Problem import Problem


class RunControls:
    """A button that starts a run and then is its Cancel, a bar, and a line of text.

    Args:
        button, bar, label: The widgets.
        startText: What the button says.
        toolTip: What the button does.
        start: (callbacks of `WorkerRun`) -> the run, started; None where it cannot be.
        stages: Stage of the progress -> what is said about it.

    Attributes:
        cancelToolTip: What Cancel does.
        describe: (event) -> what is said while it runs.
        run: The run that is on; None for none.
        onProgress: (event).
        onDone: (result).
        onProblem: (problem).
        onChanged: () when a run has begun or ended.
    """

    def __init__(
        self,
        button: Any,
        bar: Any,
        label: Any,
        startText: str,
        toolTip: str,
        start: Callable[..., Any],
        stages: dict[str, str],
    ) -> None:
        self._button, self._bar, self._label = button, bar, label
        self._startText, self._toolTip, self._start = startText, toolTip, start
        own = {"send": _("Reading the scene"), "wait": _("Waiting for the worker"), "build": _("Into the scene")}
        self._stages = {**own, "load": _("Loading"), **stages}
        self.cancelToolTip = _("Stop; the scene stays as it is")
        self.describe: Callable[[dict[str, Any]], str] = self._describe
        self._reason = ""
        self._cancelling = False
        self.run: Any = None
        self.onProgress: Callable[[dict[str, Any]], None] | None = None
        self.onDone: Callable[[Any], None] | None = None
        self.onProblem: Callable[[Problem], None] | None = None
        self.onChanged: Callable[[], None] | None = None
        button.connect("clicked(bool)", self._onClicked)
        self.update()

    def setReason(self, reason: str) -> None:
        """Why it cannot be started now; empty where it can."""
        self._reason = reason
        self.update()

    def start(self, **arguments: Any) -> None:
        """Start a run, if none is on."""
        if self.run is not None:
            return
        callbacks = {
            "onProgress": self._onProgress,
            "onDone": self._finish,
            "onProblem": self._fail,
            "onCancelled": self._cancelled,
        }
        self._cancelling = False
        self.run = self._start(**arguments, **callbacks)
        self._tellChanged()

    def cancel(self) -> None:
        """Give the run up, if there is one."""
        if self.run is not None:
            self._cancelling = True
            self._label.text = _("Cancelling ...")
            self.run.cancel()
            self.update()

    def clearText(self) -> None:
        """Say nothing any more, but for a run that is on."""
        if self.run is None:
            self._label.text = ""

    def cleanup(self) -> None:
        """The widgets go, or are gone: a run that is on is given up, and nobody hears of it."""
        run, self.run = self.run, None
        self.onProgress = self.onDone = self.onProblem = self.onChanged = None
        if run is not None:
            run.abandon()

    def update(self) -> None:
        """Start or Cancel, enabled or not, and why not."""
        running = self.run is not None
        self._bar.setVisible(running)
        if running:
            self._button.text, self._button.enabled = _("Cancel"), not self._cancelling
            self._button.toolTip = self.cancelToolTip
            return
        self._bar.value = 0
        self._button.text, self._button.enabled = self._startText, not self._reason
        self._button.toolTip = self._reason or self._toolTip

    def _onClicked(self, _checked: bool = False) -> None:
        if self.run is not None:
            self.cancel()
        else:
            self.start()

    def _onProgress(self, event: dict[str, Any]) -> None:
        self._bar.value = round(100 * float(event.get("fraction") or 0.0))
        if not self._cancelling:
            self._label.text = self.describe(event)
        if self.onProgress is not None:
            self.onProgress(event)

    def _describe(self, event: dict[str, Any]) -> str:
        text = self._stages.get(event["stage"], event["stage"])
        if int(event.get("of") or 1) > 1:
            text += _(": {step} of {of}").format(step=event["step"], of=event["of"])
        if event.get("eta_s") is not None and event["eta_s"] >= 1:
            text += _(", {seconds:.0f} s left").format(seconds=event["eta_s"])
        return text

    def _finish(self, result: Any) -> None:
        self._end("")
        if self.onDone is not None:
            self.onDone(result)

    def _fail(self, problem: Problem) -> None:
        self._end("")
        if self.onProblem is not None:
            self.onProblem(problem)

    def _cancelled(self) -> None:
        self._end(_("Cancelled."))

    def _end(self, text: str) -> None:
        self.run = None
        self._cancelling = False
        self._label.text = text
        self._tellChanged()

    def _tellChanged(self) -> None:
        self.update()
        if self.onChanged is not None:
            self.onChanged()
