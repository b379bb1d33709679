import logging
import sys
from contextlib import suppress
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from . import SharedWorker
from .CardioDiTLogic import CardioDiTLogic
from .CompletionSection import CompletionSection
from .ExportSection import ExportSection
from .FolderSection import FolderSection
from .FunctionSection import FunctionSection
from .GenerateSection import GenerateSection
from .InstallLogic import OPENVINO_SIZE_TEXT, PICTURES_SIZE_TEXT, InstallLogic
from .LandmarksSection import LandmarksSection
from .ModelsSection import ModelsSection
from .PanelLife import PanelLife, PanelWorker
from .PlaySection import PlaySection, onlyCine
from .PrivacySection import PrivacySection
from .Problem import CardioDiTProblem
from .Section import Section
from .StillWhileEdited import StillWhileEdited

SECTIONS = ("Generate", "Play", "Landmarks", "Function", "Privacy", "Completion", "Export", "Folder", "Models")
"""Each has a .ui file and, in lower case, an attribute of the widget."""

WITH_SCENE = ("Play", "Function", "Privacy", "Folder")
"""Those whose widgets look into the scene themselves."""


class CardioDiTWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Puts the sections together; each is a class of its own."""

    def __init__(self, parent=None):
        # first, because without a parent the base class calls `setup` itself
        self.logic = self.stillWhileEdited = self._life = None
        for name in SECTIONS:
            setattr(self, name.lower(), None)
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._probed = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = CardioDiTLogic()
        # whatever calls into the panel later goes through these two, which fall silent when it goes
        self._life = PanelLife(SharedWorker.later)
        self.panelWorker = PanelWorker(self.logic.worker, self._life)
        self.logic.modelManager.worker = self.panelWorker  # it serves this panel alone
        self.installLogic = InstallLogic(Path(self.resourcePath("requirements.txt")))
        self._loadWidgets()
        self._makeSections()
        ui, scene = self.ui, slicer.mrmlScene
        self.logic.worker.logged.connect(self.onLogged)
        self.logic.worker.ended.connect(self.onWorkerEnded)
        ui.browserSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onBrowserChosen)
        # once more when the section Play has put it into the views
        ui.browserSelector.connect("nodeActivated(vtkMRMLNode*)", self.onBrowserChosen)
        ui.installButton.connect("clicked(bool)", self.onInstall)
        ui.picturesButton.connect("clicked(bool)", self.onInstallForPictures)
        ui.openvinoButton.connect("clicked(bool)", self.onInstallOpenvino)
        ui.copyLogButton.connect("clicked(bool)", self.onCopyLog)
        ui.dismissButton.connect("clicked(bool)", self.onDismiss)
        ui.problemFrame.setVisible(False)
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.stillWhileEdited = StillWhileEdited()
        self.initializeParameterNode()

    def _loadWidgets(self):
        top = slicer.util.loadUI(self.resourcePath("UI/CardioDiT.ui"))
        self.layout.addWidget(top)
        self.ui = slicer.util.childWidgetVariables(top)
        for name in SECTIONS:
            part = slicer.util.loadUI(self.resourcePath(f"UI/{name}Section.ui"))
            getattr(self.ui, f"{name.lower()}Collapsible").layout().addWidget(part)
        # once more: now with the widgets of the sections
        self.ui = slicer.util.childWidgetVariables(top)
        top.setMRMLScene(slicer.mrmlScene)
        for name in WITH_SCENE:
            getattr(self.ui, f"{name}Section").setMRMLScene(slicer.mrmlScene)

    def _makeSections(self):
        ui, worker, manager = self.ui, self.panelWorker, self.logic.modelManager
        node, later = self.parameterNode, self._life.later
        self.privacy = PrivacySection(ui, worker, manager.hasPrivacy, later, node)
        self.generate = GenerateSection(
            ui,
            worker,
            manager,
            node,
            later,
            lambda: self.privacy.falseAlarm,
            lambda: bool(self.installLogic.missingForOpenvino()),
        )
        self.play = PlaySection(ui, node)
        self.landmarks = LandmarksSection(ui, worker, node, later)
        self.function = FunctionSection(ui, worker, node, later)
        self.completion = CompletionSection(ui, worker, node, self.generate.settings, self.generate.modelReason, later)
        self.export = ExportSection(ui, worker, self.play.browser, later)
        self.folder = FolderSection(ui, worker, node, self.privacy.against, later)
        self.models = ModelsSection(ui, manager, worker, self.resourcePath("UI/PublishedImportDialog.ui"))
        self.completion.made.connect(self.onGenerated)
        self.generate.generated.connect(self.onGenerated)
        self.privacy.audited.connect(self.export.updateButtons)
        manager.modelsChanged.connect(self.privacy.update)
        manager.modelsChanged.connect(self.completion.update)
        for section in (*self._computing(), self.export, self.models):
            section.problemOccurred.connect(self.showProblem)

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
        sections = [getattr(self, name.lower()) for name in SECTIONS]
        return [section for section in sections if section is not None]

    def _computing(self):
        """Those of them that let the worker compute."""
        return [section for section in self._sections() if isinstance(section, Section)]

    def enter(self):
        """The user opens the module: see what is installed, and let the worker get warm."""
        self.initializeParameterNode()
        self.updateSetup()
        self.takeOnlyCine()
        self.onBrowserChosen(None)

    def onReload(self):
        """Developers: load the module and its parts anew; the worker ends first."""
        self._giveUpRun()
        SharedWorker.stopSharedWorker()
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
            for section in self._computing():
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
        for section in self._computing():
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
        if self._install(self.installLogic.state().text(), self.installLogic.install):
            self._probed = False
            self.updateSetup()

    def onInstallForPictures(self, _checked=False):
        """Ask, then install what the bullseye and the pages with pictures need."""
        text = _("To be installed into Slicer's Python: {packages} (about {size}).").format(
            packages=", ".join(self.installLogic.missingForPictures()), size=PICTURES_SIZE_TEXT
        )
        if self._install(text, self.installLogic.installForPictures):
            self.updateSetup()

    def onInstallOpenvino(self, _checked=False):
        """Ask, then install what the backend OpenVINO needs."""
        text = _("To be installed into Slicer's Python: {packages} (about {size}).").format(
            packages=", ".join(self.installLogic.missingForOpenvino()), size=OPENVINO_SIZE_TEXT
        )
        if self._install(text, self.installLogic.installForOpenvino):
            self.generate.updateBackend()

    def _install(self, text, install):
        """Whether the user wanted it."""
        question = _("{text}\n\nThis changes Slicer's Python for all modules. Go on?").format(text=text)
        if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages")):
            return False
        self.logic.worker.stop(wait=True)
        try:
            install()
        except CardioDiTProblem as error:
            self.showProblem(error.problem)
        return True

    def onGenerated(self, browsers):
        self.play.show(browsers[0])
        self.onBrowserChosen(None)

    def onBrowserChosen(self, _node):
        """The sections show what belongs to the cine that is chosen."""
        for section in (self.landmarks, self.function, self.privacy, self.completion):
            section.setBrowser(self.play.browser())
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
        if self._parameterNode is None or not self.parent.isEntered or slicer.mrmlScene.IsImporting():
            return
        if self.generate.run is not None or self.completion.controls.run is not None:
            return  # whose cine may be half built; it is shown when it is whole
        if self._parameterNode.browser is None:
            browser = onlyCine()
            if browser is not None:
                self._parameterNode.browser = browser

    def _giveUpRun(self):
        for section in self._computing():
            section.cancel()
