from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .ModelManager import ModelManager
from .PublishedImportDialog import PublishedImportDialog
from .SharedWorker import CACHE_SETTING
from .Signal import Signal
from .TextDialog import TextDialog
from .WorkerClient import WorkerClient


class ModelsSection:
    """Widgets about models: the table, and what can be done with a row.

    Args:
        ui: The module's widgets.
        models: The models.
        worker: The worker client.
        importDialogFile: ``PublishedImportDialog.ui``.

    Attributes:
        problemOccurred: (problem).
    """

    def __init__(self, ui: Any, models: ModelManager, worker: WorkerClient, importDialogFile: str) -> None:
        self.ui, self._models, self._worker = ui, models, worker
        self._importDialogFile = importDialogFile
        self._notReady = ""
        self.card: TextDialog | None = None
        self.problemOccurred = Signal("models problem")
        table = ui.modelsTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Model"), _("Licence"), _("Size"), _("State")])
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)
        table.connect("itemSelectionChanged()", self.updateButtons)
        for button, slot in (
            (ui.downloadButton, self._onDownload),
            (ui.verifyButton, self._onVerify),
            (ui.removeButton, self._onRemove),
            (ui.importFileButton, self._onImportFile),
            (ui.importFolderButton, self._onImportFolder),
            (ui.importPublishedButton, self._onImportPublished),
            (ui.modelCardButton, self._onModelCard),
            (ui.openFolderButton, self._onOpenFolder),
            (ui.refreshButton, self._onRefresh),
            (ui.changeFolderButton, self._onChangeFolder),
            (ui.addSourceButton, self._onAddSource),
        ):
            button.connect("clicked(bool)", slot)
        ui.sourceEdit.connect("textChanged(QString)", self._onSourceText)
        models.modelsChanged.connect(self._fill)
        models.transferChanged.connect(self._onTransfer)
        models.transferProgress.connect(self._onProgress)
        models.informed.connect(self._inform)
        models.problemOccurred.connect(self._onProblem)
        self._onTransfer()

    def cleanup(self) -> None:
        """The widget goes."""
        card, self.card = self.card, None
        if card is not None:
            card.close()

    def setNotReady(self, reason: str) -> None:
        """Why nothing can be done now; empty where it can."""
        self._notReady = reason
        self.updateButtons()

    def selectedModel(self) -> dict[str, Any] | None:
        """The model of the chosen row."""
        row = self.ui.modelsTable.currentRow()
        item = self.ui.modelsTable.item(row, 0) if row >= 0 else None
        return None if item is None else self._models.model(str(item.data(qt.Qt.UserRole)))

    def updateButtons(self) -> None:
        """What can be done with the chosen row, and why the rest cannot."""
        model, busy = self.selectedModel(), self._models.isBusy()
        self._showInfo(model)
        none = self._notReady or ("" if model else _("Choose a model in the table"))
        here = none or ("" if model["state"] != "available" else _("This model is not on this machine yet"))
        self._set(self.ui.verifyButton, here, _("Compare its files with their fingerprints"))
        self._set(self.ui.modelCardButton, here, _("What it was made of, how good it is, and its limits"))
        self._set(self.ui.openFolderButton, here, _("Show its files"))
        fixed = here or ("" if model["removable"] else _("This model came with the software and cannot be removed"))
        self._set(self.ui.removeButton, fixed, _("Delete its files"))
        running = self._notReady or (_("A download or import is running") if busy else "")
        self._set(self.ui.changeFolderButton, running, _("Choose the folder into which models are downloaded"))
        self._set(self.ui.importFileButton, running, _("Install a model from a .zip file, without network"))
        self._set(self.ui.importFolderButton, running, _("Install a model from its folder"))
        self._set(self.ui.importPublishedButton, running, _("Make a model of published CardioDiT checkpoints"))
        address = running or ("" if self.ui.sourceEdit.text.strip() else _("Type an address first"))
        self._set(self.ui.addSourceButton, address, _("Add this address to the list"))
        self.ui.downloadButton.text = _("Cancel") if busy else _("Download")
        if busy:
            self._set(self.ui.downloadButton, "", _("Stop; a download can be taken up again later"))
        else:
            there = none or ("" if model["state"] == "available" else _("This model is on this machine already"))
            self._set(self.ui.downloadButton, there, _("Fetch this model"))

    # -- what the user does

    def _onDownload(self, _checked: bool = False) -> None:
        if self._models.isBusy():
            self._models.cancelTransfer()
            return
        model = self.selectedModel()
        if model is not None:
            self._models.withTerms(model, lambda: self._models.download(model["name"]))

    def _onVerify(self, _checked: bool = False) -> None:
        self._withModel(self._models.verify)

    def _onRemove(self, _checked: bool = False) -> None:
        model = self.selectedModel()
        if model is not None and slicer.util.confirmOkCancelDisplay(
            _("Delete the model {title} from this machine?").format(title=model["title"]), _("Remove model")
        ):
            self._models.remove(model["name"])

    def _onImportFile(self, _checked: bool = False) -> None:
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Import a model"), "", _("Model (*.zip)"))
        if path:
            self._models.importBundle(path)

    def _onImportFolder(self, _checked: bool = False) -> None:
        path = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Import a model"), "")
        if path:
            self._models.importBundle(path)

    def _onImportPublished(self, _checked: bool = False) -> None:
        arguments = PublishedImportDialog(self._importDialogFile).ask()
        if arguments is not None:
            self._models.importPublished(arguments)

    def _onModelCard(self, _checked: bool = False) -> None:
        def show(values: dict[str, Any]) -> None:
            # not a message box: a card is longer than a screen, and a box does not scroll
            if self.card is not None:
                self.card.close()
            self.card = TextDialog(_("Model card"), values["text"])
            self.card.show()

        self._withModel(
            lambda name: self._worker.request(
                "model_card", {"name": name}, onResult=show, onProblem=self.problemOccurred.emit
            )
        )

    def _onOpenFolder(self, _checked: bool = False) -> None:
        model = self.selectedModel()
        if model is not None and model["folder"]:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(model["folder"]))

    def _onRefresh(self, _checked: bool = False) -> None:
        self._models.refresh()

    def _onChangeFolder(self, _checked: bool = False) -> None:
        """Models go to another folder from now on; those in the old one stay there."""
        path = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Keep models in"), self._models.folder)
        if path:
            qt.QSettings().setValue(CACHE_SETTING, path)
            # the folder is told to the worker when it starts
            self._worker.stop(wait=True)
            self._models.refresh()

    def _onAddSource(self, _checked: bool = False) -> None:
        self._models.addSource(self.ui.sourceEdit.text.strip())

    def _onSourceText(self, _text: str) -> None:
        self.updateButtons()

    def _withModel(self, action: Callable[[str], Any]) -> None:
        model = self.selectedModel()
        if model is not None:
            action(model["name"])

    # -- what the manager tells

    def _fill(self, models: list[dict[str, Any]]) -> None:
        table = self.ui.modelsTable
        chosen = self.selectedModel()
        table.setRowCount(len(models))
        for row, model in enumerate(models):
            licence = (model.get("licence") or {}).get("name", "")
            texts = (model["name"], licence, sizeText(model["size_bytes"]), stateText(model))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setData(qt.Qt.UserRole, model["name"])
                item.setToolTip(model["title"])
                table.setItem(row, column, item)
        names = [model["name"] for model in models]
        if chosen is not None and chosen["name"] in names:
            table.selectRow(names.index(chosen["name"]))
        self.updateButtons()

    def _onTransfer(self) -> None:
        busy = self._models.isBusy()
        self.ui.transferBar.setVisible(busy)
        self.ui.transferBar.value = 0
        self.ui.transferLabel.text = ""
        self.updateButtons()

    def _onProgress(self, event: dict[str, Any]) -> None:
        self.ui.transferBar.value = round(100 * float(event.get("fraction") or 0.0))
        if event.get("total_bytes"):
            text = _("{done} of {total}").format(
                done=sizeText(event["done_bytes"]), total=sizeText(event["total_bytes"])
            )
            if event.get("eta_s"):
                text += _(", {seconds:.0f} s left").format(seconds=event["eta_s"])
            self.ui.transferLabel.text = text

    def _inform(self, sentence: str) -> None:
        self.ui.transferLabel.text = sentence

    def _onProblem(self, problem: Any) -> None:
        self.ui.transferLabel.text = ""
        self.problemOccurred.emit(problem)

    def _showInfo(self, model: dict[str, Any] | None) -> None:
        if model is None:
            self.ui.modelInfoLabel.text = ""
            return
        parts = [
            f"{model['title']}.",
            model.get("description") or "",
            model.get("intended_use") or "",
            model["problem"],
        ]
        self.ui.modelInfoLabel.text = " ".join(part for part in parts if part)

    @staticmethod
    def _set(button: Any, reasonAgainst: str, purpose: str) -> None:
        button.enabled = not reasonAgainst
        button.toolTip = reasonAgainst or purpose


def sizeText(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def stateText(model: dict[str, Any]) -> str:
    """State of a model for people."""
    if model["state"] == "installed":
        return _("built in") if model["origin"] == "embedded" else _("installed")
    return _("damaged") if model["state"] == "damaged" else _("to be downloaded")
