from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .CompletionRuns import completionRun, variationRun
from .RunControls import RunControls
from .SequenceBuilder import madeFromText
from .Signal import Signal
from .WorkerClient import WorkerClient

COMPLETE, VARY = "complete", "vary"


class CompletionSection:
    """Widgets that fill what was not recorded of the chosen cine, or make hearts like it.

    Args:
        ui: The module's widgets.
        worker: The worker client.
        parameterNode: () -> the module's parameter node, or None.
        settings: () -> bundle, device, seed, pathology, guidance, preset, steps, as chosen in the section Generate.
        modelReason: () -> why that bundle cannot be used, or an empty text.
        later: (milliseconds, callback).

    Attributes:
        made: (browser nodes).
        problemOccurred: (problem).
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        parameterNode: Callable[[], Any],
        settings: Callable[[], dict[str, Any]],
        modelReason: Callable[[], str],
        later: Callable[[int, Callable[[], None]], None],
    ) -> None:
        self.ui, self._worker, self._parameterNode, self._later = ui, worker, parameterNode, later
        self._settings, self._modelReason = settings, modelReason
        self.made = Signal("completed or varied")
        self.problemOccurred = Signal("completion problem")
        self._browser: Any = None
        self._notReady = _("The worker is starting")
        self._filling = False
        ui.completionTaskCombo.addItem(_("fill what was not recorded"), COMPLETE)
        ui.completionTaskCombo.addItem(_("variation of this heart"), VARY)
        ui.completionGridCombo.addItem(_("grid of the model, all its slices"), False)
        ui.completionGridCombo.addItem(_("grid of the cine, nothing else touched"), True)
        self.controls = RunControls(
            ui.completionButton,
            ui.completionBar,
            ui.completionLabel,
            _("Make"),
            _("Let the model of the section Generate make it, with its seed and quality"),
            self._start,
            {"denoise": _("Denoising"), "segment": _("Segmenting")},
        )
        self.controls.onDone = self._onDone
        self.controls.onProblem = self.problemOccurred.emit
        self.controls.onEnded = self.update
        ui.completionTaskCombo.connect("currentIndexChanged(int)", self._onTask)
        for edit in (ui.completionSlicesEdit, ui.completionFramesEdit):
            edit.connect("textChanged(QString)", self.update)
        for combo in (ui.completionGridCombo, ui.bundleCombo):
            combo.connect("currentIndexChanged(int)", self.update)
        self.update()

    def setNotReady(self, reason: str) -> None:
        """Why nothing can be computed now; empty where it can."""
        self._notReady = reason
        self.update()

    def updateFromParameterNode(self) -> None:
        """Show what the parameter node says, where widgets are not bound to it by themselves."""
        node, combo = self._parameterNode(), self.ui.completionTaskCombo
        if node is not None:
            self._filling = True
            combo.setCurrentIndex(max(0, combo.findData(node.completionTask)))
            self._filling = False
            self.update()

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine; a run on another one goes on."""
        self._browser = browser
        if self.controls.run is None:
            self.ui.completionLabel.text = ""
        self.update()

    def update(self, _unused: Any = None) -> None:
        """Show what can be done, and why not."""
        ui, varies = self.ui, self._task() == VARY
        for widget in (ui.completionStrengthTitle, ui.completionStrengthSlider):
            widget.setVisible(varies)
        for widget in (
            *(ui.completionSlicesTitle, ui.completionSlicesEdit, ui.completionFramesTitle, ui.completionFramesEdit),
            *(ui.completionGridTitle, ui.completionGridCombo),
        ):
            widget.setVisible(not varies)
        reason = self._notReady or ("" if self._browser is not None else _("Choose a cine in the section Play"))
        reason = reason or self._modelReason()
        if not reason and not varies and ui.completionGridCombo.currentData and not self._missing():
            reason = _("Say which slices or frames are missing, or choose the grid of the model")
        self.controls.setReason(reason)
        ui.completionOriginLabel.text = madeFromText(self._browser)
        ui.completionOriginLabel.setVisible(bool(ui.completionOriginLabel.text))

    def cancel(self) -> None:
        """Give up a run, if there is one."""
        self.controls.cancel()

    def cleanup(self) -> None:
        """The widgets go, or are gone: a run that is on is given up, and nobody hears of it."""
        self.controls.cleanup()

    def _task(self) -> str:
        return str(self.ui.completionTaskCombo.currentData or COMPLETE)

    def _missing(self) -> str:
        return f"{self.ui.completionSlicesEdit.text}{self.ui.completionFramesEdit.text}".strip()

    def _onTask(self, _index: int) -> None:
        node = self._parameterNode()
        if node is not None and not self._filling:
            node.completionTask = self._task()
        self.update()

    def _start(self, **callbacks: Any) -> Any:
        ui = self.ui
        if self._task() == VARY:
            strength = round(float(ui.completionStrengthSlider.value), 2)
            run = variationRun(
                self._worker, self._later, self._browser, strength=strength, settings=self._settings(), **callbacks
            )
        else:
            run = completionRun(
                self._worker,
                self._later,
                self._browser,
                missingSlices=str(ui.completionSlicesEdit.text).strip(),
                missingFrames=str(ui.completionFramesEdit.text).strip(),
                onSource=bool(ui.completionGridCombo.currentData),
                settings=self._settings(),
                **callbacks,
            )
        return run.start()

    def _onDone(self, result: dict[str, Any]) -> None:
        self.made.emit(result["browsers"])
        self.ui.completionLabel.text = " ".join([_("Done."), *result["warnings"]])
