from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .CompletionRuns import completionRun, variationRun
from .Section import Section
from .SequenceBuilder import madeFromText
from .Signal import Signal
from .WorkerClient import WorkerClient
from .WorkerRun import Later

COMPLETE, VARY = "complete", "vary"


class CompletionSection(Section):
    """Widgets that fill what was not recorded of the chosen cine, or make hearts like it.

    Args:
        ui, worker, parameterNode, later: As `Section`.
        settings: () -> bundle, device, seed, pathology, guidance, preset, steps and quantities that are asked for, as
            chosen in the section Generate.
        modelReason: () -> why that bundle cannot be used, or an empty text.

    Attributes:
        made: (browser nodes).
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        parameterNode: Callable[[], Any],
        settings: Callable[[], dict[str, Any]],
        modelReason: Callable[[], str],
        later: Later,
    ) -> None:
        super().__init__(ui, worker, parameterNode, later)
        self._settings, self._modelReason = settings, modelReason
        self.made = Signal("completed or varied")
        ui.completionTaskCombo.addItem(_("fill what was not recorded"), COMPLETE)
        ui.completionTaskCombo.addItem(_("variation of this heart"), VARY)
        ui.completionGridCombo.addItem(_("grid of the model, all its slices"), False)
        ui.completionGridCombo.addItem(_("grid of the cine, nothing else touched"), True)
        self.controls = self.makeControls(
            (ui.completionButton, ui.completionBar, ui.completionLabel),
            _("Make"),
            _("Let the model of the section Generate make it, with its seed and quality"),
            self._start,
            {"denoise": _("Denoising"), "segment": _("Segmenting")},
            self._onDone,
        )
        self.bindCombo(ui.completionTaskCombo, "completionTask")
        for edit in (ui.completionSlicesEdit, ui.completionFramesEdit):
            edit.connect("textChanged(QString)", self.update)
        for combo in (ui.completionGridCombo, ui.bundleCombo):
            combo.connect("currentIndexChanged(int)", self.update)
        self.update()

    def update(self, _unused: Any = None) -> None:
        ui, varies = self.ui, self._task() == VARY
        for widget in (ui.completionStrengthTitle, ui.completionStrengthSlider):
            widget.setVisible(varies)
        for widget in (
            *(ui.completionSlicesTitle, ui.completionSlicesEdit, ui.completionFramesTitle, ui.completionFramesEdit),
            *(ui.completionGridTitle, ui.completionGridCombo),
        ):
            widget.setVisible(not varies)
        reason = self.lacksCine()
        reason = reason or self._modelReason()
        if not reason and not varies and ui.completionGridCombo.currentData and not self._missing():
            reason = _("Say which slices or frames are missing, or choose the grid of the model")
        self.controls.setReason(reason)
        ui.completionOriginLabel.text = madeFromText(self._browser)
        ui.completionOriginLabel.setVisible(bool(ui.completionOriginLabel.text))

    def _task(self) -> str:
        return str(self.ui.completionTaskCombo.currentData or COMPLETE)

    def _missing(self) -> str:
        return f"{self.ui.completionSlicesEdit.text}{self.ui.completionFramesEdit.text}".strip()

    def _start(self, **callbacks: Any) -> Any:
        ui, settings = self.ui, self._settings()
        if self._task() == VARY:
            strength = round(float(ui.completionStrengthSlider.value), 2)
            return self.startRun(variationRun, self._browser, strength=strength, settings=settings, **callbacks)
        return self.startRun(
            completionRun,
            self._browser,
            missingSlices=str(ui.completionSlicesEdit.text).strip(),
            missingFrames=str(ui.completionFramesEdit.text).strip(),
            onSource=bool(ui.completionGridCombo.currentData),
            settings=settings,
            **callbacks,
        )

    def _onDone(self, result: dict[str, Any]) -> None:
        self.made.emit(result["browsers"])
        self.ui.completionLabel.text = " ".join([_("Done."), *result["warnings"]])
