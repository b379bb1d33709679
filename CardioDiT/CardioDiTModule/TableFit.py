from __future__ import annotations

from typing import Any

import qt


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
