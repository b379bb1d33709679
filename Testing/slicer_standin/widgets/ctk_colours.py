"""CTK's button that chooses a colour."""

from __future__ import annotations

from PySide6.QtGui import QColor, QIcon, QPixmap

from slicer_standin.widgets.behaviours import behaviour


@behaviour
class _ctkColorPickerButton:
    """Shows its colour, and tells when it is another one; no dialog."""

    def _init(self):
        self._values["color"] = QColor("black")

    def _on_color(self, colour):
        picture = QPixmap(16, 16)
        picture.fill(colour)
        self.setIcon(QIcon(picture))
        if colour != getattr(self, "_last", QColor("black")):
            self._last = QColor(colour)
            self.colorChanged.emit(colour)
