"""`qt.QUiLoader`: loads a .ui with the stand-ins, and refuses what the real application would not understand.

Connections are made here, in Python, because stand-ins carry VTK pointers in signals as Python objects.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QObject
from PySide6.QtUiTools import QUiLoader as PlainLoader

from slicer_standin.pythonqt import attributes, corrections

SLICER_PREFIXES = ("ctk", "qMRML", "qSlicer")


class _Loader(PlainLoader):
    """Makes the stand-ins. They are kept: PySide6 would otherwise forget the Python side of a widget it handed out."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._made: list = []

    def createWidget(self, class_name, parent=None, name=""):
        from slicer_standin.widgets import stand_in

        if not class_name.startswith(SLICER_PREFIXES):
            return super().createWidget(class_name, parent, name)
        widget = stand_in(class_name)(parent)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget


def _read(source) -> ElementTree.Element:
    """The XML of an open device or of a path."""
    text = source.readAll().data() if hasattr(source, "readAll") else Path(source).read_bytes()
    return ElementTree.fromstring(text)


def _take_connections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """Sender, signal, receiver and slot of each connection; they are removed from the XML."""
    parts = ("sender", "signal", "receiver", "slot")
    found = [tuple(entry.findtext(part) for part in parts) for entry in root.iter("connection")]
    for element in root.findall("connections"):
        root.remove(element)
    return found


def _check_widgets(root: ElementTree.Element) -> None:
    from slicer_standin.widgets import check_element

    for element in root.iter("widget"):
        if element.get("class").startswith(SLICER_PREFIXES):
            check_element(element)


def _make(loader: _Loader, root: ElementTree.Element):
    """Let Qt build the widgets of the XML."""
    for entry in root.iter("property"):
        text = entry.find("string")
        if entry.get("name") == "toolTip" and text is not None:
            text.text = corrections.wrapped_tool_tip(text.text or "")
    buffer = QBuffer()
    buffer.setData(ElementTree.tostring(root))
    buffer.open(QIODevice.ReadOnly)
    attributes.loading.update(element.get("name") for element in root.iter() if element.get("name"))
    try:
        widget = loader.load(buffer)
    finally:
        attributes.loading.clear()
    if widget is None:
        raise RuntimeError(loader.errorString())
    return widget


def _connect(widget, sender: str, signal: str, receiver: str, slot: str) -> None:
    objects = [widget if widget.objectName == name else widget.findChild(QObject, name) for name in (sender, receiver)]
    if None in objects:
        raise RuntimeError(f".ui connection names a missing object: {sender} / {receiver}")
    objects[0].connect(signal, getattr(objects[1], slot.split("(")[0]))


class QUiLoader:
    """The part of QUiLoader that slicer.util.loadUI uses."""

    def load(self, source, parent=None):
        """The top widget of a .ui; RuntimeError for anything that Slicer's classes do not have."""
        root = _read(source)
        connections = _take_connections(root)
        _check_widgets(root)
        loader = _Loader(parent)
        widget = _make(loader, root)
        for connection in connections:
            _connect(widget, *connection)
        widget._loader = loader
        return widget
