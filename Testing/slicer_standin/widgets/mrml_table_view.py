"""`qMRMLTableView`: the cells of a table node as texts; nothing can be edited."""

from __future__ import annotations

from PySide6.QtGui import QStandardItem, QStandardItemModel

from slicer_standin.widgets.behaviours import behaviour
from slicer_standin.widgets.observing import observe


@behaviour
class _qMRMLTableView:
    """Shows its table, and follows it."""

    def _init(self):
        self._scene = self._table = self._tag = self._view_node = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def setMRMLTableNode(self, node):
        if self._table is not None:
            self._table.RemoveObserver(self._tag)
        self._table = node
        if node is not None:
            self._tag = observe(self, node, "ModifiedEvent", "_fill")
        self._fill()

    def mrmlTableNode(self):
        return self._table

    def setMRMLTableViewNode(self, node):
        self._view_node = node

    def mrmlTableViewNode(self):
        return self._view_node

    def _fill(self):
        table = None if self._table is None else self._table.GetTable()
        model = QStandardItemModel(self)
        columns = 0 if table is None else table.GetNumberOfColumns()
        names = [table.GetColumnName(column) for column in range(columns)]
        rows = [
            [table.GetValue(row, column).ToString() for column in range(columns)]
            for row in range(0 if table is None else table.GetNumberOfRows())
        ]
        if table is not None and not self._table.GetUseColumnTitleAsColumnHeader():
            # as the real view does: letters on top, and the names are a row
            rows.insert(0, names)
            names = [_letters(column) for column in range(columns)]
        model.setHorizontalHeaderLabels(names)
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                model.setItem(row, column, QStandardItem(text))
        self.setModel(model)
        self.resizeColumnsToContents()


def _letters(column: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    text = ""
    while column >= 0:
        text = chr(ord("A") + column % 26) + text
        column = column // 26 - 1
    return text
