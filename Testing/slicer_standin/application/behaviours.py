"""Behaviour of the application's own classes: `slicer.app`, its managers, the Sequences module."""

from __future__ import annotations

import sys

from PySide6.QtCore import QLocale, QProcessEnvironment, QSettings, QTimer

from slicer_standin.application import files
from slicer_standin.application.state import state
from slicer_standin.widgets.behaviours import behaviour

# How often the Sequences module advances what is playing.
PLAYBACK_PERIOD_MS = 20
DOCUMENTATION = "https://slicer.readthedocs.io/en/latest"


@behaviour
class _qSlicerApplication:
    """`slicer.app`."""

    def _init(self):
        folder = state.core.folder
        self._managers: dict[str, object] = {}
        self._settings = QSettings()
        self._settings.setValue("Developer/SelfTestDisplayMessageDelay", 0)
        self._values |= {"temporaryPath": folder, "slicerHome": folder, "extensionsInstallPath": folder}
        self._values |= {"cachePath": folder, "startupWorkingPath": folder, "defaultScenePath": folder}
        self._values |= {"slicerUserSettingsFilePath": self._settings.fileName()}
        self._values |= {"mainApplicationName": "Slicer", "mainApplicationDisplayName": "3D Slicer"}
        self._values |= {"platform": sys.platform, "releaseType": "Preview", "documentationBaseUrl": DOCUMENTATION}
        self._values |= {"applicationLocaleName": QLocale.system().name(), "isInstalled": True}

    def _manager(self, class_name):
        from slicer_standin.widgets import stand_in

        if class_name not in self._managers:
            self._managers[class_name] = stand_in(class_name)()
        return self._managers[class_name]

    def testingEnabled(self):
        return state.testing

    def mrmlScene(self):
        return state.core.scene

    def applicationLogic(self):
        return state.core.application_logic

    def moduleLogic(self, name):
        return state.core.logics.get(name)

    def coreIOManager(self):
        return self._manager("qSlicerIOManager")

    def ioManager(self):
        return self._manager("qSlicerIOManager")

    def moduleManager(self):
        return self._manager("qSlicerModuleManager")

    def layoutManager(self):
        return self._manager("qSlicerLayoutManager")

    def extensionsManagerModel(self):
        return self._manager("qSlicerExtensionsManagerModel")

    def settings(self):
        return self._settings

    def userSettings(self):
        return self._settings

    def revisionUserSettings(self):
        return self._settings

    def startupEnvironment(self):
        return QProcessEnvironment.systemEnvironment()

    def environment(self):
        return QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name):
        return f"{DOCUMENTATION}/user_guide/modules/{name.lower()}.html"

    def pauseRender(self):
        """Nothing is rendered."""

    def resumeRender(self):
        """Nothing is rendered."""

    def setRenderPaused(self, paused):
        """Nothing is rendered."""

    def logUsageEvent(self, component, event):
        self.usageEventLogged.emit(component, event)

    def restart(self):
        state.restarts += 1


@behaviour
class _qSlicerIOManager:
    """Reading and writing."""

    def fileType(self, path):
        return files.type_of_file(path)

    def fileWriterFileType(self, node, extension=""):
        return files.type_of_node(node)

    def loadNodes(self, kind, properties, loaded=None, messages=None):
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return files.load_scene(path, properties.get("clear", True))
        node = files.load_node(kind, path, properties)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def loadScene(self, path, clear=True, messages=None):
        return files.load_scene(str(path), clear)

    def saveNodes(self, kind, properties, messages=None, scene=None):
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return files.save_scene(path, state.core.application_logic)
        node = state.core.scene.GetNodeByID(properties["nodeID"])
        return files.save_node(node, path, bool(properties.get("useCompression", True)))


@behaviour
class _qSlicerModuleManager:
    """Knows the modules by name."""

    def module(self, name):
        import slicer

        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self):
        return (*state.core.logics, *state.scripted_modules)


@behaviour
class _qSlicerExtensionsManagerModel:
    """Knows which extensions a test says are installed; installs nothing."""

    def _get_installedExtensions(self):
        return tuple(sorted(state.installed_extensions))

    def _get_installedExtensionsCount(self):
        return len(state.installed_extensions)

    def isExtensionInstalled(self, name):
        return name in state.installed_extensions

    def isExtensionEnabled(self, name):
        return name in state.installed_extensions

    def updateExtensionsMetadataFromServer(self, force=False, waitForCompletion=False):
        return False

    def installExtensionFromServer(self, name, restart=True, update=False):
        state.requested_extensions.append(name)
        return False


@behaviour
class _qSlicerLayoutManager:
    """The views: slice views have real logics behind them, the others are not there."""

    def _init(self):
        self._slice_widgets: dict[str, object] = {}

    def _get_layout(self):
        return state.core.layout_logic.GetLayoutNode().GetViewArrangement()

    def _on_layout(self, number):
        self.setLayout(number)

    def setLayout(self, number):
        state.layouts.append(int(number))
        state.core.layout_logic.GetLayoutNode().SetViewArrangement(int(number))
        self.layoutChanged.emit(int(number))

    def layoutLogic(self):
        return state.core.layout_logic

    def mrmlScene(self):
        return state.core.scene

    def mrmlSliceLogics(self):
        return state.core.slice_logic_collection

    def sliceViewNames(self):
        return tuple(state.core.slice_logics)

    def sliceWidget(self, name):
        from slicer_standin.widgets import stand_in

        if name not in state.core.slice_logics:
            return None
        if name not in self._slice_widgets:
            self._slice_widgets[name] = stand_in("qMRMLSliceWidget")()
            self._slice_widgets[name]._values["sliceViewName"] = name
        return self._slice_widgets[name]

    def resetSliceViews(self):
        for logic in state.core.slice_logics.values():
            logic.FitSliceToBackground()

    def resetThreeDViews(self):
        """There is no 3D view."""


@behaviour
class _qMRMLSliceWidget:
    """A slice view that draws nothing."""

    def sliceLogic(self):
        return state.core.slice_logics[self.sliceViewName]

    def mrmlSliceNode(self):
        return self.sliceLogic().GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self.sliceLogic().GetSliceCompositeNode()

    def fitSliceToBackground(self):
        self.sliceLogic().FitSliceToBackground()


@behaviour
class _qSlicerAbstractCoreModule:
    """A module: its logic, if there is one."""

    def _init(self):
        self._logic = None

    def logic(self):
        return self._logic


@behaviour
class _qSlicerSequencesModule:
    """`slicer.modules.sequences`: its timer advances what is playing, its tool bar is only remembered."""

    def _init(self):
        self._values["autoShowToolBar"] = True
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._advance)
        self._timer.start(PLAYBACK_PERIOD_MS)

    def _advance(self):
        if state.core.any_browser_plays():
            self.updateAllVirtualOutputNodes()

    def updateAllVirtualOutputNodes(self):
        self.logic().UpdateAllProxyNodes()

    def isToolBarVisible(self):
        return self.toolBarVisible

    def setToolBarActiveBrowserNode(self, browser):
        state.tool_bar_browser = browser

    def showSequenceBrowser(self, browser):
        self.setToolBarActiveBrowserNode(browser)
        self.setToolBarVisible(True)
        return True
