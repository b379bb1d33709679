from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .AuditMarks import exportWarning
from .CineReader import cineFileSteps
from .DicomDatabase import addToDatabase, whyNoDatabase
from .MeasurementRuns import absolute
from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import cineTitle
from .Signal import Signal
from .Steps import runAtOnce
from .WorkerClient import WorkerClient
from .WorkerRun import Later, WorkerRun

FOLDER_SETTING = "CardioDiT/ExportFolder"


class ExportSection:
    """Widgets that write the chosen cine as a file; the library writes it, so that mm, s and origin are kept.

    Args:
        ui: The module's widgets.
        worker: The worker client.
        browser: () -> the browser node that is chosen, or None.
        later: (milliseconds, callback).

    Attributes:
        problemOccurred: (problem).
    """

    def __init__(self, ui: Any, worker: WorkerClient, browser: Callable[[], Any], later: Later) -> None:
        self.ui, self._worker, self._browser, self._later = ui, worker, browser, later
        self._runs: list[WorkerRun] = []
        self.problemOccurred = Signal("export problem")
        ui.exportNiftiButton.connect("clicked(bool)", self._onNifti)
        ui.exportSequenceButton.connect("clicked(bool)", self._onSequence)
        ui.exportDicomButton.connect("clicked(bool)", self._onDicom)
        ui.exportMultiFrameButton.connect("clicked(bool)", self._onMultiFrame)
        ui.exportDatabaseButton.connect("clicked(bool)", self._onDatabase)
        self.updateButtons()

    def updateButtons(self) -> None:
        """Enabled where there is something to write; a warning where it is not known to be nobody's copy."""
        chosen = self._browser() is not None
        ui = self.ui
        toFile = _("Write the cine to a file")
        for button, purpose in (
            (ui.exportNiftiButton, toFile),
            (ui.exportSequenceButton, toFile),
            (ui.exportDicomButton, _("Write a folder NAME.dcm of MR images, one for each slice and frame")),
            (ui.exportMultiFrameButton, _("Write one DICOM file, an enhanced multi-frame MR image")),
            (ui.exportDatabaseButton, _("Copy the cine as DICOM images into Slicer's own DICOM database")),
        ):
            button.enabled = chosen
            button.toolTip = purpose if chosen else _("Choose a cine in the section Play")
        lacks = whyNoDatabase()
        if chosen and lacks:
            ui.exportDatabaseButton.enabled, ui.exportDatabaseButton.toolTip = False, lacks
        warning = exportWarning(self._browser())
        self.ui.exportWarningLabel.text = warning
        self.ui.exportWarningLabel.setVisible(bool(warning))

    def cleanup(self) -> None:
        """The widgets go; what is being written is finished."""
        for run in self._runs:
            run.abandon(finish=True)

    def save(self, path: str, multiFrame: bool = False) -> None:
        """Write the chosen cine to a file."""
        self._start(exportRun, _("Written: {result}"), path=path, multiFrame=multiFrame)

    def saveToDatabase(self) -> None:
        """Copy the chosen cine into Slicer's DICOM database."""
        self._start(databaseRun, _("{result} images were copied into the DICOM database: see the module DICOM."))

    def _start(self, makeRun: Callable[..., WorkerRun], said: str, **options: Any) -> None:
        callbacks = {
            "onDone": lambda result: self._say(said.format(result=result)),
            "onProblem": self._onProblem,
            "onCancelled": lambda: self._say(_("Cancelled.")),
        }
        self._say(_("Writing ..."))
        run = makeRun(self._worker, self._later, self._browser(), **options, **callbacks)
        self._runs = [*(one for one in self._runs if one.isRunning), run.start()]

    def _onProblem(self, problem: Problem) -> None:
        self._say("")
        self.problemOccurred.emit(problem)

    def _say(self, text: str) -> None:
        self.ui.exportLabel.text = text

    def _onNifti(self, _checked: bool = False) -> None:
        self._ask(_("NIfTI file (*.nii.gz *.nii)"), ".nii.gz")

    def _onSequence(self, _checked: bool = False) -> None:
        self._ask(_("Slicer sequence (*.seq.nrrd)"), ".seq.nrrd")

    def _onDicom(self, _checked: bool = False) -> None:
        self._ask(_("Folder of DICOM images (*.dcm)"), ".dcm")

    def _onMultiFrame(self, _checked: bool = False) -> None:
        self._ask(_("DICOM multi-frame file (*.dcm)"), ".dcm", multiFrame=True)

    def _onDatabase(self, _checked: bool = False) -> None:
        self.saveToDatabase()

    def _ask(self, nameFilter: str, suffix: str, multiFrame: bool = False) -> None:
        path = askForFile(fileName(self._browser()) + suffix, _("Export cine"), nameFilter)
        if path:
            self.save(path if path.endswith((suffix, ".nii")) else path + suffix, multiFrame)


def exportRun(
    worker: WorkerClient, later: Later, browser: Any, *, path: str, multiFrame: bool = False, **callbacks: Any
) -> WorkerRun:
    """Write the cine of a browser to a file, through the worker; the result is the path.

    Args:
        worker: The worker client.
        later: (milliseconds, callback).
        browser: The browser node of the cine.
        path: Ends in .nii.gz, .nii, .seq.nrrd, .nrrd, or .dcm for a folder of DICOM images.
        multiFrame: DICOM only: one multi-frame file in place of the folder.
        **callbacks: As `WorkerRun` takes them.
    """

    def prepare(folder: str) -> dict[str, Any]:
        # at once: what has been asked for is written, whatever becomes of the panel
        order = {"cine": runAtOnce(cineFileSteps(browser, folder)), "path": absolute(path)}
        return {**order, "multi_frame": True} if multiFrame else order

    def build(values: dict[str, Any]) -> Iterator[Any]:
        yield
        return values["path"]

    return WorkerRun(worker, later, "save_cine", prepare, build, **callbacks)


def databaseRun(worker: WorkerClient, later: Later, browser: Any, **callbacks: Any) -> WorkerRun:
    """Write the cine of a browser as DICOM images and copy them into Slicer's DICOM database; the result is the number
    of images. Arguments as for `exportRun`.
    """

    def prepare(folder: str) -> dict[str, Any]:
        lacks = whyNoDatabase()
        if lacks:
            raise CardioDiTProblem(lacks + ".")
        cine = runAtOnce(cineFileSteps(browser, folder))
        return {"cine": cine, "path": str(Path(folder) / (fileName(browser) + ".dcm"))}

    def build(values: dict[str, Any]) -> Iterator[Any]:
        yield
        return addToDatabase(values["path"])

    return WorkerRun(worker, later, "save_cine", prepare, build, **callbacks)


def fileName(browser: Any) -> str:
    """A file name for a cine, without suffix."""
    sequence = None if browser is None else browser.GetMasterSequenceNode()
    name = "cine" if sequence is None else cineTitle(sequence)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_.") or "cine"


def askForFile(name: str, title: str, filters: str) -> str:
    """The path that the user chose; empty where none. The folder is remembered.

    Args:
        name: Of the file that is proposed.
        title: Of the dialog.
        filters: As Qt takes them.
    """
    settings = qt.QSettings()
    proposed = str(Path(str(settings.value(FOLDER_SETTING) or "")) / name)
    path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, proposed, filters)
    if path:
        settings.setValue(FOLDER_SETTING, str(Path(path).parent))
    return str(path or "")
