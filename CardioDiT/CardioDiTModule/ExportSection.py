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
from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import cineTitle
from .Signal import Signal
from .WorkerClient import WorkerClient
from .WorkerRequest import WorkerRequest

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
        self.updateButtons()

    def updateButtons(self) -> None:
        """Enabled where there is something to write; a warning where it is not known to be nobody's copy."""
        chosen = self._browser() is not None
        for button in (self.ui.exportNiftiButton, self.ui.exportSequenceButton):
            button.enabled = chosen
            button.toolTip = _("Write the cine to a file") if chosen else _("Choose a cine in the section Play")
        warning = exportWarning(self._browser())
        self.ui.exportWarningLabel.text = warning
        self.ui.exportWarningLabel.setVisible(bool(warning))

    def cleanup(self) -> None:
        """The widgets go; what is being written is finished."""

    def save(self, path: str) -> WorkerRequest | None:
        """Write the chosen cine to a file; None where it cannot be read."""
        try:
            order = exportCine(self._worker, self._browser(), path, self._onSaved, self.problemOccurred.emit)
        except CardioDiTProblem as error:
            self.problemOccurred.emit(error.problem)
            return None
        self.ui.exportLabel.text = _("Writing ...")
        return order

    def _onSaved(self, path: str) -> None:
        self.ui.exportLabel.text = _("Written: {path}").format(path=path)

    def _onNifti(self, _checked: bool = False) -> None:
        self._ask(_("NIfTI file (*.nii.gz *.nii)"), ".nii.gz")

    def _onSequence(self, _checked: bool = False) -> None:
        self._ask(_("Slicer sequence (*.seq.nrrd)"), ".seq.nrrd")

    def _ask(self, nameFilter: str, suffix: str) -> None:
        settings = qt.QSettings()
        folder = str(settings.value(FOLDER_SETTING) or "")
        proposed = str(Path(folder) / (fileName(self._browser()) + suffix))
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Export cine"), proposed, nameFilter)
        if not path:
            return
        settings.setValue(FOLDER_SETTING, str(Path(path).parent))
        self.save(path if path.endswith((suffix, ".nii")) else path + suffix)


def exportCine(
    worker: WorkerClient,
    browser: Any,
    path: str,
    onSaved: Callable[[str], None] | None = None,
    onProblem: Callable[[Problem], None] | None = None,
) -> WorkerRequest:
    """Write the cine of a browser to a file, through the worker.

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
    order = {"cine": {**cine, "array": array}, "path": str(Path(path).expanduser().absolute())}
    return worker.request("save_cine", order, onResult=done, onProblem=onProblem, onEnd=tidy)


def fileName(browser: Any) -> str:
    """A file name for a cine, without suffix."""
    sequence = None if browser is None else browser.GetMasterSequenceNode()
    name = "cine" if sequence is None else cineTitle(sequence)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_.") or "cine"
