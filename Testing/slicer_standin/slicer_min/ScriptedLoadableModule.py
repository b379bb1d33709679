"""The base classes of a scripted module, with the signatures and the behaviour of Slicer's public documentation."""

from __future__ import annotations

import importlib
import logging
import unittest
from pathlib import Path

import ctk
import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]

NODE_CLASS = "vtkMRMLScriptedModuleNode"
NAME_ATTRIBUTE = "ModuleName"


def _resource_path(module_path: str, filename: str) -> str:
    return str(Path(module_path).parent / "Resources" / filename)


class ScriptedLoadableModule:
    """Describes the module to the application."""

    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        self._set_icon()
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def _set_icon(self):
        """The icon is found by the module's name."""
        for ending in (".svg", ".png"):
            path = self.resourcePath(f"Icons/{self.moduleName}{ending}")
            if Path(path).is_file():
                self.parent.icon = qt.QIcon(path)
                return

    def resourcePath(self, filename):
        """Path of a file in the module's folder Resources."""
        return _resource_path(self.parent.path, filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        """A sentence with a link to the module's documentation."""
        if docPage:
            url = slicer.app.documentationBaseUrl + docPage
        else:
            url = slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec=100, **kwargs):
        """Run the module's test class."""
        test_class = getattr(importlib.import_module(self.__module__), f"{self.moduleName}Test", None)
        if test_class is None:
            raise AssertionError(f"Test case class not found: {self.__module__}.{self.moduleName}Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Builds the module's panel."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent or self._own_parent()
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def _own_parent(self):
        """A window of its own, for a widget that is made outside the application's panel."""
        widget = slicer.qMRMLWidget()
        widget.setLayout(qt.QVBoxLayout())
        widget.setMRMLScene(slicer.mrmlScene)
        return widget

    def resourcePath(self, filename):
        """Path of a file in the module's folder Resources."""
        return _resource_path(slicer.util.modulePath(self.moduleName), filename)

    def cleanup(self):
        """Called just before the module is unloaded or reloaded."""

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName != self.moduleName:
            return
        self.cleanup()
        manager = slicer.app.moduleManager()
        manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def setupDeveloperSection(self):
        """Buttons for developers: reload and test."""
        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        form = qt.QFormLayout(self.reloadCollapsibleButton)
        self.reloadButton = self._developer_button("Reload", "Reload this module.", self.onReload)
        self.reloadTestMenuButton = self._developer_button(
            "Reload and Test", "Reload this module, then test it.", self.onReloadAndTest
        )
        self.editSourceButton = self._developer_button("Edit", "Edit the source code.", self.onEditSource)
        self.restartButton = self._developer_button("Restart Slicer", "Restart Slicer.", slicer.app.restart)
        for button in (self.reloadButton, self.reloadTestMenuButton, self.editSourceButton, self.restartButton):
            form.addRow(button)

    def _developer_button(self, text, tool_tip, slot):
        button = qt.QPushButton(text)
        button.toolTip = tool_tip
        button.connect("clicked()", slot)
        return button

    def setup(self):
        """Build the panel; a module's own setup() starts by calling this one."""
        self.setupDeveloperSection()

    def onReload(self):
        """Execute the module's file again and build the panel anew."""
        logging.info("Reloading module: %s", self.moduleName)
        slicer.util.reloadScriptedModule(self.moduleName)

    def _run_test(self, **kwargs):
        delay = int(slicer.app.userSettings().value("Developer/SelfTestDisplayMessageDelay"))
        slicer.selfTests[self.moduleName](msec=delay, **kwargs)

    def onTest(self, **kwargs):
        """Run the module's test."""
        with slicer.util.tryWithErrorDisplay("Test failed."):
            self._run_test(**kwargs)

    def onReloadAndTest(self, **kwargs):
        """Reload, then run the module's test."""
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            self._run_test(**kwargs)

    def onEditSource(self):
        """Open the module's file."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(slicer.util.modulePath(self.moduleName)))


class ScriptedLoadableModuleLogic:
    """Finds the module's parameter nodes."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        # A module that wants several parameter nodes in a scene sets this to False.
        self.isSingletonParameterNode = True

    def _parameter_nodes(self):
        scene = slicer.mrmlScene
        count = scene.GetNumberOfNodesByClass(NODE_CLASS)
        nodes = [scene.GetNthNodeByClass(index, NODE_CLASS) for index in range(count)]
        return [node for node in nodes if node.GetAttribute(NAME_ATTRIBUTE) == self.moduleName]

    def _singleton(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, NODE_CLASS)
        if node is not None:
            # Closing the scene removes the attribute.
            node.SetAttribute(NAME_ATTRIBUTE, self.moduleName)
        return node

    def getParameterNode(self):
        """The module's parameter node (the first one, if there can be several); made if there is none."""
        existing = [self._singleton()] if self.isSingletonParameterNode else self._parameter_nodes()
        for node in existing:
            if node is not None:
                return node
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        """All parameter nodes of this module in the scene."""
        return self._parameter_nodes()

    def createParameterNode(self):
        """A new parameter node, not yet in the scene."""
        if slicer.mrmlScene is None:
            return None
        node = slicer.mrmlScene.CreateNodeByClass(NODE_CLASS)
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute(NAME_ATTRIBUTE, self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base class of a module's self test."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        """Show a message for a while."""
        delay = getattr(self, "messageDelay", msec if msec is not None else requestedDelay)
        slicer.util.delayDisplay(message, 100 if delay is None else delay)

    def takeScreenshot(self, name, description, type=-1):
        """Show the message; no picture is taken here."""
        self.delayDisplay(description)

    def runTest(self):
        """Overridden by a module's test."""
        logging.warning("No test is defined in %s", type(self).__name__)
