from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .CineReader import cineBrowsers
from .ExportSection import FOLDER_SETTING, fileName
from .LandmarkSequence import LandmarkSequence
from .MeasurementRuns import landmarkExportRun, landmarkRun
from .Problem import CardioDiTProblem, Problem
from .RunControls import RunControls
from .Signal import Signal
from .Steps import runAtOnce
from .WorkerClient import WorkerClient


class LandmarksSection:
    """Widgets that find the insertion points of the chosen cine, show them, and write them as a file.

    Args:
        ui: The module's widgets.
        worker: The worker client.
        parameterNode: () -> the module's parameter node, or None.
        later: (milliseconds, callback).

    Attributes:
        problemOccurred: (problem).
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        parameterNode: Callable[[], Any],
        later: Callable[[int, Callable[[], None]], None],
    ) -> None:
        self.ui, self._worker, self._parameterNode, self._later = ui, worker, parameterNode, later
        self.problemOccurred = Signal("landmarks problem")
        self._browser: Any = None
        self._notReady = _("The worker is starting")
        self.controls = RunControls(
            ui.landmarksButton,
            ui.landmarksBar,
            ui.landmarksLabel,
            _("Detect"),
            _("Find the right-ventricular insertion points in every frame and slice"),
            self._startDetection,
            {"landmarks": _("Finding the points"), "segment": _("Segmenting"), "track": _("Following the points")},
        )
        self.controls.onDone = self._onDetected
        self.controls.onProblem = self.problemOccurred.emit
        self.controls.onEnded = self.update
        self._export: Any = None
        ui.landmarksShowCheck.connect("toggled(bool)", self._onShow)
        ui.landmarksExportButton.connect("clicked(bool)", self._onExport)
        ui.landmarksCarryButton.connect("clicked(bool)", self._onCarry)
        self.update()

    @property
    def landmarks(self) -> LandmarkSequence:
        """The landmarks of the chosen cine."""
        return LandmarkSequence(self._browser)

    def setNotReady(self, reason: str) -> None:
        """Why nothing can be computed now; empty where it can."""
        self._notReady = reason
        self.update()

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine; a run on another one goes on."""
        self._browser = browser
        if self.controls.run is None:
            self.ui.landmarksLabel.text = ""
        self.update()

    def update(self) -> None:
        """Show what is there and what can be done."""
        chosen = self._browser is not None
        self.controls.setReason(self._notReady or ("" if chosen else _("Choose a cine in the section Play")))
        proxy = self.landmarks.proxy
        self.ui.landmarksExportButton.enabled = proxy is not None
        self.ui.landmarksExportButton.toolTip = (
            _("Write the points as a table (.csv) or as .json") if proxy is not None else _("Detect landmarks first")
        )
        for widget in (self.ui.landmarksShowCheck, self.ui.landmarksCarryButton, self.ui.landmarksCarrySpin):
            widget.enabled = proxy is not None
        if proxy is not None:
            self.ui.landmarksShowCheck.checked = bool(proxy.GetDisplayVisibility())

    def cancel(self) -> None:
        """Give up a run, if there is one."""
        self.controls.cancel()
        if self._export is not None:
            self._export.cancel()

    def cleanup(self) -> None:
        """The widgets go, or are gone: what is under way is given up, and nobody hears of it."""
        self.controls.cleanup()
        if self._export is not None:
            self._export.abandon()
            self._export = None

    def describe(self) -> str:
        """How many points there are, and how many were changed by hand."""
        landmarks = self.landmarks
        proxy = landmarks.proxy
        if proxy is None:
            return ""
        count = landmarks.countFound()
        text = _("{found} of {all} points found.").format(found=count[0], all=count[1])
        moved = len(runAtOnce(landmarks.editedSteps()))
        return text + (" " + _("{count} changed by hand.").format(count=moved) if moved else "")

    def save(self, path: str) -> None:
        """Write the points to a file."""
        if self._export is not None:
            return
        self.ui.landmarksLabel.text = _("Writing ...")
        self._export = landmarkExportRun(
            self._worker,
            self._later,
            self._browser,
            path,
            onDone=lambda written: self._endExport(_("Written: {path}").format(path=written)),
            onProblem=self._onExportProblem,
            onCancelled=lambda: self._endExport(_("Cancelled.")),
        )
        self._export.start()

    def _startDetection(self, **callbacks: Any) -> Any:
        node = self._parameterNode()
        device = "auto" if node is None else node.device
        run = landmarkRun(
            self._worker,
            self._later,
            self._browser,
            device=device,
            swap=bool(self.ui.landmarksSwapCheck.checked),
            mayReplace=self._mayReplace,
            **callbacks,
        )
        return run.start()

    @staticmethod
    def _mayReplace(count: int) -> bool:
        text = _("{count} landmarks were changed by hand. Detecting anew replaces all of them. Go on?")
        return bool(slicer.util.confirmOkCancelDisplay(text.format(count=count), _("Landmarks")))

    def _onDetected(self, sequence: Any) -> None:
        # points are corrected next, and a cine that plays takes no corrections
        for browser in cineBrowsers():
            if browser.GetProxyNode(sequence) is not None:
                browser.SetPlaybackActive(False)
        self.ui.landmarksLabel.text = self.describe()

    def _onShow(self, on: bool) -> None:
        proxy = self.landmarks.proxy
        if proxy is not None:
            proxy.SetDisplayVisibility(on)

    def _onCarry(self, _checked: bool = False) -> None:
        """Take what was corrected in the frame that is shown over to its neighbours."""
        browser = self._browser
        browser.SetPlaybackActive(False)
        try:
            changed, here = self.landmarks.carry(browser.GetSelectedItemNumber(), int(self.ui.landmarksCarrySpin.value))
        except CardioDiTProblem as error:
            self.problemOccurred.emit(error.problem)
            return
        if not here:
            self.ui.landmarksLabel.text = _("No point was changed by hand in this frame.")
        else:
            self.ui.landmarksLabel.text = _("{changed} points in neighbouring frames were moved along.").format(
                changed=changed
            )

    def _onExport(self, _checked: bool = False) -> None:
        settings = qt.QSettings()
        folder = str(settings.value(FOLDER_SETTING) or "")
        proposed = str(Path(folder) / f"{fileName(self._browser)}_landmarks.csv")
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export landmarks"), proposed, _("Table (*.csv);;JSON (*.json)")
        )
        if not path:
            return
        settings.setValue(FOLDER_SETTING, str(Path(path).parent))
        self.save(path if path.lower().endswith((".csv", ".json")) else path + ".csv")

    def _onExportProblem(self, problem: Problem) -> None:
        self._endExport("")
        self.problemOccurred.emit(problem)

    def _endExport(self, text: str) -> None:
        self._export = None
        self.ui.landmarksLabel.text = text
