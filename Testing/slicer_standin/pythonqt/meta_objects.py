"""What Qt's own description of an object's class tells.

PySide6 has one Python object for the description of a class, and it belongs to whichever widget was asked first: once
that widget is gone it is void ("already deleted"), also in the hands of who got it from another widget of the class.
So it is asked for each time, and the garbage collector, which lets widgets go at any moment, waits meanwhile.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QMetaObject, QObject


def asked(widget: QObject, question: Callable[[QMetaObject], Any]) -> Any:
    """The answer to a question about the class of an object; the description is not to be kept."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return question(widget.metaObject())
    finally:
        if collecting:
            gc.enable()


def class_name(widget: QObject) -> str:
    """Name of its C++ class."""
    return asked(widget, lambda meta: meta.className())


def has_signal(widget: QObject, signature: str) -> bool:
    """Whether it has a signal of this normalised signature."""
    return asked(widget, lambda meta: meta.indexOfSignal(signature) >= 0)


def property_type(widget: QObject, name: str) -> str:
    """Name of the type of a property."""
    return asked(widget, lambda meta: meta.property(meta.indexOfProperty(name)).typeName())


def is_writable(widget: QObject, name: str) -> bool:
    """Whether a property can be written."""
    return asked(widget, lambda meta: meta.property(meta.indexOfProperty(name)).isWritable())
