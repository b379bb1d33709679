"""The facts about Qt's own classes, asked of PySide6 (as it is: nothing is changed, no application is needed)."""

from __future__ import annotations

from functools import cache

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QMetaMethod

MODULES = (QtWidgets, QtGui, QtCore)
# Classes that only other distributions of Qt have: what is known of them is what their base has.
REPLACED = {"QVTKOpenGLNativeWidget": "QWidget", "QWebEngineView": "QWidget"}


def _qt_class(name: str) -> type | None:
    wanted = REPLACED.get(name, name)
    found = next((getattr(module, wanted) for module in MODULES if hasattr(module, wanted)), None)
    return found if isinstance(found, type) else None


def is_known_qt_class(name: str) -> bool:
    """Whether PySide6 has the class, and it describes itself."""
    return hasattr(_qt_class(name), "staticMetaObject")


@cache
def qt_members(name: str) -> tuple[set[str], set[str], set[str]]:
    """Names, properties and signatures of the signals of a Qt class, its bases included."""
    kind = _qt_class(name)
    if not hasattr(kind, "staticMetaObject"):
        return set(), set(), set()
    meta = kind.staticMetaObject
    properties = {meta.property(index).name() for index in range(meta.propertyCount())}
    methods = [meta.method(index) for index in range(meta.methodCount())]
    signals = {
        method.methodSignature().data().decode() for method in methods if method.methodType() == QMetaMethod.Signal
    }
    return {entry for entry in dir(kind) if not entry.startswith("__")}, properties, signals
