from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .AuditMarks import auditVerdict, isSyntheticCine, syntheticBrowsers
from .AuditTable import AuditTable
from .PrivacyRuns import auditRun, modelOf, nearestRun, showSideBySide
from .Problem import CardioDiTProblem
from .Section import Section
from .Signal import Signal
from .TableNodes import fitTable
from .WorkerClient import WorkerClient
from .WorkerRun import Later

SELECTED, ALL = "selected", "all"
MODEL, FOLDER = "model", "folder"


class PrivacySection(Section):
    """Widgets that ask whether cines are nearer to training patients than novel patients would be.

    Args:
        ui, worker, parameterNode, later: As `Section`.
        modelHasPrivacy: (name of a model) -> whether it carries training embeddings; None where that is not known.

    Attributes:
        audited: () when verdicts were written onto cines.
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        modelHasPrivacy: Callable[[str], bool | None],
        later: Later,
        parameterNode: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(ui, worker, parameterNode, later)
        self._modelHasPrivacy = modelHasPrivacy
        self.audited = Signal("audited")
        self._nearest: dict[str, tuple[str, str]] = {}
        ui.auditCinesCombo.addItem(_("selected cine"), SELECTED)
        ui.auditCinesCombo.addItem(_("all synthetic cines in the scene"), ALL)
        ui.auditAgainstCombo.addItem(_("the model's training set"), MODEL)
        ui.auditAgainstCombo.addItem(_("a folder of mine"), FOLDER)
        self.controls = self.makeControls(
            (ui.auditButton, ui.auditBar, ui.auditLabel),
            _("Audit"),
            _("See whether cines are nearer to training patients than novel patients would be"),
            self._start,
            {"embed": _("Looking at cine"), "compare": _("Comparing")},
            self._onAudited,
        )
        self.bindCombo(ui.auditCinesCombo, "auditCines")
        self.bindCombo(ui.auditAgainstCombo, "auditAgainst")
        for edit in (ui.auditTrainEdit, ui.auditValidationEdit):
            edit.connect("currentPathChanged(QString)", self.update)
        ui.nearestButton.connect("clicked(bool)", self._onNearest)
        self.showTable()
        self.update()

    @property
    def falseAlarm(self) -> float:
        """Share of novel patients who may be called copies, for audits and for the gate."""
        return float(self.ui.falseAlarmSpin.value) / 100

    def against(self) -> tuple[str, str, float]:
        """(folder of training cines, folder of other patients, share of false alarms); empty folders for the training
        set of the model.
        """
        ui = self.ui
        if ui.auditAgainstCombo.currentData != FOLDER:
            return "", "", self.falseAlarm
        return str(ui.auditTrainEdit.currentPath), str(ui.auditValidationEdit.currentPath), self.falseAlarm

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine; a run goes on."""
        self._browser = browser
        if self.controls.run is None:
            self.ui.auditLabel.text = self.describe()
        self.showTable()
        self.update()

    def update(self, _unused: Any = None) -> None:
        ui = self.ui
        own = ui.auditAgainstCombo.currentData == FOLDER
        for widget in (ui.auditTrainTitle, ui.auditTrainEdit, ui.auditValidationTitle, ui.auditValidationEdit):
            widget.setVisible(own)
        self.controls.setReason(self._notReady or self._lacks())
        file = self._nearestFile()
        ui.nearestButton.setVisible(own or bool(file))
        ui.nearestButton.enabled = bool(file) and self.beside is None and not self._notReady
        ui.nearestButton.toolTip = (
            _("Load the nearest training cine beside this one: it is a patient's, and would be saved with the scene")
            if file
            else _("Audit the selected cine against a folder of yours first")
        )

    def forgetScene(self) -> None:
        """The scene is about to be closed."""
        self.cancel()
        self._nearest.clear()
        self.ui.auditTable.setMRMLTableNode(None)
        self.setBrowser(None)

    def describe(self) -> str:
        """What was found about the chosen cine."""
        texts = {
            "passed": _("Passed: no nearer to a training patient than novel patients are."),
            "failed": _("Failed: nearer to a training patient than novel patients are."),
            "undecided": _("Undecided: too few real patients to say what is near."),
            "": "",
        }
        return str(texts.get(auditVerdict(self._browser), ""))

    def showTable(self) -> None:
        """The last audit, if there was one."""
        table = AuditTable()
        node, ui = table.node, self.ui
        ui.auditTable.setMRMLTableNode(node)
        ui.auditTable.setVisible(node is not None)
        notes = table.notes()
        ui.auditNotesLabel.text = "\n".join(notes)
        ui.auditNotesLabel.setVisible(bool(notes))
        if node is not None:
            fitTable(ui.auditTable)

    def _browsers(self) -> list[Any]:
        if self.ui.auditCinesCombo.currentData == ALL:
            return syntheticBrowsers()
        return [] if self._browser is None else [self._browser]

    def _lacks(self) -> str:
        ui = self.ui
        if ui.auditCinesCombo.currentData == SELECTED and self._browser is None:
            return str(_("Choose a cine in the section Play"))
        if ui.auditAgainstCombo.currentData == FOLDER:
            return "" if str(ui.auditTrainEdit.currentPath) else str(_("Choose the folder of training cines"))
        if ui.auditCinesCombo.currentData == ALL:
            return ""
        if not isSyntheticCine(self._browser):
            return str(_("No model made this cine: choose a folder of yours"))
        try:
            name = modelOf(self._browser)
        except CardioDiTProblem as error:
            return str(error.problem.text())
        if self._modelHasPrivacy(name) is False:
            return str(_("The model {name} carries no training embeddings: choose a folder of yours")).format(name=name)
        return ""

    def _start(self, **callbacks: Any) -> Any:
        folder, validation, falseAlarm = self.against()
        options = {"folder": folder, "validation": validation, "falseAlarm": falseAlarm}
        return self.startRun(auditRun, self._browsers(), **options, **callbacks)

    def _onAudited(self, verdicts: list[dict[str, Any]]) -> None:
        for verdict in verdicts:
            key = verdict["browser"].GetID()
            self._nearest.pop(key, None)
            if verdict["nearest_file"]:
                self._nearest[key] = (verdict["nearest_file"], verdict["nearest_hash"])
        failed = sum(verdict["verdict"] == "failed" for verdict in verdicts)
        if len(verdicts) == 1:
            self.ui.auditLabel.text = self.describe()
        else:
            self.ui.auditLabel.text = _("{failed} of {count} cines failed.").format(failed=failed, count=len(verdicts))
        self.showTable()
        self.update()
        self.audited.emit()

    def _nearestFile(self) -> str:
        """The training cine that is nearest to the chosen one; empty where it is not known."""
        if self._browser is None or self._browser.GetScene() is None:
            return ""
        return self._nearest.get(self._browser.GetID(), ("", ""))[0]

    def _onNearest(self, _checked: bool = False) -> None:
        if not self._nearestFile():
            return
        browser = self._browser
        path, short = self._nearest[browser.GetID()]

        def show(nearest: Any) -> None:
            if browser.GetScene() is not None:
                showSideBySide(browser, nearest)

        title = str(_("Nearest training cine {hash}")).format(hash=short)
        self.startBeside(nearestRun, path, title, onDone=show, onEnd=self.update)
        self.update()
