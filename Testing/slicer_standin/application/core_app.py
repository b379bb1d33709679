"""The application without its windows: the scene, the application logic, the modules' logics, the slice views' logics.

It puts `slicer.mrmlScene` in place; nothing here needs Qt.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import slicer
import vtk

from slicer_standin.application.logics import LOGICS

SLICE_VIEWS = ("Red", "Green", "Yellow")
OWNERS = (
    ("vtkMRMLSegmentationNode", "Segmentations"),
    ("vtkMRMLLabelMapVolumeNode", "LabelMaps"),
    ("vtkMRMLScalarVolumeNode", "Volumes"),
    ("vtkMRMLMarkupsNode", "Markups"),
    ("vtkMRMLModelNode", "Models"),
    ("vtkMRMLTransformNode", "Transforms"),
    ("vtkMRMLTableNode", "Tables"),
    ("vtkMRMLPlotChartNode", "Plots"),
    ("vtkMRMLTextNode", "Texts"),
)
"""Kind of node, and the plugin of the Data tree that claims it. Sequences and their browsers are claimed by none."""


@contextmanager
def _without_warnings():
    """Some logics complain that their data files (color tables, terminologies) are not there: only Slicer has them."""
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.GlobalWarningDisplayOn()


def _application_logic(scene, folder: str):
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetTemporaryPath(folder)
    if hasattr(logic, "SetShareDirectory"):
        logic.SetShareDirectory(folder)
    return logic


def _module_logic(class_name: str, scene, application_logic):
    """A module's logic, connected to application and scene: node classes are registered by this."""
    logic = getattr(slicer, class_name)()
    if hasattr(logic, "SetMRMLApplicationLogic"):
        logic.SetMRMLApplicationLogic(application_logic)
    logic.SetMRMLScene(scene)
    return logic


class CoreApp:
    """Everything of one running application that is no window."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder or tempfile.mkdtemp(prefix="slicer-standin-")
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        self._add_crosshair()
        self.application_logic = _application_logic(self.scene, self.folder)
        with _without_warnings():
            self.logics = {entry.module: self._make_logic(entry) for entry in LOGICS}
        self._start_data_io()
        self._start_views()
        self._start_data_tree()

    def _add_crosshair(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _make_logic(self, entry):
        logic = _module_logic(entry.logic, self.scene, self.application_logic)
        self.application_logic.SetModuleLogic(entry.module, logic)
        return logic

    def _start_data_io(self) -> None:
        """Without these two, reading .mrb files and files by URI goes wrong."""
        self.remote_io = slicer.vtkMRMLRemoteIOLogic()
        self.remote_io.SetMRMLScene(self.scene)
        self.remote_io.SetMRMLApplicationLogic(self.application_logic)
        self.remote_io.GetCacheManager().SetRemoteCacheDirectory(self.folder)
        self.data_io = slicer.vtkDataIOManagerLogic()
        self.data_io.SetMRMLScene(self.scene)
        self.data_io.SetMRMLApplicationLogic(self.application_logic)
        self.data_io.SetAndObserveDataIOManager(self.remote_io.GetDataIOManager())
        self.remote_io.AddDataIOToScene()

    def _start_views(self) -> None:
        """A layout, and slice views with their logics, as the layout manager makes them."""
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.layout_logic = slicer.vtkMRMLLayoutLogic()
        self.layout_logic.SetMRMLApplicationLogic(self.application_logic)
        self.layout_logic.SetMRMLScene(self.scene)
        self.layout_logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.slice_logics = {name: self._slice_logic(name) for name in SLICE_VIEWS}
        self.slice_logic_collection = vtk.vtkCollection()
        for logic in self.slice_logics.values():
            self.slice_logic_collection.AddItem(logic)
        self.application_logic.SetSliceLogics(self.slice_logic_collection)
        self.application_logic.SetViewLogics(vtk.vtkCollection())

    def _start_data_tree(self) -> None:
        """The plugins of the Data tree: an item for each new node that one of them claims, and no item for others."""
        self.scene.AddObserver(self.scene.NodeAddedEvent, self._claim)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _claim(self, _scene, _event, node) -> None:
        owner = next((owner for kind, owner in OWNERS if node.IsA(kind)), "")
        hierarchy = self.scene.GetSubjectHierarchyNode()
        if not owner or hierarchy is None or node.GetHideFromEditors() or self.scene.IsImporting():
            return
        item = hierarchy.GetItemByDataNode(node)
        if not item:
            item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemOwnerPluginName(item, owner)

    def unclaimed(self) -> list[str]:
        """Names of the items that the Data tree would show with a question mark: of nodes that no plugin claims."""
        hierarchy = self.scene.GetSubjectHierarchyNode()
        items = vtk.vtkIdList()
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        found = [items.GetId(number) for number in range(items.GetNumberOfIds())]
        nodes = [node for node in map(hierarchy.GetItemDataNode, found) if node is not None]
        return [node.GetName() for node in nodes if not any(node.IsA(kind) for kind, _owner in OWNERS)]

    def _slice_logic(self, name: str):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        node = self.scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        if node is not None:
            logic.SetSliceNode(node)
        else:
            logic.AddSliceNode(name)
        return logic

    def any_browser_plays(self) -> bool:
        """Whether some sequence browser of the scene is in playback."""
        count = self.scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")
        browsers = (self.scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode") for index in range(count))
        return any(browser.GetPlaybackActive() for browser in browsers)

    def settings_file(self) -> Path:
        """The file that holds the settings of this run."""
        return Path(self.folder) / "Slicer.ini"
