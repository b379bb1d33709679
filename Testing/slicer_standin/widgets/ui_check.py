"""Checks one widget of a .ui against the facts: a name that the real class lacks is an error already when loading."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ElementTree

from slicer_standin import facts, qt
from slicer_standin.widgets import factory


@functools.cache  # also because PySide6 may have deleted the description of a Qt class when it is asked for again
def _property_names(class_name: str) -> tuple[set[str], set[str]]:
    """Properties from the facts, and those of the Qt class at the bottom."""
    known = factory.classes()
    own = {name for base in facts.ancestry(known, class_name) if base in known for name in known[base].get("p", {})}
    meta = getattr(qt, facts.qt_base(known, class_name), qt.QWidget).staticMetaObject
    return own, {meta.property(index).name() for index in range(meta.propertyCount())}


def check_element(element: ElementTree.Element) -> None:
    """RuntimeError for a class or property that does not exist; enum values are turned into their names."""
    class_name = element.get("class")
    if class_name not in factory.classes():
        raise RuntimeError(f".ui uses {class_name}, a class that Slicer does not have")
    own, inherited = _property_names(class_name)
    for entry in element.findall("property"):
        name = entry.get("name")
        if entry.get("stdset") == "0":
            continue  # a dynamic property
        if name not in own | inherited:
            raise RuntimeError(f".ui: {class_name} has no property '{name}'")
        for value in entry:
            if name in own and value.tag in ("set", "enum"):
                value.tag = "string"
