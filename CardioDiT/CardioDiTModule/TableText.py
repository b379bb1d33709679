from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import Any


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
