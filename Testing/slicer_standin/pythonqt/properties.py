"""Qt properties as Python attributes, with the conversions and the refusals of PythonQt."""

from __future__ import annotations

import enum

from PySide6.QtCore import QObject

from slicer_standin.pythonqt import corrections
from slicer_standin.pythonqt.enums import EnumInt
from slicer_standin.pythonqt.meta_objects import property_type

read_property = QObject.property
write_property = QObject.setProperty

NUMBER_TYPES = ("int", "uint", "double", "float")


def converted(value, type_name: str):
    """The value as PythonQt would hand it to a property of this type; TypeError where it would refuse."""
    if isinstance(value, EnumInt):
        return value.member
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()  # numpy's scalars are accepted
    if type_name == "QString" and not isinstance(value, str):
        return "" if value is None else str(value)
    if type_name in ("QStringList", "QVariantList") and isinstance(value, tuple):
        return list(value)
    if type_name in NUMBER_TYPES and not isinstance(value, int | float | enum.Enum):
        raise TypeError
    if type_name == "int" and isinstance(value, float):
        return int(value)  # PythonQt cuts the fraction off, PySide6 would round
    return value


def for_python(value):
    """A property's value as PythonQt would return it."""
    if isinstance(value, enum.Enum):
        return EnumInt(value)
    return tuple(value) if isinstance(value, list) else value


def set_property(widget, name: str, value) -> None:
    """Write a property, or say that it does not take the value."""
    type_name = property_type(widget, name)
    if name == "toolTip" and isinstance(value, str):
        value = corrections.wrapped_tool_tip(value)
    try:
        accepted = write_property(widget, name, converted(value, type_name))
    except TypeError:
        accepted = False
    if not accepted:
        given = f"an object of type {type(value).__name__} ({value!r})"
        raise AttributeError(f"Property '{name}' of type '{type_name}' does not accept {given}")


class PropertyAttribute:
    """A property of a Qt class, in the place where PySide6 has the method that reads it."""

    def __init__(self, name: str, read_only: bool, method) -> None:
        self.name, self.read_only, self.method = name, read_only, method

    def __get__(self, widget, owner=None):
        if widget is None:
            return self.method  # PySide6 itself asks the class for the C++ method
        return for_python(read_property(widget, self.name))

    def __set__(self, widget, value) -> None:
        if self.read_only:
            raise AttributeError(f"Property '{self.name}' of {type(widget).__name__} object is not writable")
        set_property(widget, self.name, value)


class NameAttribute:
    """`.name`, which PythonQt offers for objectName."""

    def __get__(self, widget, owner=None):
        return self if widget is None else read_property(widget, "objectName")

    def __set__(self, widget, value) -> None:
        write_property(widget, "objectName", value)
