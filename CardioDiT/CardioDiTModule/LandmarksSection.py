from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from .CineReader import cineBrowsers
from .ExportSection import askForFile, fileName
from .LandmarkSequence import LandmarkSequence
from .MeasurementRuns import landmarkExportRun, landmarkRun
from .Problem import CardioDiTProblem
from .Section import Section
from .Steps import runAtOnce
from .WorkerClient import WorkerClient
from .WorkerRun import Later


class LandmarksSection(Section):
    """Widgets that find the insertion points of the chosen cine, show them, and write them as a file."""

    def __init__(self, ui: Any, worker: WorkerClient, parameterNode: Callable[[], Any], later: Later) -> None:
        super().__init__(ui, worker, parameterNode, later)
        self.controls = self.makeControls(
            (ui.landmarksButton, ui.landmarksBar, ui.landmarksLabel),
            _("Detect"),
            _("Find the right-ventricular insertion points in every frame and slice"),
            self._startDetection,
            {"landmarks": _("Finding the points"), "segment": _("Segmenting"), "track": _("Following the points")},
            self._onDetected,
        )
        ui.landmarksShowCheck.connect("toggled(bool)", self._onShow)
        ui.landmarksExportButton.connect("clicked(bool)", self._onExport)
        ui.landmarksCarryButton.connect("clicked(bool)", self._onCarry)
        self.update()

    @property
    def landmarks(self) -> LandmarkSequence:
        """The landmarks of the chosen cine."""
        return LandmarkSequence(self._browser)

    def update(self, _unused: Any = None) -> None:
        self.controls.setReason(self.lacksCine())
        proxy = self.landmarks.proxy
        self.ui.landmarksExportButton.enabled = proxy is not None
        self.ui.landmarksExportButton.toolTip = (
            _("Write the points as a table (.csv) or as .json") if proxy is not None else _("Detect landmarks first")
        )
        for widget in (self.ui.landmarksShowCheck, self.ui.landmarksCarryButton, self.ui.landmarksCarrySpin):
            widget.enabled = proxy is not None
        if proxy is not None:
            self.ui.landmarksShowCheck.checked = bool(proxy.GetDisplayVisibility())

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
        if self.beside is None:
            self.ui.landmarksLabel.text = _("Writing ...")
            self.startBeside(
                landmarkExportRun,
                self._browser,
                path,
                onDone=lambda written: self._say(_("Written: {path}").format(path=written)),
                onEnd=lambda: self._say(""),
            )

    def _startDetection(self, **callbacks: Any) -> Any:
        swap = bool(self.ui.landmarksSwapCheck.checked)
        options = {"device": self.device(), "swap": swap, "mayReplace": self._mayReplace}
        return self.startRun(landmarkRun, self._browser, **options, **callbacks)

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
        self._say(
            _("{changed} points in neighbouring frames were moved along.").format(changed=changed)
            if here
            else _("No point was changed by hand in this frame.")
        )

    def _onExport(self, _checked: bool = False) -> None:
        name = f"{fileName(self._browser)}_landmarks.csv"
        path = askForFile(name, _("Export landmarks"), _("Table (*.csv);;JSON (*.json)"))
        if path:
            self.save(path if path.lower().endswith((".csv", ".json")) else path + ".csv")

    def _say(self, text: str) -> None:
        self.ui.landmarksLabel.text = text
