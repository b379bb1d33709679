from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .AuditMarks import exportWarning
from .CineReader import cineOfBrowser
from .DicomDatabase import addToDatabase, whyNoDatabase
from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import cineTitle
from .Signal import Signal
from .WorkerClient import WorkerClient, WorkerRequest

FOLDER_SETTING = "CardioDiT/ExportFolder"


class ExportSection:
    """Widgets that write the chosen cine as a file; the library writes it, so that mm, s and origin are kept.

    Args:
        ui: The module's widgets.
        worker: The worker client.
        browser: () -> the browser node that is chosen, or None.

    Attributes:
        problemOccurred: (problem).
    """

    def __init__(self, ui: Any, worker: WorkerClient, browser: Callable[[], Any]) -> None:
        self.ui, self._worker, self._browser = ui, worker, browser
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

    def save(self, path: str, multiFrame: bool = False) -> WorkerRequest | None:
        """Write the chosen cine to a file; None where it cannot be read."""
        return self._start(exportCine, path, self._onSaved, multiFrame=multiFrame)

    def saveToDatabase(self) -> WorkerRequest | None:
        """Copy the chosen cine into Slicer's DICOM database; None where it cannot be read."""
        return self._start(exportToDatabase, self._onInDatabase)

    def _start(self, export: Callable[..., WorkerRequest], *arguments: Any, **options: Any) -> WorkerRequest | None:
        try:
            order = export(self._worker, self._browser(), *arguments, self._onProblem, **options)
        except CardioDiTProblem as error:
            self.problemOccurred.emit(error.problem)
            return None
        self.ui.exportLabel.text = _("Writing ...")
        return order

    def _onProblem(self, problem: Problem) -> None:
        self.ui.exportLabel.text = ""
        self.problemOccurred.emit(problem)

    def _onInDatabase(self, count: int) -> None:
        self.ui.exportLabel.text = _(
            "{count} images were copied into the DICOM database: see the module DICOM."
        ).format(count=count)

    def _onSaved(self, path: str) -> None:
        self.ui.exportLabel.text = _("Written: {path}").format(path=path)

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


def exportCine(
    worker: WorkerClient,
    browser: Any,
    path: str,
    onSaved: Callable[[str], None] | None = None,
    onProblem: Callable[[Problem], None] | None = None,
    multiFrame: bool = False,
) -> WorkerRequest:
    """Write the cine of a browser to a file, through the worker.

    Args:
        worker: The worker client.
        browser: The browser node of the cine.
        path: Ends in .nii.gz, .nii, .seq.nrrd, .nrrd, or .dcm for a folder of DICOM images.
        onSaved: (path).
        onProblem: (problem).
        multiFrame: DICOM only: one multi-frame file in place of the folder.

    Raises:
        CardioDiTProblem: The browser shows no cine.
    """
    import numpy as np

    cine = cineOfBrowser(browser)
    folder = slicer.util.tempDirectory("CardioDiTExport")
    array = str(Path(folder) / "cine.npy")
    np.save(array, cine.pop("array"), allow_pickle=False)

    def tidy() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def done(values: dict[str, Any]) -> None:
        if onSaved is not None:
            onSaved(values["path"])

    cine.pop("name")
    # the worker's current folder need not be the application's
    order: dict[str, Any] = {"cine": {**cine, "array": array}, "path": str(Path(path).expanduser().absolute())}
    if multiFrame:
        order["multi_frame"] = True
    return worker.request("save_cine", order, onResult=done, onProblem=onProblem, onEnd=tidy)


def exportToDatabase(
    worker: WorkerClient,
    browser: Any,
    onDone: Callable[[int], None] | None = None,
    onProblem: Callable[[Problem], None] | None = None,
) -> WorkerRequest:
    """Write the cine of a browser as DICOM images and copy them into Slicer's DICOM database.

    Args:
        worker: The worker client.
        browser: The browser node of the cine.
        onDone: (number of images).
        onProblem: (problem).

    Raises:
        CardioDiTProblem: No database is open, or the browser shows no cine.
    """
    lacks = whyNoDatabase()
    if lacks:
        raise CardioDiTProblem(Problem(lacks + "."))
    folder = slicer.util.tempDirectory("CardioDiTDicom")

    def tidy() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def add(path: str) -> None:
        try:
            count = addToDatabase(path)
        except CardioDiTProblem as error:
            if onProblem is not None:
                onProblem(error.problem)
        else:
            if onDone is not None:
                onDone(count)

    try:
        order = exportCine(worker, browser, str(Path(folder) / (fileName(browser) + ".dcm")), add, onProblem)
    except CardioDiTProblem:
        tidy()
        raise
    tidyExport = order.onEnd

    def tidyAll() -> None:
        if tidyExport is not None:
            tidyExport()
        tidy()

    order.onEnd = tidyAll
    return order


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
