from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

WIDTH = 360


class BullseyePicture:
    """The bullseye of the AHA segments, drawn by the worker, in a label; or why there is none.

    Args:
        label: A QLabel.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self.clear()

    def show(self, path: str, problem: str = "") -> None:
        """Show a picture.

        Args:
            path: A PNG; "" for none.
            problem: Why there is none.
        """
        picture = qt.QPixmap(path) if path else qt.QPixmap()
        if picture.isNull():
            self._label.clear()
            self._label.text = _("No bullseye: {reason}").format(reason=problem) if problem else ""
        else:
            self._label.setPixmap(picture.scaledToWidth(WIDTH, qt.Qt.SmoothTransformation))
        self._label.setVisible(not picture.isNull() or bool(problem))

    def clear(self) -> None:
        """Show nothing."""
        self.show("")
