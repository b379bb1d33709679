"""Reading and writing attributes of Qt objects with PythonQt's rules.

An unknown name reads a dynamic property; a wrapper of a C++ class takes no new attributes (a Python subclass does).
"""

from __future__ import annotations

import inspect
import types

from PySide6.QtCore import Property
from shiboken6 import Shiboken

from slicer_standin.pythonqt import connections
from slicer_standin.pythonqt.meta_objects import is_writable
from slicer_standin.pythonqt.properties import for_python, read_property, set_property, write_property

# Names of the objects in the .ui that is being loaded: PySide6's loader would add them as attributes of the parent.
loading: set[str] = set()

# The only __setattr__ that can still be called once those of all Qt classes are replaced.
_plain_setattr = Shiboken.Object.__setattr__


def _is_wrapper(kind: type) -> bool:
    """Whether instances of the class stand for a C++ object, not for a class derived in Python."""
    return kind.__module__.startswith("PySide6") or "_facts" in kind.__dict__


def read_with(original):
    """A __getattribute__ that knows connect, disconnect and dynamic properties."""

    def read(self, name: str):
        if name == "connect":
            return types.MethodType(connections.connect, self)
        if name == "disconnect":
            return types.MethodType(connections.disconnect, self)
        try:
            return original(self, name)
        except AttributeError:
            value = None if name.startswith("_") else read_property(self, name)
            if value is None:
                raise
            return for_python(value)

    return read


def _write_declared(widget, name: str, declared: Property, value) -> None:
    """Write a property that a stand-in's class declares."""
    if declared.fset is None:
        raise AttributeError(f"Property '{name}' of {type(widget).__name__} object is not writable")
    if is_writable(widget, name):
        set_property(widget, name, value)
    else:
        declared.fset(widget, value)  # a base class declares it read-only, and Qt keeps to that declaration


def write(self, name: str, value) -> None:
    """A __setattr__ that refuses what PythonQt refuses."""
    if name in loading:
        return
    kind = type(self)
    declared = inspect.getattr_static(kind, name, None)
    if not name.startswith("_") and _is_wrapper(kind) and not hasattr(kind, name):
        if read_property(self, name) is None:
            raise AttributeError(f"'{name}' is not defined: {kind.__name__} is a C++ class, attributes cannot be added")
        write_property(self, name, value)
    elif isinstance(declared, Property):
        _write_declared(self, name, declared, value)
    else:
        _plain_setattr(self, name, value)
