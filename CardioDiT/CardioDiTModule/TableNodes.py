"""Table nodes: filled, shown whole, and written as text."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk

from .BrowserSequences import KIND_ATTRIBUTE


def findTable(kind: str) -> Any:
    """The table node of a kind; None where there is none."""
    nodes = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return next((node for node in nodes if node.GetAttribute(KIND_ATTRIBUTE) == kind), None)


def texts(title: str, values: Iterable[Any]) -> Any:
    """A column of texts; None is empty."""
    return _column(vtk.vtkStringArray(), title, ("" if value is None else str(value) for value in values))


def numbers(title: str, values: Iterable[float | None]) -> Any:
    """A column of numbers; None is not a number."""
    return _column(vtk.vtkDoubleArray(), title, (math.nan if value is None else value for value in values))


def _column(array: Any, title: str, values: Iterable[Any]) -> Any:
    array.SetName(title)
    for value in values:
        array.InsertNextValue(value)
    return array


def fillTable(node: Any, columns: Sequence[Any]) -> None:
    """Put columns, as `texts` and `numbers` make them, into a table node in place of what it holds."""
    table = vtk.vtkTable()
    for column in columns:
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetLocked(True)
    node.SetUseColumnTitleAsColumnHeader(True)


def tableText(node: Any, separator: str) -> str:
    """A table node as text: names of the columns, with the unit where the column has one, then a line a row. Numbers
    that could not be had are empty.

    Args:
        node: The table node.
        separator: A comma for files, a tab for the clipboard.
    """
    table = node.GetTable()
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    columns = range(table.GetNumberOfColumns())
    titles = []
    for column in columns:
        name = table.GetColumnName(column)
        unit = node.GetColumnUnitLabel(name)
        titles.append(f"{name} ({unit})" if unit else name)
    writer.writerow(titles)
    for row in range(table.GetNumberOfRows()):
        writer.writerow([_cell(table.GetValue(row, column)) for column in columns])
    return stream.getvalue()


def writeText(path: Path, text: str) -> None:
    """Write a text file whole, to another name first.

    Raises:
        OSError: It could not be written; a former file is still there.
    """
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _cell(value: Any) -> str:
    if value.IsDouble() or value.IsFloat():
        number = value.ToDouble()
        return f"{number:.6g}" if math.isfinite(number) else ""
    return str(value.ToString())


def fitTable(view: Any, remarkLast: bool = False) -> None:
    """Let a table view show all of its table: columns and rows as large as their contents.

    Args:
        view: The view; its table has at least one column.
        remarkLast: The last column holds sentences: it takes the room that is left, on several lines where need be, so
            that nothing lies beyond the edge.
    """
    header = view.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    if remarkLast:
        view.setWordWrap(True)
        header.setSectionResizeMode(view.model().columnCount() - 1, qt.QHeaderView.Stretch)
        view.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
