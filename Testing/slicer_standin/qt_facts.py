"""The facts about Qt's own classes, asked of PySide6 (as it is: nothing is changed, no application is needed)."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

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


def _described(kind: type) -> tuple[set[str], set[str]]:
    """Properties, and signatures of the signals."""
    meta = kind.staticMetaObject
    properties = {meta.property(index).name() for index in range(meta.propertyCount())}
    methods = [meta.method(index) for index in range(meta.methodCount())]
    signals = {
        method.methodSignature().data().decode() for method in methods if method.methodType() == QMetaMethod.Signal
    }
    return properties, signals


def _all_described() -> dict[str, list[list[str]]]:
    kinds = {name: _qt_class(name) for module in MODULES for name in dir(module)}
    return {
        name: [sorted(part) for part in _described(kind)]
        for name, kind in kinds.items()
        if hasattr(kind, "staticMetaObject")
    }


@cache
def _described_elsewhere() -> dict[str, list[list[str]]]:
    """What a process of its own says, in which nobody has derived from Qt's classes."""
    code = "import json; from slicer_standin.qt_facts import _all_described; print(json.dumps(_all_described()))"
    place = Path(__file__).resolve().parents[1]
    made = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    return json.loads(made.stdout)


@cache
def qt_members(name: str) -> tuple[set[str], set[str], set[str]]:
    """Names, properties and signatures of the signals of a Qt class, its bases included."""
    kind = _qt_class(name)
    if not hasattr(kind, "staticMetaObject"):
        return set(), set(), set()
    try:
        properties, signals = _described(kind)
    except RuntimeError:  # PySide6's description is void once a class that was derived from it has been collected
        properties, signals = map(set, _described_elsewhere()[REPLACED.get(name, name)])
    return {entry for entry in dir(kind) if not entry.startswith("__")}, properties, signals
