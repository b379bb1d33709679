"""Slice views turned to the planes of a short-axis stack, whatever way it lies in the patient."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

SHORT_AXIS = 2
"""The index axis that runs from slice to slice."""

LONG_AXES = {"Green": ("Coronal", 1), "Yellow": ("Sagittal", 0)}
"""Views that show the other two planes of the stack: where to begin, and the index axis that is their normal."""


def turnToPlane(sliceNode: Any, volume: Any, axis: int = SHORT_AXIS, begin: str = "Axial") -> None:
    """Turn a slice view so that an index axis of a volume is its normal.

    `RotateToVolumePlane` would not do: it takes the axis nearest to the view's own normal, which for many an oblique
    stack is a long axis. Beginning at a fixed orientation, the same stack always looks the same.

    Args:
        sliceNode: Of the view.
        volume: Whose planes are meant.
        axis: 0, 1 or 2 for x, y or z; 2 is the short axis.
        begin: Orientation that the directions in the plane are chosen nearest to.
    """
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    sliceNode.SetOrientation(begin)
    sliceNode.RotateToAxes(matrix, axis)


def showInViews(volume: Any) -> None:
    """Put a volume into all slice views: short axis in Red and in views of other names, the long axes in Green and
    Yellow; nothing without a main window.
    """
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    slicer.util.setSliceViewerLayers(background=volume)
    for name in manager.sliceViewNames():
        logic = manager.sliceWidget(name).sliceLogic()
        begin, axis = LONG_AXES.get(name, ("Axial", SHORT_AXIS))
        turnToPlane(logic.GetSliceNode(), volume, axis, begin)
        logic.FitSliceToBackground()
