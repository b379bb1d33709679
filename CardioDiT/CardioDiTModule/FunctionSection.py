from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .BrowserSequences import HEART_RATE_ATTRIBUTE
from .BullseyePicture import BullseyePicture
from .ExportSection import askForFile, fileName
from .FunctionNodes import FunctionNodes
from .MeasurementRuns import functionRun, segmentationRun
from .Problem import CardioDiTProblem, Problem
from .Section import Section
from .SegmentationSequence import SegmentationSequence
from .SegmentNames import LV, MYOCARDIUM, RV
from .Steps import Steps
from .TableNodes import fitTable, tableText, writeText
from .VolumeChart import VolumeChart
from .WorkerClient import WorkerClient
from .WorkerRun import Later

REPORT_SUFFIXES = (".html", ".htm", ".csv", ".json")


class FunctionSection(Section):
    """Widgets that segment the chosen cine, measure its function, and show and write what was measured."""

    def __init__(self, ui: Any, worker: WorkerClient, parameterNode: Callable[[], Any], later: Later) -> None:
        super().__init__(ui, worker, parameterNode, later)
        self._measured: Any = None
        self.segmenting = self.makeControls(
            (ui.segmentButton, ui.segmentBar, ui.segmentLabel),
            _("Segment"),
            _("Label both ventricles and the myocardium in every frame"),
            self._startSegmentation,
            {"segment": _("Segmenting frame")},
            self._onSegmented,
        )
        self.measuring = self.makeControls(
            (ui.measureButton, ui.measureBar, ui.measureLabel),
            _("Measure"),
            _("Measure volumes, mass, rates and wall thickness from the segmentation and landmarks as they are now"),
            self._startMeasurement,
            {"measure": _("Measuring"), "draw": _("Drawing")},
            self._onMeasured,
        )
        self._steps: Steps | None = None
        self._bullseye = BullseyePicture(ui.bullseyeLabel)
        self.chart = VolumeChart(ui.chartFrame, later, self.jumpTo)
        ui.segmentShowCheck.connect("toggled(bool)", self._onShow)
        ui.segmentEditButton.connect("clicked(bool)", self._onEdit)
        ui.heartRateSpin.connect("valueChanged(double)", self._onHeartRate)
        ui.segment3DCheck.connect("toggled(bool)", self._onShow3D)
        ui.segmentCarryButton.connect("clicked(bool)", self._onCarry)
        self._pickers = {LV: ui.colourLVButton, MYOCARDIUM: ui.colourMyocardiumButton, RV: ui.colourRVButton}
        for segmentId, picker in self._pickers.items():
            picker.connect("colorChanged(QColor)", partial(self._onColour, segmentId))
        ui.chartLayoutButton.connect("clicked(bool)", self._onLargeChart)
        ui.copyTableButton.connect("clicked(bool)", self._onCopyTable)
        ui.copyCurvesButton.connect("clicked(bool)", self._onCopyCurves)
        ui.saveCsvButton.connect("clicked(bool)", self._onSaveCsv)
        ui.reportButton.connect("clicked(bool)", self._onReport)
        self._showResults()
        self.update()

    @property
    def segmentation(self) -> SegmentationSequence:
        """The segmentation of the chosen cine."""
        return SegmentationSequence(self._browser)

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine; a run on another one goes on."""
        if browser is not self._browser:
            self._bullseye.clear()
            with self.filling():
                self.ui.heartRateSpin.value = heartRateOf(browser)
            for controls in (self.segmenting, self.measuring):
                controls.clearText()
        self._browser = browser
        self._showResults()
        self.update()

    def update(self, _unused: Any = None) -> None:
        reason = self.lacksCine()
        proxy = self.segmentation.proxy
        lacks = "" if proxy is not None else _("Segment the cine first")
        self.segmenting.setReason(reason)
        self.measuring.setReason(reason or lacks)
        ui = self.ui
        own = (ui.segmentShowCheck, ui.segment3DCheck, ui.segmentEditButton, ui.segmentCarryButton, ui.segmentCarrySpin)
        for widget in (*own, *self._pickers.values()):
            widget.enabled = proxy is not None
        with self.filling():
            if proxy is not None:
                ui.segmentShowCheck.checked = bool(proxy.GetDisplayVisibility())
            ui.segment3DCheck.checked = proxy is not None and self.segmentation.isShownIn3D()
            for segmentId, colour in self.segmentation.colours().items():
                self._pickers[segmentId].color = qt.QColor.fromRgbF(*colour)
        self.ui.segmentEditButton.toolTip = lacks or _("Correct the segmentation of the frame that is shown")
        self.ui.reportButton.enabled = not (reason or lacks) and self.measuring.run is None
        self.ui.reportButton.toolTip = reason or lacks or _("Measure, and write a page, a table or JSON")

    def forgetScene(self) -> None:
        """The scene is about to be closed."""
        self.cancel()
        self.setBrowser(None)
        self.chart.forgetScene()

    def cleanup(self) -> None:
        super().cleanup()
        if self._steps is not None:
            self._steps.close()
        self.chart.cleanup()

    def jumpTo(self, frame: int) -> None:
        """Show a frame of the cine."""
        if self._browser is not None and self._browser.GetScene() is not None:
            self._browser.SetPlaybackActive(False)
            self._browser.SetSelectedItemNumber(frame)

    def saveReport(self, path: str) -> None:
        """Measure, and write a report to a file."""
        self.measuring.start(path=path)

    def _startSegmentation(self, **callbacks: Any) -> Any:
        options = {"device": self.device(), "mayReplace": self._mayReplace}
        return self.startRun(segmentationRun, self._browser, **options, **callbacks)

    def _startMeasurement(self, path: str = "", **callbacks: Any) -> Any:
        rate = float(self.ui.heartRateSpin.value) or None
        self._measured = self._browser
        return self.startRun(functionRun, self._browser, heartRateBpm=rate, path=path, **callbacks)

    @staticmethod
    def _mayReplace(count: int) -> bool:
        text = _("The segmentation of {count} frames was edited by hand. Segmenting anew replaces all of it. Go on?")
        return bool(slicer.util.confirmOkCancelDisplay(text.format(count=count), _("Segmentation")))

    def _onSegmented(self, _sequence: Any) -> None:
        self.ui.segmentLabel.text = _("Segmented. Corrections by hand are kept frame by frame.")

    def _onMeasured(self, result: dict[str, Any]) -> None:
        self._showResults()
        if self._measured is self._browser:  # another cine may have been chosen meanwhile
            self._bullseye.show(result["bullseye"], result["bullseye_problem"])
        if result["files"]:
            self.ui.measureLabel.text = _("Written: {path}").format(path=", ".join(result["files"]))
        elif self._measured is self._browser:
            self.ui.measureLabel.text = phasesText(result["report"])

    def _showResults(self) -> None:
        """Table, chart and notes of what was measured on the chosen cine, if anything was."""
        nodes = FunctionNodes(self._browser)
        table = nodes.table
        ui = self.ui
        ui.functionTable.setMRMLTableNode(table)
        ui.functionTable.setVisible(table is not None)
        for button in (ui.chartLayoutButton, ui.copyTableButton, ui.copyCurvesButton, ui.saveCsvButton):
            button.setVisible(table is not None)
        node = self._parameterNode()
        self.chart.show(nodes.chart, None if node is None else node.parameterNode)
        notes = nodes.report().get("notes") or []
        ui.notesLabel.text = "\n".join(str(note) for note in notes)
        ui.notesLabel.setVisible(bool(notes))
        if table is not None:
            fitTable(ui.functionTable, remarkLast=True)

    def _onShow(self, on: bool) -> None:
        if not self._filling:
            self.segmentation.setShown(on)

    def _onShow3D(self, on: bool) -> None:
        """Let the ventricles beat as surfaces beside the slices."""
        if self._filling:
            return
        if not on:
            self.segmentation.hideIn3D()
            return
        self.ui.segmentLabel.text = _("Making surfaces ...")
        self.ui.segment3DCheck.enabled = False
        self._steps = Steps(self.segmentation.surfaceSteps(), self._later, self._onSurfaces, self._onStepsFailed)

    def _onSurfaces(self, _proxy: Any) -> None:
        self.ui.segmentLabel.text = ""
        showLayoutWith3D()
        self.update()

    def _onStepsFailed(self, error: Exception) -> None:
        self.ui.segmentLabel.text = ""
        if isinstance(error, CardioDiTProblem):
            self.problemOccurred.emit(error.problem)
        else:
            self.problemOccurred.emit(
                Problem(
                    _("The segmentation could not be changed: {error}.").format(error=error),
                    _("Copy the log and report it."),
                    repr(error),
                )
            )
        self.update()

    def _onHeartRate(self, rate: float) -> None:
        """It belongs to the cine, and is saved with it."""
        if not self._filling and self._browser is not None and self._browser.GetScene() is not None:
            self._browser.SetAttribute(HEART_RATE_ATTRIBUTE, f"{rate:g}")

    def _onColour(self, segmentId: str, colour: Any) -> None:
        if not self._filling:
            self.segmentation.setColour(segmentId, (colour.redF(), colour.greenF(), colour.blueF()))

    def _onCarry(self, _checked: bool = False) -> None:
        """Take what was edited in the frame that is shown over to its neighbours."""
        self._browser.SetPlaybackActive(False)
        steps = self.segmentation.carrySteps(self._browser.GetSelectedItemNumber(), int(self.ui.segmentCarrySpin.value))
        self._steps = Steps(steps, self._later, self._onCarried, self._onStepsFailed)

    def _onCarried(self, result: tuple[int, int]) -> None:
        changed, slices = result
        self.ui.segmentLabel.text = (
            _("{slices} edited slices went into {changed} neighbouring frames.").format(slices=slices, changed=changed)
            if slices
            else _("Nothing was edited by hand in this frame.")
        )

    def _onEdit(self, _checked: bool = False) -> None:
        """Open the Segment Editor on the segmentation; the cine stands still meanwhile."""
        self._browser.SetPlaybackActive(False)
        proxy = self.segmentation.proxy
        slicer.util.selectModule("SegmentEditor")
        panel = slicer.util.getModuleWidget("SegmentEditor")
        editor = None if panel is None else getattr(panel, "editor", None)
        if editor is not None:
            editor.setSegmentationNode(proxy)
            editor.setSourceVolumeNode(self._browser.GetProxyNode(self._browser.GetMasterSequenceNode()))

    def _onCopyTable(self, _checked: bool = False) -> None:
        self._copy(FunctionNodes(self._browser).table, _("The table is in the clipboard."))

    def _onCopyCurves(self, _checked: bool = False) -> None:
        self._copy(FunctionNodes(self._browser).curves, _("The curves are in the clipboard."))

    def _copy(self, table: Any, said: str) -> None:
        if table is not None:
            # tabs: a spreadsheet puts them into cells
            qt.QApplication.clipboard().setText(tableText(table, "\t"))
            self.ui.measureLabel.text = said

    def _onSaveCsv(self, _checked: bool = False) -> None:
        """Table and curves as they are shown, without measuring anew."""
        path = askForFile(f"{fileName(self._browser)}_function.csv", _("Save tables"), _("Tables (*.csv)"))
        if not path:
            return
        nodes = FunctionNodes(self._browser)
        target = Path(path if path.lower().endswith(".csv") else path + ".csv")
        files = {target: nodes.table, target.with_name(target.stem + "_curves.csv"): nodes.curves}
        try:
            for file, table in files.items():
                writeText(file, tableText(table, ","))
        except OSError as error:
            self.problemOccurred.emit(
                Problem(_("The tables could not be written: {error}.").format(error=error), _("Choose another folder."))
            )
            return
        self.ui.measureLabel.text = _("Written: {path}").format(path=", ".join(map(str, files)))

    def _onLargeChart(self, _checked: bool = False) -> None:
        self.chart.showInLayout()

    def _onReport(self, _checked: bool = False) -> None:
        path = askForFile(
            f"{fileName(self._browser)}_function.html",
            _("Save report"),
            _("Page with pictures (*.html);;Tables (*.csv);;JSON (*.json)"),
        )
        if not path:
            return
        self.saveReport(path if path.lower().endswith(REPORT_SUFFIXES) else path + ".html")


def showLayoutWith3D() -> None:
    """A layout with a 3D view, if the present one has none, and the surfaces in the middle of it."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    node = slicer.vtkMRMLLayoutNode
    if manager.layout not in (node.SlicerLayoutConventionalView, node.SlicerLayoutFourUpView):
        manager.setLayout(node.SlicerLayoutFourUpView)
    slicer.util.resetThreeDViews()


def heartRateOf(browser: Any) -> float:
    """Beats a minute that were given for a cine; 0 where none were."""
    text = None if browser is None else browser.GetAttribute(HEART_RATE_ATTRIBUTE)
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def phasesText(report: dict[str, Any]) -> str:
    """Which frames are end-diastole and end-systole, counted from 0 as in the chart and the sequence browser."""
    if report.get("ed_frame") is None:
        return _("Measured; see the remarks in the table.")
    return _("Measured. End-diastole is frame {ed}, end-systole frame {es} (counted from 0).").format(
        ed=report["ed_frame"], es=report["es_frame"]
    )
