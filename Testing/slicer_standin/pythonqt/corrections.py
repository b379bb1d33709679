"""Functions of Qt that take or return something else in PythonQt than in PySide6."""

from __future__ import annotations

import html

from PySide6.QtCore import QByteArray, QIODevice, QObject, QSettings
from PySide6.QtGui import QDesktopServices, QImage
from PySide6.QtWidgets import QMenu, QWidget

opened_urls: list[str] = []


def _no_bytes(self):
    raise TypeError("cannot convert 'QByteArray' object to bytes (PythonQt); use .data()")


def _tuples_for_children() -> None:
    """PythonQt returns lists of objects as tuples."""
    find_children, children = QObject.findChildren, QObject.children
    QObject.findChildren = lambda self, *arguments, **named: tuple(find_children(self, *arguments, **named))
    QObject.children = lambda self: tuple(children(self))


def _tuples_for_settings() -> None:
    """PythonQt returns string lists as tuples. A value that is not there is None."""
    read = QSettings.value

    def value(self, key, default=None):
        found = read(self, key, default)
        return tuple(found) if isinstance(found, list) else found

    QSettings.value = value


def _write_bytes_only() -> None:
    """QIODevice.write of PythonQt is the overload for QByteArray, which also takes bytes; text must be encoded."""
    write = QIODevice.write

    def strict(self, data):
        if not isinstance(data, bytes | QByteArray):
            raise ValueError(f"QIODevice.write() called with {type(data).__name__}: it takes bytes or QByteArray")
        return write(self, data)

    QIODevice.write = strict


def _image_constructors() -> None:
    """PythonQt can make a QImage of nothing, a file, another image or a size: not of a buffer of pixels."""
    make = QImage.__init__

    def strict(self, *arguments):
        if arguments and not isinstance(arguments[0], str | int | QImage) and type(arguments[0]).__name__ != "QSize":
            raise ValueError(f"no QImage constructor of PythonQt takes {type(arguments[0]).__name__}")
        make(self, *arguments)

    QImage.__init__ = strict


def _record_opened_urls() -> None:
    """A test must not start a browser."""

    def open_url(url) -> bool:
        opened_urls.append(url if isinstance(url, str) else url.toString())
        return True

    QDesktopServices.openUrl = staticmethod(open_url)


def wrapped_tool_tip(text: str) -> str:
    """A tool tip as the application gives it back: plain text is put into a paragraph, so that long lines break."""
    return f"<p>{html.escape(text, quote=False)}</p>" if text and not text.lstrip().startswith("<") else text


def _wrap_tool_tips() -> None:
    set_tool_tip = QWidget.setToolTip
    QWidget.setToolTip = lambda self, text: set_tool_tip(self, wrapped_tool_tip(text))


def _menus_of_anything() -> None:
    """PythonQt makes a menu for a parent that is no widget, as the Python side of a module's panel, too."""
    make = QMenu.__init__

    def lenient(self, *arguments, **named):
        make(self, *[argument for argument in arguments if isinstance(argument, str | QObject)], **named)

    QMenu.__init__ = lenient


def install() -> None:
    """Correct them all."""
    _wrap_tool_tips()
    _menus_of_anything()
    QByteArray.__bytes__ = _no_bytes
    _tuples_for_children()
    _tuples_for_settings()
    _write_bytes_only()
    _image_constructors()
    _record_opened_urls()
