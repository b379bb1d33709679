"""`qMRMLPlotView`: the plots of a chart node in a real `vtkChartXY`, drawn as plain lines by Qt instead of VTK."""

from __future__ import annotations

import math

import slicer
import vtk
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen
from vtk.util import numpy_support

from slicer_standin.widgets.behaviours import behaviour
from slicer_standin.widgets.observing import observe

MARGINS = (54, 44, 22, 42)
MARKER = 3.0
LEGEND = (110, 22)
"""Width of the legend, height of a row of it."""


def _plot_of(series):
    """What the real view makes of a series node: a line over two columns; None where a column is missing."""
    table = series.GetTableNode().GetTable() if series is not None and series.GetTableNode() is not None else None
    if table is None or any(
        table.GetColumnByName(name) is None for name in (series.GetXColumnName(), series.GetYColumnName())
    ):
        return None
    plot = vtk.vtkPlotLine()
    plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
    plot.GetPen().SetColorF(*series.GetColor())
    plot.SetWidth(series.GetLineWidth())
    plot.SetLabel(series.GetYColumnName())
    return plot


def _points_of(plot) -> list[tuple[float, float]]:
    """Both columns of a plot, without what is not finite."""
    table = plot.GetInput()
    columns = [plot.GetData().GetInputAbstractArrayToProcess(axis, table) for axis in (0, 1)]
    pairs = zip(*(numpy_support.vtk_to_numpy(column).tolist() for column in columns))
    return [pair for pair in pairs if all(map(math.isfinite, pair))]


def _colour_of(plot) -> QColor:
    colour = plot.GetPen().GetColorObject()
    return QColor(colour.GetRed(), colour.GetGreen(), colour.GetBlue())


@behaviour
class _qMRMLPlotView:
    """Follows its view node; selections are made by the test, and told by emitting `dataSelected`."""

    def _init(self):
        self._scene = self._view_node = self._tag = None
        self._chart = vtk.vtkChartXY()

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def setMRMLPlotViewNode(self, node):
        if self._view_node is not None:
            self._view_node.RemoveObserver(self._tag)
        self._view_node = node
        if node is not None:
            self._tag = observe(self, node, "ModifiedEvent", "_fill")
        self._fill()

    def chart(self):
        return self._chart

    def fitToContent(self):
        """Axes to the data, those too that the chart node has fixed; the node is told, as by the real one."""
        self._fill()
        node, known = self._chart_node(), self._known()
        if node is not None and known:
            (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*known))
            node.SetXAxisRange(x0, x1)
            node.SetYAxisRange(y0, y1)

    def RemovePlotSelections(self):
        for number in range(self._chart.GetNumberOfPlots()):
            self._chart.GetPlot(number).SetSelection(vtk.vtkIdTypeArray())

    def _chart_node(self):
        name = None if self._view_node is None else self._view_node.GetPlotChartNodeID()
        return slicer.mrmlScene.GetNodeByID(name) if name else None

    def _fill(self):
        self._chart.ClearPlots()
        node = self._chart_node()
        for number in range(0 if node is None else node.GetNumberOfPlotSeriesNodes()):
            plot = _plot_of(node.GetNthPlotSeriesNode(number))
            if plot is not None:
                self._chart.AddPlot(plot)
        self.update()

    def _known(self):
        """All points that are shown."""
        plots = [self._chart.GetPlot(number) for number in range(self._chart.GetNumberOfPlots())]
        return [point for plot in plots for point in _points_of(plot)]

    def paintEvent(self, event):
        painter = QPainter(self)
        painter.fillRect(self.rect, QColor("white"))
        node = self._chart_node()
        plots = [self._chart.GetPlot(number) for number in range(self._chart.GetNumberOfPlots())]
        lines = [(plot, _points_of(plot)) for plot in plots]
        known = [point for _, points in lines for point in points]
        if node is not None and known:
            self._draw(painter, node, lines, known)
        painter.end()

    def _draw(self, painter, node, lines, known):
        left, top, right, bottom = MARGINS
        area = QRectF(left, top, self.width - left - right, self.height - top - bottom)
        (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*known))
        if not node.GetXAxisRangeAuto():
            x0, x1 = node.GetXAxisRange()
        if not node.GetYAxisRangeAuto():
            y0, y1 = node.GetYAxisRange()
        x1, y1 = max(x1, x0 + 1e-9), max(y1, y0 + 1e-9)

        def place(x, y):
            across, up = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
            return QPointF(area.left() + across * area.width(), area.bottom() - up * area.height())

        painter.setPen(QColor("black"))
        painter.drawRect(area)
        painter.drawText(QRectF(0, 2, self.width, 20), Qt.AlignCenter, node.GetTitle() or "")
        painter.drawText(QRectF(left, self.height - 22, area.width(), 20), Qt.AlignCenter, node.GetXAxisTitle() or "")
        painter.save()
        painter.translate(12, area.center().y())
        painter.rotate(-90)
        painter.drawText(QRectF(-area.height() / 2, -10, area.height(), 20), Qt.AlignCenter, node.GetYAxisTitle() or "")
        painter.restore()
        for value, corner in ((x0, area.bottomLeft()), (x1, area.bottomRight())):
            painter.drawText(QRectF(corner.x() - 30, corner.y() + 2, 60, 16), Qt.AlignCenter, f"{value:.2g}")
        for value, corner in ((y0, area.bottomLeft()), (y1, area.topLeft())):
            painter.drawText(QRectF(22, corner.y() - 8, left - 26, 16), Qt.AlignRight, f"{value:.0f}")
        for plot, points in lines:
            colour = _colour_of(plot)
            painter.setPen(QPen(colour, plot.GetWidth()))
            painter.setBrush(colour)
            places = [place(*point) for point in points]
            painter.drawPolyline(places)
            for spot in places:
                painter.drawEllipse(spot, MARKER, MARKER)
        painter.setBrush(Qt.NoBrush)
        if node.GetLegendVisibility():
            self._draw_legend(painter, area, lines)

    def _draw_legend(self, painter, area, lines):
        """Where VTK puts it: the upper right corner, over whatever is drawn there."""
        box = QRectF(area.right() - LEGEND[0] - 4, area.top() + 2, LEGEND[0], LEGEND[1] * len(lines))
        painter.fillRect(box, QColor("white"))
        painter.setPen(QColor("black"))
        painter.drawRect(box)
        for number, (plot, _points) in enumerate(lines):
            painter.setPen(_colour_of(plot))
            row = QRectF(box.left(), box.top() + LEGEND[1] * number, box.width(), LEGEND[1])
            painter.drawText(row, Qt.AlignCenter, plot.GetLabel())
