from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Problem import Problem
from .Signal import Signal
from .WorkerClient import WorkerClient, WorkerRequest

MANIFEST_NAME = "bundle.json"


class ModelManager:
    """Models on this machine and in the catalogue, through the worker.

    At most one transfer (download or import) runs at a time.

    Args:
        worker: The worker client.

    Attributes:
        worker: The same; a panel puts its own in, which tells nothing to a panel that has gone.
        modelsChanged: (list of models), each as `CardioDiTLib.service.model_jobs` describes it.
        transferChanged: () when a transfer begins or ends.
        transferProgress: (event) while one runs.
        problemOccurred: (problem).
        informed: (sentence) when something was done that cannot be seen otherwise.
    """

    def __init__(self, worker: WorkerClient) -> None:
        self.worker = worker
        self.modelsChanged = Signal("models")
        self.transferChanged = Signal("transfer")
        self.transferProgress = Signal("transfer progress")
        self.problemOccurred = Signal("model problem")
        self.informed = Signal("model information")
        self.models: list[dict[str, Any]] = []
        self.folder = ""
        self._transfer: WorkerRequest | None = None

    def disconnectAll(self) -> None:
        """Tell nobody any more: the widgets go."""
        for signal in (
            self.modelsChanged,
            self.transferChanged,
            self.transferProgress,
            self.problemOccurred,
            self.informed,
        ):
            signal.disconnectAll()

    def model(self, name: str) -> dict[str, Any] | None:
        """A model by its name; None where it is not known (yet)."""
        return next((model for model in self.models if model["name"] == name), None)

    def hasPrivacy(self, name: str) -> bool | None:
        """Whether a model on this machine carries training embeddings; None where the model is not known (yet)."""
        model = self.model(name)
        return None if model is None or model["state"] != "installed" else bool(model.get("has_privacy"))

    def quantities(self, name: str) -> list[dict[str, Any]]:
        """What hearts of a model on this machine can be asked to have, as its manifest says it (name, meaning, unit,
        low, high, usual_low, usual_high); empty where it cannot be steered. The worker has checked the manifest.
        """
        model = self.model(name)
        if model is None or model["state"] != "installed" or not model.get("folder"):
            return []
        try:
            manifest = json.loads((Path(model["folder"]) / MANIFEST_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it has gone since: what needs it will say so
            return []
        return list(manifest.get("quantities") or []) if isinstance(manifest, dict) else []

    def isBusy(self) -> bool:
        """Whether a transfer runs."""
        return self._transfer is not None

    def refresh(self, onDone: Callable[[], None] | None = None) -> None:
        """Ask for the list anew."""

        def take(values: dict[str, Any]) -> None:
            self.models, self.folder = values["models"], values["folder"]
            if values.get("problem"):
                self.problemOccurred.emit(Problem(values["problem"]))
            self.modelsChanged.emit(self.models)
            if onDone is not None:
                onDone()

        self.worker.request("models", onResult=take, onProblem=self.problemOccurred.emit)

    def download(self, name: str) -> None:
        """Fetch a model of the catalogue."""
        self._startTransfer("download", {"name": name})

    def importBundle(self, path: str, overwrite: bool = False) -> None:
        """Install a model from a folder, a zip file, or the address of one."""
        self._startTransfer("import_bundle", {"path": path, "overwrite": overwrite})

    def importPublished(self, arguments: dict[str, Any]) -> None:
        """Make a model of published checkpoints."""
        self._startTransfer("import_published", arguments)

    def addSource(self, source: str) -> None:
        """Add an address to the catalogue."""
        self._startTransfer("add_source", {"source": source})

    def cancelTransfer(self) -> None:
        """Give the transfer up; a download can be taken up again where it was."""
        if self._transfer is not None:
            self.worker.cancel(self._transfer)

    def verify(self, name: str) -> None:
        """Compare a model's files with their fingerprints."""

        def tell(values: dict[str, Any]) -> None:
            if values["problems"]:
                self.problemOccurred.emit(
                    Problem(
                        _("The model '{name}' is damaged: {problems}").format(
                            name=name, problems=" ".join(values["problems"])
                        ),
                        _("Get it again."),
                    )
                )
            else:
                self.informed.emit(_("The model '{name}' is whole and unchanged.").format(name=name))

        self.worker.request("verify", {"name": name}, onResult=tell, onProblem=self.problemOccurred.emit)

    def remove(self, name: str) -> None:
        """Delete a model that was downloaded or imported."""
        self.worker.request(
            "remove", {"name": name}, onResult=lambda _values: self.refresh(), onProblem=self.problemOccurred.emit
        )

    def withTerms(self, model: dict[str, Any], then: Callable[[], None]) -> None:
        """Do something with a model: at once, or when the user has accepted its terms, which are asked for once."""
        if model.get("accepted", True):
            then()
            return
        text = _(
            "The model {title} may be used under these terms ({name}):\n\n{conditions}\n\nDo you accept them?"
        ).format(title=model["title"], name=model["licence"]["name"], conditions=model["licence"]["conditions"])
        if slicer.util.confirmOkCancelDisplay(text, _("Terms of the model")):
            self.acceptLicence(model["name"], then)

    def acceptLicence(self, name: str, onDone: Callable[[], None]) -> None:
        """Remember that the user agreed to a model's terms; asked for once."""

        def take(_values: dict[str, Any]) -> None:
            model = self.model(name)
            if model is not None:
                model["accepted"] = True
            onDone()

        self.worker.request("accept_licence", {"name": name}, onResult=take, onProblem=self.problemOccurred.emit)

    def _startTransfer(self, command: str, arguments: dict[str, Any]) -> None:
        if self._transfer is not None:
            self.problemOccurred.emit(Problem(_("A download or import is running."), _("Wait for it, or cancel it.")))
            return

        def end() -> None:
            self._transfer = None
            self.transferChanged.emit()
            self.refresh()

        def fail(problem: Problem) -> None:
            end()
            self.problemOccurred.emit(problem)

        def succeed(values: dict[str, Any]) -> None:
            end()
            for note in values.get("notes", []):
                self.informed.emit(note)
            name = values.get("name") or (values.get("model") or {}).get("name")
            self.informed.emit(_("Done: {name}.").format(name=name))

        self._transfer = self.worker.request(
            command,
            arguments,
            onProgress=self.transferProgress.emit,
            onResult=succeed,
            onProblem=fail,
            onCancelled=end,
        )
        self.transferChanged.emit()
