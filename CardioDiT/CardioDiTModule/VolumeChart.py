from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import slicer

CHART_HEIGHT = 220
SELECTED = "dataSelected(vtkStringArray*, vtkCollection*)"


class VolumeChart:
    """A chart in a frame of the panel; a click on a point tells which frame of the cine it is.

    The plot view is made when there is something to show: it needs the graphics card.

    Args:
        frame: A QFrame with a layout; hidden while there is nothing to show.
        later: (milliseconds, callback).
        onFrame: (frame number).
    """

    def __init__(
        self, frame: Any, later: Callable[[int, Callable[[], None]], None], onFrame: Callable[[int], None]
    ) -> None:
        self._frame, self._later, self._onFrame = frame, later, onFrame
        self._view: Any = None
        self._viewNode: Any = None
        self._inLayout: list[Any] = []
        self._chart: Any = None
        frame.setVisible(False)

    def show(self, chart: Any, owner: Any = None) -> None:
        """Show a chart; nothing for None.

        Args:
            chart: The chart node.
            owner: A node that the view node belongs to, so that the application's layouts leave it alone.
        """
        self._chart = chart
        self._frame.setVisible(chart is not None)
        if chart is None:
            if self._viewNode is not None and self._viewNode.GetScene() is not None:
                self._viewNode.SetPlotChartNodeID(None)
            return
        self._makeView(owner)
        # no fitToContent: it would overwrite the range that leaves room for the legend
        self._viewNode.SetPlotChartNodeID(chart.GetID())

    def showInLayout(self) -> None:
        """Show the chart in a large plot view of the application, where clicks work in the same way."""
        if self._chart is None:
            return
        slicer.modules.plots.logic().ShowChartInLayout(self._chart)
        manager = slicer.app.layoutManager()
        if manager is None or manager.plotViewCount < 1:
            return
        widget = manager.plotWidget(0)
        view = widget.plotView()
        widget.mrmlPlotViewNode().SetInteractionMode(slicer.vtkMRMLPlotViewNode.InteractionModeSelectPoints)
        if not any(known is view for known in self._inLayout):
            self._inLayout.append(view)
            view.connect(SELECTED, self._onSelected)

    def cleanup(self) -> None:
        """Listen to nothing any more, and leave no view node."""
        views = [view for view in [*self._inLayout, self._view] if view is not None]
        own, self._inLayout = self._view, []
        for view in views:
            # when the application ends, views may be gone before this is called
            with suppress(ValueError, RuntimeError):
                view.disconnect(SELECTED, self._onSelected)
                if view is own:
                    view.setMRMLPlotViewNode(None)
        if self._viewNode is not None and self._viewNode.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._viewNode)
        self._view = self._viewNode = self._chart = None

    def forgetScene(self) -> None:
        """The scene is about to be closed, and takes the view node along."""
        self.show(None)
        if self._view is not None:
            self._view.setMRMLPlotViewNode(None)
        self._viewNode = None

    def _makeView(self, owner: Any) -> None:
        if self._viewNode is None or self._viewNode.GetScene() is None:
            node = slicer.vtkMRMLPlotViewNode()
            node.SetName("CardioDiT volumes")
            node.SetLayoutName("CardioDiTVolumes")
            node.SetSaveWithScene(False)
            node.SetHideFromEditors(True)
            if owner is not None:
                node.SetAndObserveParentLayoutNodeID(owner.GetID())
            node.SetInteractionMode(slicer.vtkMRMLPlotViewNode.InteractionModeSelectPoints)
            self._viewNode = slicer.mrmlScene.AddNode(node)
        if self._view is None:
            self._view = slicer.qMRMLPlotView()
            self._view.setMinimumHeight(CHART_HEIGHT)
            self._view.setMRMLScene(slicer.mrmlScene)
            self._frame.layout().addWidget(self._view)
            self._view.connect(SELECTED, self._onSelected)
        self._view.setMRMLPlotViewNode(self._viewNode)

    def _onSelected(self, _seriesIDs: Any, selections: Any) -> None:
        numbers = _firstNumbers(selections.GetItemAsObject(n) for n in range(selections.GetNumberOfItems()))
        # a click tells before the chart has marked the point; a box tells afterwards
        self._later(0, lambda: self._jump(numbers))

    def _jump(self, told: list[int]) -> None:
        marked: list[int] = []
        views = [view for view in [self._view, *self._inLayout] if view is not None]
        for view in views:
            chart = view.chart()
            plots = [chart.GetPlot(number) for number in range(chart.GetNumberOfPlots())] if chart is not None else []
            here = _firstNumbers(plot.GetSelection() for plot in plots if plot is not None)
            if here:  # only then: taking marks away may be told as a selection again
                view.RemovePlotSelections()
            marked += here
        numbers = marked or told
        if numbers:
            self._onFrame(numbers[0])


def _firstNumbers(selections: Any) -> list[int]:
    """The first point of each selection that holds one."""
    return [
        int(selection.GetValue(0))
        for selection in selections
        if selection is not None and selection.GetNumberOfValues() > 0
    ]
