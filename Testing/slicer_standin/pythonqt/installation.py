"""Change PySide6 once, for the whole process."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QObject, QTimer

from slicer_standin.pythonqt import (
    attributes,
    connections,
    corrections,
    dialogs,
    enums,
    exceptions,
    meta_objects,
    singletons,
)
from slicer_standin.pythonqt.properties import NameAttribute, PropertyAttribute

MODULES = [QtCore, QtGui, QtWidgets]

# Their READ functions are virtual: an attribute in their place would be called from C++ and recurse.
VIRTUAL = {"sizeHint", "minimumSizeHint"}

_installed = False


def _object_classes() -> list[type]:
    """All classes derived from QObject, bases first. dir(), because PySide6 makes its classes when asked for."""
    found = {
        value
        for module in MODULES
        for name in dir(module)
        if isinstance(value := getattr(module, name, None), type) and issubclass(value, QObject)
    }
    return sorted(found, key=lambda kind: (len(kind.__mro__), kind.__name__))


def _patch(kind: type) -> None:
    """Give one Qt class PythonQt's attributes."""
    if "__setattr__" in kind.__dict__ or kind is QObject:
        kind.__setattr__ = attributes.write
    if "__getattribute__" in kind.__dict__ or kind is QObject:
        kind.__getattribute__ = attributes.read_with(kind.__getattribute__)
    meta = kind.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        _patch_property(kind, meta.property(index))


def _patch_property(kind: type, found) -> None:
    """Put an attribute in the place of the method that reads a property."""
    name = found.name()
    method = kind.__dict__.get(name)
    # 'singleShot' of a timer is also a static function, and that one wins in PythonQt.
    if name in VIRTUAL or isinstance(method, QtCore.Signal) or (kind is QTimer and name == "singleShot"):
        return
    setattr(kind, name, PropertyAttribute(name, not found.isWritable(), method))


def _patch_base() -> None:
    """Names that PythonQt adds to every object."""
    QObject.name = NameAttribute()
    QObject.connect = staticmethod(connections.connect)
    QObject.disconnect = staticmethod(connections.disconnect)
    QObject.className = lambda self: meta_objects.class_name(self)
    QObject.delete = lambda self: self.deleteLater()


def _patch_exec() -> None:
    """`exec_`: PythonQt drops a trailing underscore."""
    for kind in (QtCore.QCoreApplication, QtCore.QThread, QtCore.QEventLoop):
        kind.exec_ = kind.exec


def install() -> None:
    """Make PySide6 behave like PythonQt. There is no way back: use it in a process of its own."""
    global _installed
    if _installed:
        return
    _installed = True
    singletons.install()
    for kind in _object_classes():
        _patch(kind)
    enums.install(MODULES)
    corrections.install()
    _patch_base()
    _patch_exec()
    dialogs.install()
    exceptions.install()
