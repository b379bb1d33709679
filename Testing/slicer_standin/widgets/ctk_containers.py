"""CTK's boxes that fold."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QSizePolicy, QStyle, QStyleOptionButton, QWidget
from shiboken6 import Shiboken

from slicer_standin.widgets.behaviours import behaviour

TITLE_HEIGHT = 24
NO_LIMIT = 16777215


def _hide_children(box) -> None:
    """Hide the children that are not hidden on purpose, and remember them for unfolding."""
    children = box.findChildren(QWidget, options=Qt.FindDirectChildrenOnly)
    shown = [child for child in children if not child.isHidden()]
    box._folded = [*box._folded, *shown]
    for child in shown:
        child.hide()


def _show_children(box) -> None:
    folded, box._folded = box._folded, []
    for child in folded:
        if Shiboken.isValid(child):
            child.show()


def _fold(box, folded: bool) -> None:
    if folded:
        _hide_children(box)
    else:
        _show_children(box)


@behaviour
class _ctkCollapsibleButton:
    """A button with a title; unchecked means that its contents are hidden."""

    def _init(self):
        self._values["collapsed"] = False
        self._folded = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, TITLE_HEIGHT, 0, 0)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Preferred)
        self.connect("toggled(bool)", self._toggle)

    def _toggle(self, checked):
        if self._values["collapsed"] == checked:
            self.collapsed = not checked

    def _on_collapsed(self, collapsed):
        _fold(self, collapsed)
        self.setMaximumHeight(TITLE_HEIGHT if collapsed else NO_LIMIT)
        self.setChecked(not collapsed)
        self.contentsCollapsed.emit(bool(collapsed))

    def sizeHint(self):
        layout = self.layout()
        return QSize(200, TITLE_HEIGHT) if self.collapsed or not layout else layout.totalSizeHint()

    def minimumSizeHint(self):
        return self.sizeHint()

    def showEvent(self, event):
        """Children that were added while it was folded, as by a .ui, are hidden too."""
        if self.collapsed:
            _hide_children(self)

    def hitButton(self, position):
        return position.y() < TITLE_HEIGHT

    def paintEvent(self, event):
        painter, option = QPainter(self), QStyleOptionButton()
        option.initFrom(self)
        option.rect = option.rect.adjusted(0, 0, 0, TITLE_HEIGHT - option.rect.height())
        option.text = f"{'▸' if self.collapsed else '▾'} {self.text}"
        self.style().drawControl(QStyle.CE_PushButton, option, painter, self)
        painter.end()


@behaviour
class _ctkCollapsibleGroupBox:
    """A group box with a check mark; unchecked means that its contents are hidden."""

    def _init(self):
        self._folded = []
        self.setCheckable(True)
        self.setChecked(True)
        self.connect("toggled(bool)", self._toggle)

    def _toggle(self, checked):
        _fold(self, not checked)

    def showEvent(self, event):
        """Children that were added while it was folded, as by a .ui, are hidden too."""
        if self.collapsed:
            _hide_children(self)

    def _get_collapsed(self):
        return not self.checked

    def _on_collapsed(self, collapsed):
        self.setChecked(not collapsed)
