from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from .BrowserSequences import SOURCE_ROLE, cineName, describeNode, placeBesideCine, removeNodes
from .SequenceBuilder import ATTRIBUTE_PREFIX, jsonAttribute
from .TableNodes import fillTable, numbers, texts

KIND = "function"
REPORT_ATTRIBUTE = ATTRIBUTE_PREFIX + "report"
CURVES_ROLE, CHART_ROLE = "CardioDiTCurves", "CardioDiTChart"
SHORT_GROUPS = {"Left ventricle": "LV", "Right ventricle": "RV"}
CURVES = (
    ("frame_times_s", "time", "s"),
    ("lv_volume_ml", "LV volume", "mL"),
    ("rv_volume_ml", "RV volume", "mL"),
    ("lv_mass_curve_g", "LV mass", "g"),
    ("septal_angle_deg", "septal angle", "degrees"),
    ("septal_length_mm", "septal length", "mm"),
)
"""Field of the report, name of the column, unit."""

PLOTTED = (("LV volume", (0.0, 0.45, 0.7)), ("RV volume", (0.84, 0.37, 0.0)))

HEADROOM = 1.6
"""The vertical axis ends at this many times the largest volume: the legend of two lines takes a third of the chart."""

LEGEND_FONT_SIZE = 12


class FunctionNodes:
    """What was measured on a cine, as nodes: a table of numbers, a table of curves, a chart of the volumes over time.
    Measured again, the same nodes take the new numbers.

    Args:
        browser: The browser node of the cine, or None.
    """

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @property
    def table(self) -> Any:
        """The table of numbers; None where nothing was measured."""
        if self._browser is None or self._browser.GetScene() is None:
            return None
        cine = self._browser.GetMasterSequenceNode()
        for node in slicer.util.getNodesByClass("vtkMRMLTableNode"):
            if node.GetAttribute(ATTRIBUTE_PREFIX + "kind") == KIND and node.GetNodeReference(SOURCE_ROLE) is cine:
                return node
        return None

    @property
    def curves(self) -> Any:
        """The table of curves; None where nothing was measured."""
        table = self.table
        return None if table is None else table.GetNodeReference(CURVES_ROLE)

    @property
    def chart(self) -> Any:
        """The chart node; None where nothing was measured."""
        table = self.table
        return None if table is None else table.GetNodeReference(CHART_ROLE)

    def report(self) -> dict[str, Any]:
        """As `FunctionReport.to_dict`; empty where nothing was measured."""
        table = self.table
        return {} if table is None else jsonAttribute(table, REPORT_ATTRIBUTE) or {}

    def buildSteps(self, values: dict[str, Any]) -> Iterator[None]:
        """Make the nodes, or fill those that are there.

        Args:
            values: ``report`` and ``table`` as the worker gives them.

        Returns:
            The table node. If the iterator is closed before its end, no new node stays in the scene.
        """
        made: list[Any] = []
        done = False
        try:
            table = yield from self._build(values, made)
            done = True
            return table
        finally:
            if not done:
                removeNodes(made)

    def _build(self, values: dict[str, Any], made: list[Any]) -> Iterator[None]:
        report = values["report"]
        meta = dict(report.get("meta") or {})
        name = cineName(self._browser)
        table = self.table
        isNew = table is None
        if isNew:
            table = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(_("Function {cine}").format(cine=name))
            )
            made.append(table)
        fillNumbers(table, values["table"])
        describeNode(table, KIND, self._browser, meta)
        table.SetAttribute(REPORT_ATTRIBUTE, json.dumps(report))
        table.SetNodeReferenceID(SOURCE_ROLE, self._browser.GetMasterSequenceNode().GetID())
        yield
        curves = table.GetNodeReference(CURVES_ROLE)
        if curves is None:
            curves = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(_("Curves {cine}").format(cine=name))
            )
            made.append(curves)
            table.SetNodeReferenceID(CURVES_ROLE, curves.GetID())
        fillCurves(curves, report)
        describeNode(curves, "curves", self._browser, meta)
        yield
        chart = table.GetNodeReference(CHART_ROLE)
        if chart is None:
            chart = makeChart(curves, name)
            made += [chart, *(chart.GetNthPlotSeriesNode(number) for number in range(len(PLOTTED)))]
            table.SetNodeReferenceID(CHART_ROLE, chart.GetID())
        fitChart(chart, report)
        describeNode(chart, "chart", self._browser, meta)
        if isNew:
            placeBesideCine(self._browser, [table, curves, chart])
        return table


def fillNumbers(node: Any, rows: Sequence[dict[str, Any]]) -> None:
    """One row a quantity: name, value (NaN where there is none), unit, and why there is none."""
    known = [None if row["value"] is None else round(row["value"], row["digits"]) for row in rows]
    columns = [texts("Quantity", map(quantityName, rows)), numbers("Value", known)]
    columns += [texts("Unit", [row["unit"] for row in rows]), texts("Remark", [row["reason"] for row in rows])]
    fillTable(node, columns)
    node.SetColumnDescription("Value", _("Not a number (nan) where it could not be had: the remark says why"))


def fillCurves(node: Any, report: dict[str, Any]) -> None:
    """One row a frame, with units."""
    fillTable(node, [numbers(title, report[field]) for field, title, _unit in CURVES])
    for _field, title, unit in CURVES:
        node.SetColumnUnitLabel(title, unit)


def makeChart(curves: Any, name: str) -> Any:
    """A chart node with the volumes of both ventricles over time."""
    chart = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLPlotChartNode", slicer.mrmlScene.GenerateUniqueName(_("Volumes {cine}").format(cine=name))
    )
    for column, colour in PLOTTED:
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column)
        series.SetAndObserveTableNodeID(curves.GetID())
        series.SetXColumnName(CURVES[0][1])
        series.SetYColumnName(column)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series.SetMarkerSize(8)
        series.SetLineWidth(2)
        series.SetColor(*colour)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(_("Volume over the cycle"))
    chart.SetXAxisTitle(_("time (s)"))
    chart.SetYAxisTitle(_("volume (mL)"))
    return chart


def fitChart(chart: Any, report: dict[str, Any]) -> None:
    """Volumes from 0, and room above the curves: the legend lies in the upper right corner, over what is there."""
    values = [value for field, title, _unit in CURVES for value in report[field] if title in dict(PLOTTED)]
    known = [value for value in values if value is not None and value == value]
    chart.SetLegendFontSize(LEGEND_FONT_SIZE)
    if known:
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0.0, max(known) * HEADROOM or 1.0)


def quantityName(row: dict[str, Any]) -> str:
    """What a row is, such as "LV ejection fraction"."""
    short = SHORT_GROUPS.get(row["group"])
    name = str(row["name"])
    return f"{short} {name[0].lower()}{name[1:]}" if short else name
