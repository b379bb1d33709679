from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from .FolderResults import FAILED, RESULTS_NAME
from .FolderRun import FolderChoices, FolderRun
from .FolderTable import FolderTable
from .Section import Section
from .TableNodes import fitTable
from .WorkerClient import WorkerClient
from .WorkerRun import Later

EXPORTS = (
    (_("no"), ""),
    ("NIfTI (.nii.gz)", ".nii.gz"),
    (_("Slicer sequence (.seq.nrrd)"), ".seq.nrrd"),
    (_("DICOM images (.dcm)"), ".dcm"),
)


class FolderSection(Section):
    """Widgets that measure, audit and export all cines of a folder.

    Args:
        ui, worker, parameterNode, later: As `Section`.
        auditAgainst: () -> (folder of training cines, folder of other patients, share of false alarms), as chosen in
            the section Privacy; empty folders for the training set of each cine's own model.
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        parameterNode: Callable[[], Any],
        auditAgainst: Callable[[], tuple[str, str, float]],
        later: Later,
    ) -> None:
        super().__init__(ui, worker, parameterNode, later)
        self._auditAgainst = auditAgainst
        self._rows: list[dict[str, Any]] = []
        for text, suffix in EXPORTS:
            ui.folderExportCombo.addItem(text, suffix)
        self.controls = self.makeControls(
            (ui.folderButton, ui.folderBar, ui.folderLabel),
            _("Start"),
            _("Measure, audit and export all cines of the folder, one after the other"),
            self._start,
            {},
            self._onDone,
        )
        self.controls.cancelToolTip = _("Stop; what is finished stays, and Start goes on after it")
        self.controls.describe = describeProgress
        for edit in (ui.folderEdit, ui.folderResultsEdit):
            edit.connect("currentPathChanged(QString)", self.update)
        for check in (ui.folderMeasureCheck, ui.folderAuditCheck):
            check.connect("toggled(bool)", self.update)
        self.bindCombo(ui.folderExportCombo, "folderExport")
        ui.folderOpenButton.connect("clicked(bool)", self._onOpen)
        self.showTable()
        self.update()

    def forgetScene(self) -> None:
        """The scene is about to be closed, and takes the table along."""
        self.cancel()
        self.ui.folderTable.setMRMLTableNode(None)
        self.ui.folderTable.setVisible(False)

    def choices(self) -> FolderChoices:
        """What the widgets say."""
        ui = self.ui
        train, validation, falseAlarm = self._auditAgainst()
        audit = bool(ui.folderAuditCheck.checked)
        return FolderChoices(
            measure=bool(ui.folderMeasureCheck.checked),
            landmarks=bool(ui.folderLandmarksCheck.checked),
            audit=audit,
            train=train if audit else "",
            validation=validation if audit else "",
            falseAlarm=falseAlarm,
            exportSuffix=str(ui.folderExportCombo.currentData or ""),
            device=self.device(),
        )

    def update(self, _unused: Any = None) -> None:
        ui, choices = self.ui, self.choices()
        ui.folderLandmarksCheck.enabled = choices.measure
        self.controls.setReason(self._notReady or self._lacks(choices))
        results = self._results()
        there = bool(results) and Path(results).is_dir()
        ui.folderOpenButton.enabled = there
        ui.folderOpenButton.toolTip = (
            _("Show the folder of the results") if there else _("There is no folder of results yet")
        )

    def _lacks(self, choices: FolderChoices) -> str:
        folder = str(self.ui.folderEdit.currentPath)
        if not folder:
            return str(_("Choose the folder of the cines"))
        if not Path(folder).is_dir():
            return str(_("There is no folder {folder}")).format(folder=folder)
        if not (choices.measure or choices.audit or choices.exportSuffix):
            return str(_("Choose what is to be done: measure, audit or export"))
        results = self._results()
        if choices.exportSuffix and not results:
            return str(_("Choose the folder for the results"))
        if results and Path(results).absolute() == Path(folder).absolute():
            return str(_("Choose another folder for the results than that of the cines"))
        return ""

    def _results(self) -> str:
        return str(self.ui.folderResultsEdit.currentPath)

    def _start(self, **callbacks: Any) -> Any:
        self._rows = []
        folder = str(self.ui.folderEdit.currentPath)
        return self.startRun(FolderRun, folder, self._results(), self.choices(), onRow=self._onRow, **callbacks)

    def _onRow(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        FolderTable().fill(self._rows)
        self.showTable()

    def _onDone(self, rows: list[dict[str, Any]]) -> None:
        failed = sum(row["state"] == FAILED for row in rows)
        text = _("{count} cines, {failed} failed.").format(count=len(rows), failed=failed)
        if self._results():
            text += " " + _("Written: {path}").format(path=Path(self._results()) / RESULTS_NAME)
        self.ui.folderLabel.text = text

    def showTable(self) -> None:
        """The last folder, if there was one."""
        node, view = FolderTable().node, self.ui.folderTable
        view.setMRMLTableNode(node)
        view.setVisible(node is not None)
        if node is not None:
            fitTable(view)

    def _onOpen(self, _checked: bool = False) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._results()))


def describeProgress(event: dict[str, Any]) -> str:
    """What is under way, such as "Cine 3 of 12: patient.nii.gz: segmenting"."""
    words = {
        "segment": _("segmenting"),
        "landmarks": _("finding the points"),
        "track": _("finding the points"),
        "measure": _("measuring"),
        "draw": _("measuring"),
        "embed": _("auditing"),
        "compare": _("auditing"),
    }
    text = _("Cine {step} of {of}").format(step=event["step"], of=event["of"])
    return str(": ".join(part for part in (text, event.get("cine"), words.get(event["stage"], _("loading"))) if part))
