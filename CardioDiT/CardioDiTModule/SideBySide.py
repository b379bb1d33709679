from __future__ import annotations

from typing import Any

import slicer

from .ShortAxisViews import turnToPlane

VIEWS = ("Red", "Yellow")


def showSideBySide(first: Any, second: Any) -> None:
    """Show two cines in two slice views beside each other, each in its short axis; nothing without a window.

    Args:
        first: Browser node of the cine on the left.
        second: Of that on the right.
    """
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    for name, browser in zip(VIEWS, (first, second)):
        volume = browser.GetProxyNode(browser.GetMasterSequenceNode())
        widget = manager.sliceWidget(name)
        if widget is None or volume is None:
            continue
        logic = widget.sliceLogic()
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        turnToPlane(logic.GetSliceNode(), volume)
        logic.FitSliceToBackground()
        browser.SetPlaybackActive(True)
