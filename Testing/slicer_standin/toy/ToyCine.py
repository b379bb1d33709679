"""A small scripted module that uses what a module commonly uses; the stand-in is tested with it."""

from __future__ import annotations

import enum
import pathlib
import sys
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSequenceBrowserNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    FloatRange,
    RangeBounds,
    WithinRange,
    parameterNodeWrapper,
)
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class ToyCine(ScriptedLoadableModule):
    """Describes the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Toy Cine")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.dependencies = ["Sequences"]
        self.startups = []
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)

    def onStartupCompleted(self):
        self.startups.append("completed")


class Speed(enum.Enum):
    """An enumeration with labels."""

    SLOW = 1
    FAST = 2

    def label(self):
        return self.name.capitalize()


@parameterNodeWrapper
class ToyCineParameterNode:
    """One parameter of each kind."""

    inputVolume: vtkMRMLScalarVolumeNode
    browser: vtkMRMLSequenceBrowserNode
    frames: Annotated[float, WithinRange(1, 40)] = 8.0
    repeats: Annotated[int, WithinRange(1, 9)] = 2
    invert: bool = False
    label: str = "cine"
    mode: Annotated[str, Choice(["plain", "noisy"])] = "plain"
    speed: Speed = Speed.FAST
    weights: pathlib.Path = pathlib.Path()
    window: Annotated[FloatRange, RangeBounds(0, 100), Default(FloatRange(10.0, 90.0))]


class ToyCineWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ToyCine.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ToyCineLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.workerButton.connect("clicked(bool)", self.onWorker)
        self.ui.browserSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onBrowser)
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self.onOutput)
        self.process.connect("finished(int,QProcess::ExitStatus)", self.onFinished)
        self.initializeParameterNode()

    def cleanup(self):
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._guiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        self.ui.applyButton.enabled = bool(self._parameterNode and self._parameterNode.inputVolume)

    def onBrowser(self, node):
        self.ui.playWidget.setMRMLSequenceBrowserNode(node)
        self.ui.seekWidget.setMRMLSequenceBrowserNode(node)

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Failed."), waitCursor=True):
            frames = int(self.ui.framesSlider.value)
            self._parameterNode.browser = self.logic.makeCine(self._parameterNode.inputVolume, frames)
            self.ui.statusLabel.text = _("{count} frames").format(count=frames)

    def onWorker(self):
        self.ui.statusLabel.text = "running"
        self.process.start(sys.executable, ["-c", "print(input().upper())"])
        self.process.write(b"hello\n")

    def onOutput(self):
        self.ui.log.appendPlainText(self.process.readAllStandardOutput().data().decode().strip())

    def onFinished(self, exitCode, exitStatus):
        self.ui.statusLabel.text = f"finished: {exitCode}"


class ToyCineLogic(ScriptedLoadableModuleLogic):
    """Makes a sequence of volumes."""

    def getParameterNode(self):
        return ToyCineParameterNode(super().getParameterNode())

    def makeCine(self, volume, frames):
        """A browser over copies of the volume, each a little brighter."""
        voxels = slicer.util.arrayFromVolume(volume).astype("float32")
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        for frame in range(frames):
            copy = vtkMRMLScalarVolumeNode()
            copy.SetIJKToRASMatrix(matrix)
            slicer.util.updateVolumeFromArray(copy, voxels + frame)
            sequence.SetDataNodeAtValue(copy, f"{frame * 0.04:.3f}")
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "cine browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        return browser


class ToyCineTest(ScriptedLoadableModuleTest):
    """The module's own test."""

    def runTest(self):
        slicer.mrmlScene.Clear()
        import numpy as np

        volume = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), "float32"))
        self.assertEqual(ToyCineLogic().makeCine(volume, 5).GetNumberOfItems(), 5)
        self.delayDisplay("Test passed")
