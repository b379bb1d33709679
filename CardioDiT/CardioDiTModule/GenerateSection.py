from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from .GenerationRun import GenerationRun
from .Machine import hasNvidiaDriver, ownNiceness
from .ModelManager import ModelManager
from .PreviewPlayer import PreviewPlayer
from .Problem import Problem
from .Signal import Signal
from .SteeringRows import SteeringRows
from .WorkerClient import WorkerClient

PREVIEWS_A_RUN = 8
GUIDANCE_RANGE = (1.0, 5.0)
NICE_FROM = 10
"""Priority from which it is said; 0 is that of ordinary programs, 19 the lowest."""


class GenerateSection:
    """Widgets that order hearts.

    Args:
        ui: The module's widgets.
        worker: The worker client.
        models: The models.
        parameterNode: () -> the module's parameter node, or None.
        later: (milliseconds, callback).
        falseAlarm: () -> share of novel patients whom the gate may refuse.

    Attributes:
        generated: (browser nodes).
        problemOccurred: (problem).
    """

    def __init__(
        self,
        ui: Any,
        worker: WorkerClient,
        models: ModelManager,
        parameterNode: Callable[[], Any],
        later: Callable[[int, Callable[[], None]], None],
        falseAlarm: Callable[[], float] = lambda: 0.05,
    ) -> None:
        self.ui, self._worker, self._models = ui, worker, models
        self._falseAlarm = falseAlarm
        self._parameterNode, self._later = parameterNode, later
        self.generated = Signal("generated")
        self.problemOccurred = Signal("generation problem")
        self.run: GenerationRun | None = None
        self._preview = PreviewPlayer(ui.previewLabel)
        self._estimates: dict[tuple[str, str], dict[str, Any]] = {}
        self._probe: dict[str, Any] | None = None
        self._notReady = _("The worker is starting")
        self._filling = False

        self.steering = SteeringRows(ui.steeringFrame, self._onSteering)
        ui.deviceCombo.addItem(_("automatic"), "auto")
        ui.bundleCombo.connect("currentIndexChanged(int)", self._onBundle)
        ui.pathologyCombo.connect("currentIndexChanged(int)", self._onPathology)
        ui.deviceCombo.connect("currentIndexChanged(int)", self._onDevice)
        ui.presetCombo.connect("currentIndexChanged(int)", self._onTimingChanged)
        ui.diceButton.connect("clicked(bool)", self._onDice)
        ui.generateButton.connect("clicked(bool)", self._onGenerate)
        models.modelsChanged.connect(self._fillBundles)
        self._showRunning(False)

    def setNotReady(self, reason: str) -> None:
        """Why hearts cannot be ordered now; empty where they can."""
        self._notReady = reason
        self.updateButton()

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
        self.ui.deviceCombo.setCurrentIndex(max(0, self.ui.deviceCombo.findData(node.device)))
        self._filling = False
        self.updateButton()

    def updateButton(self) -> None:
        """Generate or Cancel, enabled or not, and why not."""
        self._updateGate()
        button = self.ui.generateButton
        if self.run is not None:
            button.text, button.enabled = _("Cancel"), True
            button.toolTip = _("Stop; the scene stays as it is")
            return
        reason = self._notReady or self._modelReason()
        button.text = _("Generate")
        button.enabled = not reason
        button.toolTip = reason or _("Make synthetic hearts with this model")

    def cancel(self) -> None:
        """Give up a run, if there is one."""
        if self.run is not None:
            self.run.cancel()
            self.ui.generateButton.enabled = False
            self.ui.progressLabel.text = _("Cancelling ...")

    def cleanup(self) -> None:
        """The widgets go, or are gone: a run that is on is given up, and nobody hears of it."""
        self._preview.cleanup()
        run, self.run = self.run, None
        if run is not None:
            run.abandon()

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
            "preview_every": max(1, round(steps / PREVIEWS_A_RUN)),
            **self.steering.request(),
        }

    def _modelReason(self) -> str:
        """Why the chosen model cannot be used; empty where it can."""
        model = self._model()
        if model is None:
            return str(_("There is no model: see the section Models"))
        if model["state"] != "installed":
            return str(_("This model is not installed: see the section Models"))
        return ""

    def modelReason(self) -> str:
        """Why other sections cannot use the chosen model; empty where they can."""
        model = self._model()
        if model is not None and not model.get("accepted", True):
            return str(_("This model has terms: click Generate once, and accept them"))
        return self._modelReason()

    def settings(self) -> dict[str, Any]:
        """Of the order, what a model needs that completes or varies."""
        names = ("bundle", "pathology", "guidance", "seed", "preset", "steps", "device")
        return {name: value for name, value in self.request().items() if name in names}

    def gate(self) -> dict[str, Any]:
        """What `GenerationRun` takes about the gate."""
        on = bool(self.ui.gateCheck.checked) and self._gateReason() == ""
        return {"gate": True, "falseAlarm": self._falseAlarm()} if on else {}

    # -- what the user does

    def _onGenerate(self, _checked: bool = False) -> None:
        if self.run is not None:
            self.cancel()
            return
        model = self._model()
        if model is None:
            return
        if not model.get("accepted", True):
            self._askForLicence(model)
            return
        self._start()

    def _askForLicence(self, model: dict[str, Any]) -> None:
        licence = model["licence"]
        text = _(
            "The model {title} may be used under these terms ({name}):\n\n{conditions}\n\nDo you accept them?"
        ).format(title=model["title"], name=licence["name"], conditions=licence["conditions"])
        if slicer.util.confirmOkCancelDisplay(text, _("Terms of the model")):
            self._models.acceptLicence(model["name"], self._start)

    def _start(self) -> None:
        if self.run is not None:
            return
        self.run = GenerationRun(
            self._worker,
            self.request(),
            self._later,
            onProgress=self._onProgress,
            onDone=self._onDone,
            onProblem=self._onProblem,
            onCancelled=self._onCancelled,
            **self.gate(),
        )
        self._showRunning(True)
        self.ui.progressLabel.text = _("Loading the model ...")
        self.run.start()

    def _onDice(self, _checked: bool = False) -> None:
        node = self._parameterNode()
        if node is not None:
            node.seed = random.randrange(1 << 31)

    def _onBundle(self, _index: int) -> None:
        node = self._parameterNode()
        if self._filling or node is None:
            return
        node.bundle = str(self.ui.bundleCombo.currentData or "")
        preset = ((self._model() or {}).get("presets") or {}).get(node.preset.value) or {}
        if preset.get("guidance"):
            node.guidance = min(GUIDANCE_RANGE[1], max(GUIDANCE_RANGE[0], float(preset["guidance"])))
        self._filling = True
        self._fillPathologies()
        self._fillSteering()
        self._filling = False
        self.updateButton()
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

    def _onTimingChanged(self, _index: int) -> None:
        # after the parameter node has taken the new value
        self._later(0, self._showDeviceNote)

    # -- what the worker tells

    def _onProgress(self, event: dict[str, Any]) -> None:
        self.ui.progressBar.value = round(100 * float(event.get("fraction") or 0.0))
        stage = event["stage"]
        if stage == "load":
            text = _("Loading ...")
        else:
            what = {"denoise": _("Denoising"), "judge": _("Held against training patients")}.get(stage, _("Decoding"))
            text = _("{what}: {step} of {of}").format(what=what, step=event["step"], of=event["of"])
            if event.get("eta_s") is not None:
                text += _(", {seconds:.0f} s left").format(seconds=event["eta_s"])
        if not self._isCancelling():
            self.ui.progressLabel.text = text
        if event.get("preview"):
            self._preview.show(event["preview"], int(event["preview_frames"]))

    def _onDone(self, browsers: list[Any]) -> None:
        text = _("Done.")
        if self.run is not None and self.run.rejected:
            text += " " + _("The gate refused {rejected} of {drawn} hearts.").format(
                rejected=self.run.rejected, drawn=self.run.drawn
            )
        if self.run is not None:
            text = " ".join([text, *self.run.warnings])
        self._endRun(text)
        self.generated.emit(browsers)

    def _onProblem(self, problem: Problem) -> None:
        self._endRun("")
        self.problemOccurred.emit(problem)

    def _onCancelled(self) -> None:
        self._endRun(_("Cancelled."))

    def _endRun(self, text: str) -> None:
        self.run = None
        self._preview.stop()
        self._showRunning(False)
        self.ui.progressLabel.text = text

    def _showRunning(self, running: bool) -> None:
        self.ui.progressBar.setVisible(running)
        self.ui.progressBar.value = 0
        self.ui.previewLabel.setVisible(running)
        self.updateButton()

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

    def _isCancelling(self) -> bool:
        return self.run is not None and not self.ui.generateButton.enabled

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
        self._filling = False
        if node is not None and index < 0:
            node.bundle = str(combo.currentData or "")
        self.updateButton()
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
        key = (node.bundle, self._device())
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
            {"bundle": node.bundle, "device": key[1]},
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
        parts = []
        if not self._probe["has_gpu"]:
            parts.append(
                _("No graphics card was found that can be used: computing on the processor ({cores} cores).").format(
                    cores=self._probe["processors"]
                )
            )
        preset = (self._estimates.get((node.bundle, self._device())) or {}).get("presets", {}).get(node.preset.value)
        if preset:
            seconds = preset["guided_seconds" if self._hasAim() and node.guidance != 1 else "seconds"]
            parts.append(_("About {seconds:.0f} s a heart.").format(seconds=max(1.0, seconds)))
        self._noteUnusedGpu(parts)
        niceness = ownNiceness()
        self.ui.deviceLabel.toolTip = ""
        if niceness >= NICE_FROM:
            parts.append(_("Slicer runs at low priority here: other programs go first."))
            self.ui.deviceLabel.toolTip = _(
                "On Linux Slicer gives itself the priority {nice}, and the worker inherits it: beside other programs "
                "that compute, it hardly gets on. Start Slicer with the environment variable "
                "SLICER_BACKGROUND_THREAD_PRIORITY=0 to avoid it."
            ).format(nice=niceness)
        self.ui.deviceLabel.text = " ".join(parts)

    def _noteUnusedGpu(self, parts: list[str]) -> None:
        """Say why a graphics card that is there is not offered."""
        if self._probe is None or self._probe["has_gpu"] or not hasNvidiaDriver():
            return
        version = str((self._probe.get("versions") or {}).get("torch") or "")
        parts[:1] = [
            _(
                "There is an NVIDIA graphics card, but the installed PyTorch ({version}) was made for the processor "
                "alone: uninstall it in the module PyTorch Util, restart Slicer, and install it there with CUDA."
            ).format(version=version)
            if "+cpu" in version
            else _(
                "There is an NVIDIA graphics card, but PyTorch ({version}) cannot use it: its driver may be too old, "
                "or PyTorch was made for the processor alone (module PyTorch Util)."
            ).format(version=version)
        ]

    def _presetSteps(self, name: str) -> int | None:
        preset = ((self._model() or {}).get("presets") or {}).get(name)
        return None if preset is None else int(preset["steps"])

    def _device(self) -> str:
        return str(self.ui.deviceCombo.currentData or "auto")

    def _model(self) -> dict[str, Any] | None:
        return self._models.model(str(self.ui.bundleCombo.currentData or ""))
