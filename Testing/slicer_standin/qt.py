"""`import qt` as in Slicer: one flat namespace with all Qt classes."""

from __future__ import annotations

from importlib import import_module

from slicer_standin import pythonqt
from slicer_standin.ui_loader import QUiLoader

__all__ = ["QUiLoader"]

MODULES = ("QtCore", "QtGui", "QtWidgets", "QtNetwork", "QtTest", "QtSvg")

pythonqt.install()
for _module_name in MODULES:
    try:
        _module = import_module(f"PySide6.{_module_name}")
    except ImportError:  # the small distribution of PySide6 lacks some
        continue
    for _name in dir(_module):
        if not _name.startswith("_"):
            globals().setdefault(_name, getattr(_module, _name, None))
