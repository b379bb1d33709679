from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

WATCHED = ("vtkMRMLMarkupsNode", "vtkMRMLSegmentEditorNode", "vtkMRMLInteractionNode", "vtkMRMLSequenceBrowserNode")


class StillWhileEdited(VTKObservationMixin):
    """Stops a cine when somebody begins to correct something of it by hand: while a sequence plays, Slicer takes no
    changes into it, and they would be lost without a word.

    It stops when a point is dragged or placed and when a tool of the Segment Editor is taken up. A cine that is played
    while a tool is in hand has the tool put down.
    """

    def __init__(self) -> None:
        VTKObservationMixin.__init__(self)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAddedEvent, self._onNodeAdded)
        for className in WATCHED:
            for node in slicer.util.getNodesByClass(className):
                self._watch(node)

    def cleanup(self) -> None:
        """Watch nothing any more."""
        self.removeObservers()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, _scene: Any, _event: Any, node: Any) -> None:
        self._watch(node)

    def _watch(self, node: Any) -> None:
        wanted: list[tuple[int, Any]] = []
        if node.IsA("vtkMRMLMarkupsNode"):
            wanted = [(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent, self._onDragged)]
        elif node.IsA("vtkMRMLSegmentEditorNode"):
            wanted = [(vtk.vtkCommand.ModifiedEvent, self._onTool)]
        elif node.IsA("vtkMRMLInteractionNode"):
            wanted = [(slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent, self._onMode)]
        elif node.IsA("vtkMRMLSequenceBrowserNode"):
            wanted = [(vtk.vtkCommand.ModifiedEvent, self._onBrowser)]
        for event, method in wanted:
            if not self.hasObserver(node, event, method):
                self.addObserver(node, event, method)

    def _onDragged(self, points: Any, _event: Any = None) -> None:
        stopPlaying(points)

    def _onMode(self, interaction: Any, _event: Any = None) -> None:
        selection = slicer.app.applicationLogic().GetSelectionNode()
        if interaction.GetCurrentInteractionMode() == interaction.Place and selection is not None:
            stopPlaying(slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID() or ""))

    def _onTool(self, editor: Any, _event: Any = None) -> None:
        if editor.GetActiveEffectName():
            stopPlaying(editor.GetSegmentationNode())

    def _onBrowser(self, browser: Any, _event: Any = None) -> None:
        if not browser.GetPlaybackActive():
            return
        for editor in slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode"):
            segmentation = editor.GetSegmentationNode()
            if (
                editor.GetActiveEffectName()
                and segmentation is not None
                and browser.GetSequenceNode(segmentation) is not None
            ):
                editor.SetActiveEffectName("")


def stopPlaying(node: Any) -> None:
    """Stop the cine that a node belongs to; nothing where it belongs to none."""
    if node is None:
        return
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.GetPlaybackActive() and browser.GetSequenceNode(node) is not None:
            browser.SetPlaybackActive(False)
