from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .DeviceNote import deviceNote
from .GenerationRun import GenerationRun
from .GridFields import GridFields
from .ModelManager import ModelManager
from .PreviewPlayer import PreviewPlayer
from .Problem import Problem
from .Section import Section
from .Signal import Signal
from .SteeringRows import SteeringRows
from .WorkerClient import WorkerClient
from .WorkerRun import Later

PREVIEWS_A_RUN = 8
GUIDANCE_RANGE = (1.0, 5.0)


class GenerateSection(Section):
    """Widgets that order hearts.

    Args:
        ui, worker, parameterNode, later: As `Section`.
        models: The models.
        falseAlarm: () -> share of novel patients whom the gate may refuse.
        openvinoMissing: () -> whether OpenVINO is not installed.

    Attributes:
        generated: (browser nodes).
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        models: ModelManager,
        parameterNode: Callable[[], Any],
        later: Later,
        falseAlarm: Callable[[], float] = lambda: 0.05,
        openvinoMissing: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(ui, worker, parameterNode, later)
        self._models, self._falseAlarm, self._openvinoMissing = models, falseAlarm, openvinoMissing
        self.generated = Signal("generated")
        self._lastRun: GenerationRun | None = None
        self._preview = PreviewPlayer(ui.previewLabel)
        self._estimates: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._probe: dict[str, Any] | None = None
        self.controls = self.makeControls(
            (ui.generateButton, ui.progressBar, ui.progressLabel),
            _("Generate"),
            _("Make synthetic hearts with this model"),
            self._start,
            {
                "wait": _("Loading the model ..."),
                "load": _("Loading ..."),
                "denoise": _("Denoising"),
                "decode": _("Decoding"),
                "judge": _("Held against training patients"),
            },
            self._onDone,
        )
        self.controls.onProgress = self._onProgress

        self.steering = SteeringRows(ui.steeringFrame, self._onSteering)
        self.grid = GridFields(ui, self._onGrid)
        ui.deviceCombo.addItem(_("automatic"), "auto")
        ui.bundleCombo.connect("currentIndexChanged(int)", self._onBundle)
        ui.pathologyCombo.connect("currentIndexChanged(int)", self._onPathology)
        ui.deviceCombo.connect("currentIndexChanged(int)", self._onDevice)
        ui.backendCombo.connect("currentIndexChanged(int)", lambda _index: self._later(0, self.updateBackend))
        ui.presetCombo.connect("currentIndexChanged(int)", self._onTimingChanged)
        # by hand alone: a scene that is loaded keeps its guidance
        ui.presetCombo.connect("activated(int)", lambda _index: self._later(0, self._takePresetGuidance))
        ui.diceButton.connect("clicked(bool)", self._onDice)
        models.modelsChanged.connect(self._fillBundles)
        self.update()

    @property
    def run(self) -> GenerationRun | None:
        """The run that is on; None for none."""
        return self.controls.run

    def setProbe(self, probe: dict[str, Any]) -> None:
        """What the worker found this machine to have."""
        self._probe = probe
        combo = self.ui.deviceCombo
        node = self._parameterNode()
        wanted = node.device if node is not None else "auto"
        self._filling = True
        combo.clear()
        combo.addItem(_("automatic"), "auto")
        for device in probe["devices"]:
            memory = device.get("memory_bytes")
            text = f"{device['title']} ({memory / 1e9:.0f} GB)" if memory else device["title"]
            combo.addItem(text, device["name"])
        combo.setCurrentIndex(max(0, combo.findData(wanted)))
        self._filling = False
        if node is not None:
            node.device = self._device()  # a scene of another machine may name a device that is not here
        self._askForEstimate()
        self._showDeviceNote()

    def updateFromParameterNode(self) -> None:
        """Show what the parameter node says, where widgets are not bound to it by themselves."""
        node = self._parameterNode()
        if node is None:
            return
        self._filling = True
        self.ui.bundleCombo.setCurrentIndex(max(0, self.ui.bundleCombo.findData(node.bundle)))
        self._fillPathologies()
        self._fillSteering()
        self._fillGrid()
        self.ui.deviceCombo.setCurrentIndex(max(0, self.ui.deviceCombo.findData(node.device)))
        self._filling = False
        # a scene of another machine may name what is not here; before the lists have come nothing is known to be wrong
        if self.ui.bundleCombo.count and node.bundle != self.ui.bundleCombo.currentData:
            node.bundle = str(self.ui.bundleCombo.currentData or "")
        if self._probe is not None and node.device != self._device():
            node.device = self._device()
        self.update()

    def update(self, _unused: Any = None) -> None:
        self.controls.setReason(self._notReady or self._modelReason() or self._backendReason())
        self.ui.openvinoButton.setVisible(bool(self._backendReason()))
        self.ui.previewLabel.setVisible(self.run is not None)
        if self.run is None:
            self._preview.stop()
        self._updateGate()

    def cleanup(self) -> None:
        self._preview.cleanup()
        super().cleanup()

    def request(self) -> dict[str, Any]:
        """The order that the widgets describe."""
        node = self._parameterNode()
        pathology = node.pathology or None
        steps = node.steps or self._presetSteps(node.preset.value) or 25
        return {
            "bundle": node.bundle,
            "pathology": pathology,
            "guidance": node.guidance if self._hasAim() else None,
            "seed": node.seed,
            "count": node.count,
            "preset": node.preset.value,
            "sampler": node.sampler.value or None,
            "steps": node.steps or None,
            "device": node.device,
            "backend": node.backend.value,
            "preview_every": max(1, round(steps / PREVIEWS_A_RUN)),
            **self.steering.request(),
            **self.grid.request(),
        }

    def _modelReason(self) -> str:
        """Why the chosen model cannot be used; empty where it can."""
        model = self._model()
        if model is None:
            return str(_("There is no model: see the section Models"))
        if model["state"] != "installed":
            return str(_("This model is not installed: see the section Models"))
        return ""

    def _backendReason(self) -> str:
        """Why the chosen backend cannot be used; empty where it can."""
        if self._backend() == "openvino" and self._openvinoMissing():
            return str(_("OpenVINO is not installed: install it under Advanced, or choose PyTorch there"))
        return ""

    def updateBackend(self) -> None:
        """Another backend was chosen, or installed."""
        self.update()
        self._askForEstimate()
        self._showDeviceNote()

    def modelReason(self) -> str:
        """Why other sections cannot use the chosen model; empty where they can."""
        model = self._model()
        if model is not None and not model.get("accepted", True):
            return str(_("This model has terms: click Generate once, and accept them"))
        return self._modelReason()

    def settings(self) -> dict[str, Any]:
        """Of the order, what a model needs that completes or varies."""
        names = ("bundle", "pathology", "guidance", "seed", "preset", "steps", "device")
        chosen = {name: value for name, value in self.request().items() if name in names}
        return {**chosen, **self.steering.quantities()}

    def gate(self) -> dict[str, Any]:
        """What `GenerationRun` takes about the gate."""
        on = bool(self.ui.gateCheck.checked) and self._gateReason() == ""
        return {"gate": True, "falseAlarm": self._falseAlarm()} if on else {}

    # -- what the user does

    def _start(self, **callbacks: Any) -> GenerationRun | None:
        model = self._model()
        if model is None:
            return None
        if not model.get("accepted", True):
            self._models.withTerms(model, self.controls.start)
            return None
        self._lastRun = self.startRun(GenerationRun, self.request(), **self.gate(), **callbacks)
        return self._lastRun

    def _onDice(self, _checked: bool = False) -> None:
        node = self._parameterNode()
        if node is not None:
            node.seed = random.randrange(1 << 31)

    def _onBundle(self, _index: int) -> None:
        node = self._parameterNode()
        if self._filling or node is None:
            return
        node.bundle = str(self.ui.bundleCombo.currentData or "")
        self._setGuidance(self._presetGuidances().get(node.preset.value))
        self._filling = True
        self._fillPathologies()
        self._fillSteering()
        self._fillGrid()
        self._filling = False
        self.update()
        self._askForEstimate()
        self._showDeviceNote()

    def _onSteering(self) -> None:
        node = self._parameterNode()
        if self._filling or node is None:
            return
        others = {name: value for name, value in dict(node.asked).items() if name not in self.steering.rows}
        node.asked = {**others, **self.steering.asked()}
        self._updateGuidance()
        self._showDeviceNote()

    def _onGrid(self) -> None:
        node = self._parameterNode()
        if not self._filling and node is not None:
            wanted = self.grid.wanted()
            node.slices, node.frames = wanted["slices"], wanted["frames"]

    def _onPathology(self, _index: int) -> None:
        self._updateGuidance()
        node = self._parameterNode()
        if not self._filling and node is not None:
            node.pathology = str(self.ui.pathologyCombo.currentData or "")
            self._showDeviceNote()

    def _onDevice(self, _index: int) -> None:
        node = self._parameterNode()
        if not self._filling and node is not None:
            node.device = self._device()
            self._askForEstimate()
            self._showDeviceNote()

    def _takePresetGuidance(self) -> None:
        """A guidance that is some preset's goes along with the preset; one that was set by hand stays."""
        node, usual = self._parameterNode(), self._presetGuidances()
        if node is not None and node.guidance in usual.values():
            self._setGuidance(usual.get(node.preset.value))

    def _setGuidance(self, guidance: float | None) -> None:
        node = self._parameterNode()
        if guidance and node is not None:
            node.guidance = min(GUIDANCE_RANGE[1], max(GUIDANCE_RANGE[0], guidance))

    def _presetGuidances(self) -> dict[str, float]:
        presets = (self._model() or {}).get("presets") or {}
        return {name: float(preset.get("guidance") or 0) for name, preset in presets.items()}

    def _onTimingChanged(self, _index: int) -> None:
        # after the parameter node has taken the new value
        self._later(0, self._showDeviceNote)

    # -- what the worker tells

    def _onProgress(self, event: dict[str, Any]) -> None:
        if event.get("preview"):
            self._preview.show(event["preview"], int(event["preview_frames"]))

    def _onDone(self, browsers: list[Any]) -> None:
        run, text = self._lastRun, _("Done.")
        if run.rejected:
            text += " " + _("The gate refused {rejected} of {drawn} hearts.").format(
                rejected=run.rejected, drawn=run.drawn
            )
        self.ui.progressLabel.text = " ".join([text, *run.warnings])
        self.generated.emit(browsers)

    def _gateReason(self) -> str:
        """Why there can be no gate; empty where there can."""
        model = self._model()
        if model is None:
            return str(_("There is no model: see the section Models"))
        if not model.get("has_privacy"):
            return str(
                _("This model carries no training embeddings, so its hearts cannot be held against its training set")
            )
        return ""

    def _updateGate(self) -> None:
        reason = self._gateReason()
        self.ui.gateCheck.enabled = not reason and self.run is None
        self.ui.gateCheck.toolTip = reason or _(
            "A heart that is nearer to a training patient than novel patients are is drawn again; the rate of false "
            "alarms is set in the section Privacy"
        )

    # -- lists

    def _fillBundles(self, models: list[dict[str, Any]]) -> None:
        node = self._parameterNode()
        wanted = node.bundle if node is not None else ""
        combo = self.ui.bundleCombo
        self._filling = True
        combo.clear()
        for model in models:
            if model["state"] == "installed":
                combo.addItem(f"{model['title']} ({model['name']})", model["name"])
        index = combo.findData(wanted)
        combo.setCurrentIndex(max(0, index))
        self._fillPathologies()
        self._fillSteering()
        self._fillGrid()
        self._filling = False
        if node is not None and index < 0:
            node.bundle = str(combo.currentData or "")
        self.update()
        self._askForEstimate()
        self._showDeviceNote()

    def _fillPathologies(self) -> None:
        node = self._parameterNode()
        model = self._model() or {}
        combo = self.ui.pathologyCombo
        combo.clear()
        combo.addItem(_("any"), "")
        names = model.get("class_names", [])
        for name, title in zip(names, model.get("class_titles") or names):
            combo.addItem(title if title == name else f"{title} ({name})", name)
        index = combo.findData(node.pathology) if node is not None else 0
        combo.setCurrentIndex(max(0, index))
        if node is not None and index < 0 and model:  # before the list has come nothing is known to be wrong
            node.pathology = ""
        combo.enabled = bool(names)
        combo.toolTip = _("Kind of heart") if names else _("This model has no pathologies")
        self._updateGuidance()

    def _fillSteering(self) -> None:
        """Rows for what this model can be asked for; what a scene asks of other models is kept, and not sent."""
        node = self._parameterNode()
        asked = {} if node is None else dict(node.asked)
        self.steering.fill(self._models.quantities(str(self.ui.bundleCombo.currentData or "")), asked)
        self._updateGuidance()

    def _fillGrid(self) -> None:
        """Slices and frames, for models that make several; what a scene says for other models is kept, and not sent."""
        node = self._parameterNode()
        wanted = {"slices": 0, "frames": 0} if node is None else {"slices": node.slices, "frames": node.frames}
        self.grid.fill(self._model(), wanted)

    def _updateGuidance(self) -> None:
        """There has to be something to guide towards."""
        self.ui.guidanceSlider.enabled = self._hasAim()

    def _hasAim(self) -> bool:
        return bool(self.ui.pathologyCombo.currentData or self.steering.quantities())

    # -- how long it takes

    def _askForEstimate(self) -> None:
        """Let the worker load and time the model, so that the first heart comes without waiting."""
        node, model = self._parameterNode(), self._model()
        if self._probe is None or node is None or model is None or model["state"] != "installed":
            return
        if self._backendReason():
            return
        key = (node.bundle, self._device(), self._backend())
        if key in self._estimates or self.run is not None:
            return
        self._estimates[key] = {}

        def take(values: dict[str, Any]) -> None:
            self._estimates[key] = values
            self._showDeviceNote()

        def fail(problem: Problem) -> None:
            del self._estimates[key]
            self.problemOccurred.emit(problem)

        self._worker.request(
            "estimate",
            {"bundle": node.bundle, "device": key[1], "backend": key[2]},
            onResult=take,
            onProblem=fail,
            onCancelled=lambda: self._estimates.pop(key, None),
        )

    def forgetEstimates(self) -> None:
        """The worker has ended: what it had loaded is gone."""
        self._estimates.clear()

    def _showDeviceNote(self) -> None:
        node = self._parameterNode()
        if self._probe is None or node is None:
            return
        known = self._estimates.get((node.bundle, self._device(), self._backend())) or {}
        preset = known.get("presets", {}).get(node.preset.value)
        seconds = None
        if preset:
            seconds = preset["guided_seconds" if self._hasAim() and node.guidance != 1 else "seconds"]
            if self.steering.quantities():
                # Such hearts are drawn again to come near; a worker of an earlier version does not tell.
                seconds = preset.get("steered_seconds", seconds)
        self.ui.deviceLabel.text, self.ui.deviceLabel.toolTip = deviceNote(self._probe, seconds)

    def _presetSteps(self, name: str) -> int | None:
        preset = ((self._model() or {}).get("presets") or {}).get(name)
        return None if preset is None else int(preset["steps"])

    def _device(self) -> str:
        return str(self.ui.deviceCombo.currentData or "auto")

    def _backend(self) -> str:
        node = self._parameterNode()
        return "torch" if node is None else str(node.backend.value)

    def _model(self) -> dict[str, Any] | None:
        return self._models.model(str(self.ui.bundleCombo.currentData or ""))
