import enum
import logging
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import qt
import slicer
import vtk
from slicer import vtkMRMLSequenceBrowserNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class CardioDiT(ScriptedLoadableModule):
    """Introduces the module to Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CardioDiT")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Cardiac")]
        self.parent.dependencies = ["Sequences", "Markups", "Segmentations", "Tables", "Plots"]
        self.parent.contributors = ["CardioDiT contributors"]
        self.parent.helpText = _(
            "Makes synthetic beating short-axis heart MRI (3D+t cine) on this computer. Choose a pathology and a seed, "
            "click Generate, and watch the heart beat; find landmarks and measure its function. Synthetic images are "
            "for research only, not for diagnosis. "
            'See the <a href="https://github.com/Cardio-AI/SlicerCardioDiT">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "Follows CardioDiT (arXiv 2603.25194). The embedded model was trained on ACDC (Bernard et al., IEEE TMI "
            "2018) and carries its terms, CC BY-NC-SA 4.0."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the sample cine in the module Sample Data."""
    from CardioDiTModule import SampleDataSources

    SampleDataSources.registerSampleData()


class Preset(enum.Enum):
    """Quality settings; values are the names of a bundle's presets."""

    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"

    def label(self):
        return {Preset.DRAFT: _("Draft"), Preset.STANDARD: _("Standard"), Preset.HIGH: _("High")}[self]


class Sampler(enum.Enum):
    """Samplers; values are the library's names."""

    BY_QUALITY = ""
    DPMPP_2M = "dpmpp_2m"
    DDIM = "ddim"
    DDPM = "ddpm"

    def label(self):
        return {
            Sampler.BY_QUALITY: _("by quality"),
            Sampler.DPMPP_2M: "DPM-Solver++ (2M)",
            Sampler.DDIM: "DDIM",
            Sampler.DDPM: "DDPM",
        }[self]


@parameterNodeWrapper
class CardioDiTParameterNode:
    """What is saved with the scene.

    bundle - Name of the model.
    pathology - Its class; empty for any.
    guidance - Strength of guidance towards the pathology and what is asked for.
    asked - Quantities that hearts are to have and their heart rate, by name; what is absent may be any.
    seed, count - Which hearts, how many.
    preset, sampler, steps - Quality; 0 steps for those of the preset.
    device - Where to compute.
    browser - The cine that is shown.
    gate, falseAlarm - Whether hearts too near to a training patient are drawn again; share of false alarms, in percent.
    auditCines, auditAgainst - What is audited, and against what. Folders are not saved: they may be named like
        patients.
    completionTask, variationStrength - Whether gaps are filled or a variation is made, and how far it may go.
    swapPoints - Exchange anterior and inferior.
    folderMeasure, folderLandmarks, folderAudit, folderExport - What is done with a folder of cines.
    """

    bundle: str = "acdc-mini"
    pathology: str = ""
    guidance: Annotated[float, WithinRange(1, 5)] = 1.5
    asked: dict[str, float]
    seed: Annotated[int, WithinRange(0, 2147483647)] = 7
    count: Annotated[int, WithinRange(1, 100)] = 1
    preset: Preset = Preset.STANDARD
    sampler: Sampler = Sampler.BY_QUALITY
    steps: Annotated[int, WithinRange(0, 1000)] = 0
    device: str = "auto"
    browser: vtkMRMLSequenceBrowserNode
    gate: bool = False
    falseAlarm: Annotated[float, WithinRange(0.1, 50)] = 5.0
    auditCines: str = "selected"
    auditAgainst: str = "model"
    swapPoints: bool = False
    completionTask: str = "complete"
    variationStrength: Annotated[float, WithinRange(0, 1)] = 0.5
    folderMeasure: bool = True
    folderLandmarks: bool = True
    folderAudit: bool = False
    folderExport: str = ""


class CardioDiTWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Puts the sections together; each is a class of its own in CardioDiTModule."""

    def __init__(self, parent=None):
        # first, because without a parent the base class calls `setup` itself
        self.logic = None
        self.generate = self.play = self.landmarks = self.function = self.privacy = self.export = self.models = None
        self.folder = self.completion = self.stillWhileEdited = self._life = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._probed = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from CardioDiTModule.CompletionSection import CompletionSection
        from CardioDiTModule.ExportSection import ExportSection
        from CardioDiTModule.FolderSection import FolderSection
        from CardioDiTModule.FunctionSection import FunctionSection
        from CardioDiTModule.GenerateSection import GenerateSection
        from CardioDiTModule.InstallLogic import InstallLogic
        from CardioDiTModule.LandmarksSection import LandmarksSection
        from CardioDiTModule.ModelsSection import ModelsSection
        from CardioDiTModule.PanelLife import PanelLife, PanelWorker
        from CardioDiTModule.PlaySection import PlaySection
        from CardioDiTModule.PrivacySection import PrivacySection
        from CardioDiTModule.SharedWorker import later as sharedLater
        from CardioDiTModule.StillWhileEdited import StillWhileEdited

        self.logic = CardioDiTLogic()
        # whatever calls into the panel later goes through these two, which fall silent when it goes
        self._life = PanelLife(sharedLater)
        later, worker = self._life.later, PanelWorker(self.logic.worker, self._life)
        self.installLogic = InstallLogic(Path(self.resourcePath("requirements.txt")))
        top = slicer.util.loadUI(self.resourcePath("UI/CardioDiT.ui"))
        self.layout.addWidget(top)
        self.ui = slicer.util.childWidgetVariables(top)
        for section in (
            *("Generate", "Play", "Landmarks", "Function", "Privacy"),
            *("Completion", "Export", "Folder", "Models"),
        ):
            part = slicer.util.loadUI(self.resourcePath(f"UI/{section}Section.ui"))
            getattr(self.ui, f"{section.lower()}Collapsible").layout().addWidget(part)
        # once more: now with the widgets of the sections
        self.ui = slicer.util.childWidgetVariables(top)
        top.setMRMLScene(slicer.mrmlScene)
        self.ui.PlaySection.setMRMLScene(slicer.mrmlScene)
        self.ui.FunctionSection.setMRMLScene(slicer.mrmlScene)
        self.ui.PrivacySection.setMRMLScene(slicer.mrmlScene)
        self.ui.FolderSection.setMRMLScene(slicer.mrmlScene)

        self.panelWorker = worker
        manager = self.logic.modelManager
        manager.worker = worker  # it serves this panel alone
        self.privacy = PrivacySection(self.ui, worker, manager.hasPrivacy, later, self.parameterNode)
        self.generate = GenerateSection(
            self.ui, worker, manager, self.parameterNode, later, lambda: self.privacy.falseAlarm
        )
        self.play = PlaySection(self.ui, self.parameterNode)
        self.landmarks = LandmarksSection(self.ui, worker, self.parameterNode, later)
        self.function = FunctionSection(self.ui, worker, self.parameterNode, later)
        self.completion = CompletionSection(
            self.ui, worker, self.parameterNode, self.generate.settings, self.generate.modelReason, later
        )
        self.completion.made.connect(self.onGenerated)
        self.export = ExportSection(self.ui, worker, self.play.browser)
        self.folder = FolderSection(self.ui, worker, self.parameterNode, self.privacy.against, later)
        self.models = ModelsSection(self.ui, manager, worker, self.resourcePath("UI/PublishedImportDialog.ui"))
        self.generate.generated.connect(self.onGenerated)
        self.privacy.audited.connect(self.export.updateButtons)
        manager.modelsChanged.connect(self.privacy.update)
        manager.modelsChanged.connect(self.completion.update)
        for section in (
            self.generate,
            self.landmarks,
            self.function,
            self.privacy,
            self.completion,
            self.export,
            self.folder,
            self.models,
        ):
            section.problemOccurred.connect(self.showProblem)
        self.logic.worker.logged.connect(self.onLogged)
        self.logic.worker.ended.connect(self.onWorkerEnded)
        self.ui.browserSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onBrowserChosen)
        # once more when the section Play has put it into the views
        self.ui.browserSelector.connect("nodeActivated(vtkMRMLNode*)", self.onBrowserChosen)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.picturesButton.connect("clicked(bool)", self.onInstallForPictures)
        self.ui.copyLogButton.connect("clicked(bool)", self.onCopyLog)
        self.ui.dismissButton.connect("clicked(bool)", self.onDismiss)
        self.ui.problemFrame.setVisible(False)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self.stillWhileEdited = StillWhileEdited()
        self.initializeParameterNode()

    def cleanup(self):
        """The panel goes, and its widgets may be gone already: what is under way is given up, and whatever comes later
        finds nobody. Each part is let go of whatever becomes of the others.
        """
        if self._life is not None:
            self._life.end()
        self.removeObservers()
        if self.logic is not None:
            self.logic.worker.logged.disconnect(self.onLogged)
            self.logic.worker.ended.disconnect(self.onWorkerEnded)
            self.logic.modelManager.disconnectAll()
        for part in (*self._sections(), self.stillWhileEdited):
            with suppress(ValueError, RuntimeError):
                part.cleanup()
        with suppress(ValueError, RuntimeError):
            self.setParameterNode(None)

    def _sections(self):
        """Those that have been made."""
        sections = (
            self.generate,
            self.play,
            self.landmarks,
            self.function,
            self.privacy,
            self.completion,
            self.export,
            self.folder,
            self.models,
        )
        return [section for section in sections if section is not None]

    def enter(self):
        """The user opens the module: see what is installed, and let the worker get warm."""
        self.initializeParameterNode()
        self.updateSetup()
        self.takeOnlyCine()
        self.onBrowserChosen(None)

    def onReload(self):
        """Developers: load the module and its parts anew; the worker ends first."""
        from CardioDiTModule.SharedWorker import stopSharedWorker

        self._giveUpRun()
        stopSharedWorker()
        for name in [name for name in sys.modules if name.split(".")[0] in ("CardioDiTModule", "CardioDiTLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        again = getattr(slicer.modules, "CardioDiTWidget", None)
        if again is not None and again is not self:
            again.enter()  # the panel is open, and nobody else tells the new widget

    def parameterNode(self):
        """The wrapped parameter node; None while there is none."""
        return self._parameterNode

    def initializeParameterNode(self):
        """Take the scene's parameter node, made if need be."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        """Bind the widgets to a parameter node, or to none."""
        before = self._parameterNode
        same = before is not None and node is not None and before.parameterNode is node.parameterNode
        if not same:
            if before is not None:
                before.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNode, self._parameterNodeGuiTag = node, None
            if node is not None:
                # not connectGui: in some versions of Slicer it keeps the tag to itself, and nothing could be undone
                named = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
                self._parameterNodeGuiTag = node.connectParametersToGui({k: w for k, w in named.items() if k})
        if node is not None:
            for section in (self.generate, self.privacy, self.completion, self.folder):
                section.updateFromParameterNode()

    def updateSetup(self):
        """Show what is missing; where nothing is, let the worker look at the machine, once."""
        state = self.installLogic.state()
        self.ui.setupFrame.setVisible(not state.isComplete)
        self.ui.setupLabel.text = state.text()
        reason = "" if state.isComplete else _("Python packages are missing: see the top of this panel")
        self.models.setNotReady(reason)
        self.ui.picturesButton.setVisible(state.isComplete and bool(self.installLogic.missingForPictures()))
        if not state.isComplete:
            self._setNotReady(reason)
        elif not self._probed:
            self._probed = True
            self._setNotReady(_("The worker is starting"))
            self.logic.modelManager.refresh()
            self.panelWorker.request("probe", onResult=self.onProbed, onProblem=self.onProbeFailed)

    def _setNotReady(self, reason):
        for section in (
            *(self.generate, self.landmarks, self.function, self.privacy),
            *(self.completion, self.folder),
        ):
            section.setNotReady(reason)

    def onProbed(self, values):
        self._setNotReady("")
        self.generate.setProbe(values)

    def onProbeFailed(self, problem):
        self._probed = False
        self._setNotReady(problem.text())
        self.showProblem(problem)

    def onInstall(self, _checked=False):
        """Ask, then install."""
        from CardioDiTModule.Problem import CardioDiTProblem

        question = _("{text}\n\nThis changes Slicer's Python for all modules. Go on?").format(
            text=self.installLogic.state().text()
        )
        if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages")):
            return
        self.logic.worker.stop(wait=True)
        try:
            self.installLogic.install()
        except CardioDiTProblem as error:
            self.showProblem(error.problem)
        self._probed = False
        self.updateSetup()

    def onInstallForPictures(self, _checked=False):
        """Ask, then install what the bullseye and the pages with pictures need."""
        from CardioDiTModule.InstallLogic import PICTURES_SIZE_TEXT
        from CardioDiTModule.Problem import CardioDiTProblem

        question = _(
            "To be installed into Slicer's Python: {packages} (about {size}).\n\n"
            "This changes Slicer's Python for all modules. Go on?"
        ).format(packages=", ".join(self.installLogic.missingForPictures()), size=PICTURES_SIZE_TEXT)
        if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages")):
            return
        self.logic.worker.stop(wait=True)
        try:
            self.installLogic.installForPictures()
        except CardioDiTProblem as error:
            self.showProblem(error.problem)
        self.updateSetup()

    def onGenerated(self, browsers):
        self.play.show(browsers[0])
        self.onBrowserChosen(None)

    def onBrowserChosen(self, _node):
        """The sections show what belongs to the cine that is chosen."""
        self.landmarks.setBrowser(self.play.browser())
        self.function.setBrowser(self.play.browser())
        self.privacy.setBrowser(self.play.browser())
        self.completion.setBrowser(self.play.browser())
        self.export.updateButtons()

    def onWorkerEnded(self, problem):
        """Its loaded networks are gone; the next order starts another."""
        self.generate.forgetEstimates()
        if problem is not None:
            logging.warning("CardioDiT: %s", problem.message)

    def showProblem(self, problem):
        """One sentence and what to do next; the log is a click away."""
        self.ui.problemLabel.text = problem.text()
        self.ui.problemFrame.setVisible(True)
        logging.error("CardioDiT: %s", problem.text())

    def onDismiss(self, _checked=False):
        self.ui.problemFrame.setVisible(False)

    def onCopyLog(self, _checked=False):
        text = f"{self.ui.problemLabel.text}\n\n{self.logic.worker.logText()}\n"
        qt.QApplication.clipboard().setText(text)

    def onLogged(self, line):
        self.ui.logText.appendPlainText(line)

    def onSceneStartClose(self, _caller, _event):
        self._giveUpRun()
        self.play.setBrowser(None)
        self.landmarks.setBrowser(None)
        self.function.forgetScene()
        self.privacy.forgetScene()
        self.completion.setBrowser(None)
        self.folder.forgetScene()
        self.setParameterNode(None)

    def onSceneEndClose(self, _caller, _event):
        # an empty scene stays empty where nobody looks: `enter` makes the node later
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, _caller, _event):
        """Widgets that do not know the new nodes yet must not write into the settings that are being read."""
        self.setParameterNode(None)

    def onSceneEndImport(self, _caller, _event):
        """A scene was loaded: its settings are shown, also where widgets are not bound by themselves."""
        if self.parent.isEntered:
            self.initializeParameterNode()
            self.takeOnlyCine()
            self.onBrowserChosen(None)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, _caller, _event, node):
        """A cine may have been loaded: its browser gets its sequence only after it has come into the scene."""
        if node.IsA("vtkMRMLSequenceBrowserNode"):
            self._life.later(0, self.takeOnlyCine)

    def takeOnlyCine(self):
        """Where no cine is chosen and the scene holds just one, choose it: what else could be meant?"""
        from CardioDiTModule.PlaySection import onlyCine

        if self._parameterNode is None or not self.parent.isEntered or slicer.mrmlScene.IsImporting():
            return
        if (
            self.generate.run is not None or self.completion.controls.run is not None
        ):  # whose cine may be half built; it is shown when it is whole
            return
        if self._parameterNode.browser is None:
            browser = onlyCine()
            if browser is not None:
                self._parameterNode.browser = browser

    def _giveUpRun(self):
        for section in (
            *(self.generate, self.landmarks, self.function, self.privacy),
            *(self.completion, self.folder),
        ):
            if section is not None:
                section.cancel()


class CardioDiTLogic(ScriptedLoadableModuleLogic):
    """For scripts, and for the widgets.

    Example:
        >>> logic = CardioDiTLogic()  # doctest: +SKIP
        >>> browser = logic.generate(seed=7, pathology="DCM")  # doctest: +SKIP
        >>> logic.export(browser, "heart.nii.gz")  # doctest: +SKIP
        >>> landmarks = logic.detectLandmarks(browser)  # doctest: +SKIP
        >>> logic.measureFunction(browser)["ef_percent"]  # doctest: +SKIP
        >>> logic.functionReport(browser, "heart.html")  # doctest: +SKIP
        >>> logic.audit([browser])[0]["verdict"]  # doctest: +SKIP
    """

    def __init__(self, worker=None):
        ScriptedLoadableModuleLogic.__init__(self)
        from CardioDiTModule.ModelManager import ModelManager
        from CardioDiTModule.SharedWorker import sharedWorker

        self.worker = worker if worker is not None else sharedWorker()
        self.modelManager = ModelManager(self.worker)

    def getParameterNode(self):
        return CardioDiTParameterNode(super().getParameterNode())

    def generate(self, show: bool = True, gate: bool = False, falseAlarm: float = 0.05, **request: Any):
        """Make hearts and wait for them; the application stays alive meanwhile.

        Args:
            show: Put the first into the slice views.
            gate: Draw again what lies too near to a training patient; the model has to carry training embeddings.
            falseAlarm: Of the gate: share of novel patients who are refused.
            **request: Entries of `CardioDiTLib.GenerationRequest`: seed, count, pathology, guidance, preset, steps,
                sampler, bundle, device, cycle_s; where the model can be steered also edv_ml, ef_percent, lv_mass_g,
                lv_slices (`models()` lists models, their bundle.json what they can be asked for). What is to be known
                about the request is logged as a warning.

        Returns:
            The sequence browser node; a list of them where count is more than 1. Where the model makes labels, they
            are a segmentation of the same browser, as `segment` makes it.

        Raises:
            CardioDiTProblem: It did not work; the text says why and what to do.
            GenerationCancelled: Somebody cancelled.
        """
        from CardioDiTModule.PlaySection import showCine
        from CardioDiTModule.Problem import CardioDiTProblem, GenerationCancelled

        ends = []
        run = self.generateAsync(
            onDone=lambda browsers: ends.append(browsers),
            onProblem=lambda problem: ends.append(CardioDiTProblem(problem)),
            onCancelled=lambda: ends.append(GenerationCancelled()),
            gate=gate,
            falseAlarm=falseAlarm,
            **request,
        )
        self._waitFor(ends, run.cancel)
        if isinstance(ends[0], Exception):
            raise ends[0]
        browsers = ends[0]
        for warning in run.warnings:
            logging.warning("CardioDiT: %s", warning)
        if show:
            showCine(browsers[0])
        return browsers[0] if len(browsers) == 1 else browsers

    def generateAsync(
        self,
        onProgress=None,
        onDone=None,
        onProblem=None,
        onCancelled=None,
        gate: bool = False,
        falseAlarm: float = 0.05,
        **request: Any,
    ):
        """Make hearts in the background.

        Args:
            onProgress: (event: dict with stage, step, of, fraction, eta_s).
            onDone: (browser nodes).
            onProblem: (problem with message and hint).
            onCancelled: ().
            gate, falseAlarm, **request: As for `generate`.

        Returns:
            The run; `run.cancel()` gives it up.
        """
        from CardioDiTModule.GenerationRun import GenerationRun
        from CardioDiTModule.SharedWorker import later

        request.setdefault("seed", random.randrange(1 << 31))
        run = GenerationRun(
            self.worker,
            request,
            later,
            onProgress=onProgress,
            onDone=onDone,
            onProblem=onProblem,
            onCancelled=onCancelled,
            gate=gate,
            falseAlarm=falseAlarm,
        )
        return run.start()

    def models(self) -> list:
        """All models: a list of dicts with name, title, version, licence, state, class_names and more."""
        return self._ask("models")["models"]

    def download(self, name: str, acceptLicence: bool = False) -> str:
        """Fetch a model and wait for it; returns its folder.

        Args:
            name: Of the catalogue, or an address.
            acceptLicence: You have read the model's terms and accept them.

        Raises:
            CardioDiTProblem: It did not work, or the terms were not accepted; the text holds them then.
        """
        from CardioDiTModule.Problem import CardioDiTProblem, Problem

        model = next((model for model in self.models() if model["name"] == name), None)
        if model is not None and not model.get("accepted", True):
            if not acceptLicence:
                raise CardioDiTProblem(
                    Problem(
                        f"'{name}' has terms: {model['licence']['name']}. {model['licence']['conditions']}",
                        "If you accept them: download(name, acceptLicence=True).",
                    )
                )
            self._ask("accept_licence", name=name)
        return self._ask("download", name=name)["folder"]

    def export(self, browser, path: str, multiFrame: bool = False) -> str:
        """Write a cine and wait for it.

        Args:
            browser: The sequence browser node of the cine.
            path: Ends in .nii.gz, .nii, .seq.nrrd or .nrrd; or in .dcm, then it is a folder of DICOM images.
            multiFrame: DICOM only: one multi-frame file in place of the folder.

        Returns:
            The path.
        """
        from CardioDiTModule.ExportSection import exportCine

        return self._exported(exportCine, browser, str(path), multiFrame=multiFrame)

    def exportToDatabase(self, browser) -> int:
        """Copy a cine as DICOM images into Slicer's DICOM database and wait for it; returns how many images."""
        from CardioDiTModule.ExportSection import exportToDatabase

        return self._exported(exportToDatabase, browser)

    def _exported(self, export, browser, *arguments: Any, **options: Any) -> Any:
        from CardioDiTModule.Problem import CardioDiTProblem

        ends = []

        def fail(problem):
            ends.append(CardioDiTProblem(problem))

        order = export(self.worker, browser, *arguments, ends.append, fail, **options)
        self._waitFor(ends, lambda: self.worker.cancel(order))
        if isinstance(ends[0], Exception):
            raise ends[0]
        return ends[0]

    def segment(self, browser, device: str = "auto"):
        """Label both ventricles and the myocardium of a cine and wait for it; what was there is replaced.

        Args:
            browser: The sequence browser node of the cine.
            device: Where to compute.

        Returns:
            The segmentation sequence node; `browser.GetProxyNode` of it is the segmentation that is shown.

        Raises:
            CardioDiTProblem: It did not work; the text says why and what to do.
            GenerationCancelled: Somebody cancelled.
        """
        from CardioDiTModule.MeasurementRuns import segmentationRun

        return self._runAndWait(segmentationRun, browser, device=device)

    def detectLandmarks(self, browser, device: str = "auto", swap: bool = False):
        """Find the right-ventricular insertion points of a cine and wait for it; what was there is replaced. A
        segmentation that is there is taken into account. Errors as for `segment`.

        Args:
            browser: The sequence browser node of the cine.
            device: Where to compute.
            swap: Exchange anterior and inferior, for pictures that were mirrored and do not say so.

        Returns:
            The sequence node of point lists; `browser.GetProxyNode` of it is the list that is shown.
        """
        from CardioDiTModule.MeasurementRuns import landmarkRun

        return self._runAndWait(landmarkRun, browser, device=device, swap=swap)

    def measureFunction(self, browser, heartRateBpm: float | None = None) -> dict:
        """Measure the function of a cine and wait for it: from its segmentation and landmarks as they are now. Where
        there is no segmentation, one is made. Errors as for `segment`.

        Args:
            browser: The sequence browser node of the cine.
            heartRateBpm: Beats a minute, where known.

        Returns:
            As `CardioDiTLib.FunctionReport.to_dict`: edv_ml, ef_percent, lv_volume_ml and more, None where a number
            could not be had (`reasons` says why). `functionTable` is the same as a node.
        """
        return self._measure(browser, heartRateBpm=heartRateBpm)["report"]

    def functionReport(self, browser, path: str, heartRateBpm: float | None = None) -> list:
        """Measure as `measureFunction` does, and write a report: .html (a page with pictures), .csv or .json.

        Returns:
            Paths of the files.
        """
        return self._measure(browser, heartRateBpm=heartRateBpm, path=str(path))["files"]

    def audit(self, browsers=None, falseAlarm: float = 0.05, folder: str = "", validation: str = "") -> list:
        """See whether cines are nearer to training patients than novel patients would be, and wait for it. The nodes of
        the cines are marked (attributes ``CardioDiT.audit.*``), and a table of the last audit is filled. Errors as for
        `segment`.

        Args:
            browsers: Sequence browser nodes of cines, or one; all synthetic cines in the scene without it.
            falseAlarm: Share of novel patients who may be called copies.
            folder: A folder of training cines; without it each cine is held against the training set of its model.
            validation: Beside `folder`: a folder of other real patients' cines.

        Returns:
            A dictionary for each cine: verdict ("passed", "failed" or "undecided"), score, threshold (None where there
            were too few real patients), p_value, nearest_hash, browser, name and more.
        """
        from CardioDiTModule.AuditMarks import syntheticBrowsers
        from CardioDiTModule.PrivacyRuns import auditRun

        if browsers is None:
            browsers = syntheticBrowsers()
        elif not isinstance(browsers, list | tuple):
            browsers = [browsers]
        return self._runAndWait(
            auditRun, browsers, falseAlarm=falseAlarm, folder=str(folder), validation=str(validation)
        )

    def complete(
        self, browser, missingSlices="", missingFrames="", onSource: bool = False, show: bool = True, **settings: Any
    ):
        """Fill slices and frames of a cine that nobody recorded, and wait for it; the cine stays as it is. What is made
        up is plausible, not measured. Errors as for `segment`.

        Args:
            browser: The sequence browser node of the cine; its segmentation, where there is one, says how it lies.
            missingSlices, missingFrames: Numbers from 0, or text such as "1,3,5" or "4-7".
            onSource: On the grid of the cine, with only these replaced; otherwise on that of the model.
            show: Put the (first) result into the slice views.
            **settings: bundle, device, seed, count, pathology, guidance, preset, steps.

        Returns:
            The sequence browser node of the new cine; a list of them where count is more than 1. Its attribute
            ``CardioDiT.kind`` says what it is, such as "completion of a real cine". Warnings are logged.
        """
        from CardioDiTModule.CompletionRuns import completionRun

        return self._madeFrom(
            completionRun,
            browser,
            show,
            missingSlices=_indexText(missingSlices),
            missingFrames=_indexText(missingFrames),
            onSource=onSource,
            settings=settings,
        )

    def vary(self, browser, strength: float = 0.5, show: bool = True, **settings: Any):
        """Make hearts like the one of a cine, and wait for them. A variation of a patient's heart is that patient's
        data. Returns and errors as for `complete`.

        Args:
            browser: The sequence browser node of the cine.
            strength: 0 (only coded and decoded) to 1 (nothing of it is kept).
            show: Put the (first) result into the slice views.
            **settings: As for `complete`.
        """
        from CardioDiTModule.CompletionRuns import variationRun

        return self._madeFrom(variationRun, browser, show, strength=strength, settings=settings)

    def _madeFrom(self, makeRun, browser, show: bool, **arguments: Any) -> Any:
        from CardioDiTModule.PlaySection import showCine

        result = self._runAndWait(makeRun, browser, **arguments)
        for warning in result["warnings"]:
            logging.warning("CardioDiT: %s", warning)
        browsers = result["browsers"]
        if show:
            showCine(browsers[0])
        return browsers[0] if len(browsers) == 1 else browsers

    def functionTable(self, browser):
        """The table node of what was measured on a cine; None where nothing was."""
        from CardioDiTModule.FunctionNodes import FunctionNodes

        return FunctionNodes(browser).table

    def _measure(self, browser, **arguments: Any) -> dict:
        from CardioDiTModule.MeasurementRuns import functionRun
        from CardioDiTModule.SegmentationSequence import SegmentationSequence

        if SegmentationSequence(browser).sequence is None:
            self.segment(browser)
        return self._runAndWait(functionRun, browser, **arguments)

    def _runAndWait(self, makeRun, subject, **arguments: Any) -> Any:
        """Start a run on a cine, or on several, and wait; its result."""
        from CardioDiTModule.Problem import CardioDiTProblem, GenerationCancelled
        from CardioDiTModule.SharedWorker import later

        ends = []
        run = makeRun(
            self.worker,
            later,
            subject,
            onDone=ends.append,
            onProblem=lambda problem: ends.append(CardioDiTProblem(problem)),
            onCancelled=lambda: ends.append(GenerationCancelled()),
            **arguments,
        ).start()
        self._waitFor(ends, run.cancel)
        if isinstance(ends[0], Exception):
            raise ends[0]
        return ends[0]

    def _ask(self, command: str, **arguments: Any) -> dict:
        """Order and wait."""
        from CardioDiTModule.Problem import CardioDiTProblem, GenerationCancelled

        ends = []
        order = self.worker.request(
            command,
            arguments,
            onResult=ends.append,
            onProblem=lambda problem: ends.append(CardioDiTProblem(problem)),
            onCancelled=lambda: ends.append(GenerationCancelled()),
        )
        self._waitFor(ends, lambda: self.worker.cancel(order))
        if isinstance(ends[0], Exception):
            raise ends[0]
        return ends[0]

    @staticmethod
    def _waitFor(ends: list, cancel) -> None:
        from CardioDiTModule.Steps import blockUntil

        try:
            blockUntil(lambda: bool(ends))
        except KeyboardInterrupt:
            cancel()
            raise


def _indexText(numbers) -> str:
    """Numbers as the library reads them."""
    if isinstance(numbers, str):
        return numbers
    return str(numbers) if isinstance(numbers, int) else ",".join(str(number) for number in numbers)


class CardioDiTTest(ScriptedLoadableModuleTest):
    """Self-test in the application: needs the Python packages."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_GenerateDraft()

    def test_GenerateDraft(self):
        """A heart comes into the scene, with time, millimetres and origin."""
        self.delayDisplay("Generating")
        browser = CardioDiTLogic().generate(seed=7, preset="draft", show=False)
        sequence = browser.GetMasterSequenceNode()
        self.assertEqual(sequence.GetNumberOfDataNodes(), 16)
        self.assertEqual(sequence.GetIndexUnit(), "s")
        proxy = browser.GetProxyNode(sequence)
        self.assertTrue(proxy.GetName().startswith("Synthetic"))
        self.assertEqual(proxy.GetAttribute("CardioDiT.synthetic"), "1")
        first = slicer.util.arrayFromVolume(proxy).copy()
        browser.SetSelectedItemNumber(6)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        self.assertGreater(abs(slicer.util.arrayFromVolume(proxy) - first).max(), 0)
        self.delayDisplay("Test passed")
