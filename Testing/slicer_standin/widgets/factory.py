"""Makes the stand-in of a class from the facts about it."""

from __future__ import annotations

import keyword
import re

from PySide6.QtCore import Property, QObject, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter
from PySide6.QtWidgets import QWidget

from slicer_standin import facts, qt
from slicer_standin.widgets.behaviours import load_all

# C++ type of a property -> type of the stand-in's property, and the value it starts with.
PROPERTY_TYPES = {
    "bool": ("bool", False),
    "int": ("int", 0),
    "double": ("double", 0.0),
    "float": ("double", 0.0),
    "QString": ("QString", ""),
    "QStringList": ("QStringList", ()),
    "QColor": ("QColor", None),
    "QIcon": ("QIcon", None),
}
SIGNAL_TYPES = {"bool": bool, "int": int, "double": float, "float": float, "QString": str, "QStringList": list}
# How PySide6 writes these types in the signature of a signal.
SIGNAL_TYPE_NAMES = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "QString",
    list: "QVariantList",
    object: "PyObject",
}

# Names that Python sees although no header declares them: PythonQt decorators in the application's sources.
DECORATED = {"qSlicerAbstractCoreModule": {"logic"}}

_state = {"version": "main"}
_made: dict[str, type] = {}


def use_facts(version: str) -> None:
    """Choose the version of Slicer that the stand-ins follow; only before the first one is made."""
    if _made and version != _state["version"]:
        raise RuntimeError("stand-ins have been made already")
    _state["version"] = version


def classes() -> dict:
    """The facts of the chosen version."""
    return facts.load(_state["version"])["classes"]


def exposed_names(name: str) -> set[str]:
    """All names that Python sees on the class, those of Qt's base left out."""
    known = classes()
    return set().union(*(facts.own_names(known[base]) for base in facts.ancestry(known, name) if base in known))


class Base:
    """Common part of all stand-ins: creation, stored property values, and the frame of those without behaviour."""

    _without_behaviour = False

    def __init__(self, *arguments, **_named) -> None:
        self._values = {}
        parents = [argument for argument in arguments if isinstance(argument, QWidget)]
        super().__init__(*parents[:1])
        for kind in reversed(type(self).__mro__):
            if "_init" in kind.__dict__:
                kind.__dict__["_init"](self)
        for argument in arguments:
            if isinstance(argument, str) and hasattr(self, "setText"):
                self.setText(argument)

    def paintEvent(self, event) -> None:
        super().paintEvent(event)
        if self._without_behaviour:
            painter = QPainter(self)
            painter.setPen(QColor("gray"))
            painter.drawRect(0, 0, self.width - 1, self.height - 1)
            painter.drawText(self.rect, Qt.AlignCenter, f"[{type(self).__name__}: stand-in has no behaviour]")
            painter.end()


class PlainBase:
    """The same for classes that are no widgets."""

    def __init__(self, *arguments, **_named) -> None:
        self._values = {}
        super().__init__(*[argument for argument in arguments if isinstance(argument, QObject)][:1])
        for kind in reversed(type(self).__mro__):
            if "_init" in kind.__dict__:
                kind.__dict__["_init"](self)


def _signals(class_facts: dict) -> tuple[dict, dict[str, str]]:
    """Signal objects by name, and the real signatures translated to those of the stand-in."""
    overloads: dict[str, list[list[str]]] = {}
    for signature in class_facts.get("sig", []):
        name, types, _ = facts.parse_signature(signature)
        overloads.setdefault(name, []).append(types)
    objects, translation = {}, {}
    for name, variants in overloads.items():
        python_variants = [tuple(SIGNAL_TYPES.get(kind, object) for kind in types) for types in variants]
        distinct = list(dict.fromkeys(python_variants))
        objects[name] = Signal(*distinct) if len(distinct) > 1 else Signal(*distinct[0])
        for types, python_types in zip(variants, python_variants):
            own = ",".join(SIGNAL_TYPE_NAMES[kind] for kind in python_types)
            translation[facts.normalized(f"{name}({','.join(types)})")] = f"{name}({own})"
    return objects, translation


def _property(name: str, declaration: str) -> Property:
    """One property, stored in the stand-in; a behaviour may take part in reading and writing."""
    type_name, start = PROPERTY_TYPES.get(declaration.split(" ")[0], ("QString", ""))

    def read(self):
        getter = getattr(type(self), f"_get_{name}", None)
        if getter is not None:
            return getter(self)
        value = self._values.get(name, start)
        if value is None:
            return QColor() if type_name == "QColor" else QIcon()
        return tuple(value) if isinstance(value, list) else value

    def write(self, value) -> None:
        self._values[name] = value
        changed = getattr(self, f"_on_{name}", None)
        if changed is not None:
            changed(value)

    return Property(type_name, read, None if "(ro)" in declaration else write)


def _property_setter(name: str):
    def set_value(self, value) -> None:
        setattr(self, name, value)

    return set_value


def _missing(class_name: str, method: str):
    def call(self, *_arguments):
        raise NotImplementedError(f"stand-in of {class_name} does not do {method}(); Slicer does")

    return call


def _method(name: str, class_name: str, properties: dict) -> object:
    """A method that no behaviour offers: the setter of a property, or one that says that it is missing."""
    setter = re.match(r"set([A-Z]\w*)$", name)
    if setter:
        for candidate in (setter.group(1)[0].lower() + setter.group(1)[1:], setter.group(1)):
            if candidate in properties:
                return _property_setter(candidate)
    return _missing(class_name, name)


def _base_class(class_facts: dict) -> type:
    bases = class_facts.get("b", [])
    name = bases[0] if bases else "QObject"
    return stand_in(name) if name in classes() else getattr(qt, name, QWidget)


def _check_behaviour(name: str, behaviour: type, base: type) -> None:
    """A behaviour must not offer what the real class does not."""
    known = exposed_names(name) | DECORATED.get(name, set())
    extra = [key for key in vars(behaviour) if not key.startswith("_") and key not in known and not hasattr(base, key)]
    if extra:
        raise TypeError(f"stand-in of {name} offers {extra}, which the real class does not show to Python")


def _members(name: str, class_facts: dict, base: type, behaviour: type | None) -> dict:
    """Everything in the stand-in's class."""
    signals, translation = _signals(class_facts)
    properties = facts.own_properties(class_facts)
    inherited = dict(getattr(base, "_signal_translation", {}))
    members: dict = {"_facts": class_facts, "_signal_translation": inherited | translation, **signals}
    members |= {key: _property(key, kind) for key, kind in properties.items() if key not in signals}
    for method in facts.own_methods(class_facts):
        if method not in members and not hasattr(base, method) and not keyword.iskeyword(method):
            members[method] = _method(method, name, properties)
    for values in class_facts.get("enum", {}).values():
        for number, value in enumerate(values):
            members.setdefault(value, number)
    if behaviour is not None:
        _check_behaviour(name, behaviour, base)
        members |= {key: value for key, value in vars(behaviour).items() if not key.startswith("__")}
    # A class that adds nothing to a Qt widget which is useful by itself needs no behaviour.
    members["_without_behaviour"] = behaviour is None and facts.qt_base(classes(), name) in ("QWidget", "QFrame")
    return members


def stand_in(name: str) -> type:
    """The stand-in of a class; AttributeError if Slicer and CTK have no such class."""
    if name in _made:
        return _made[name]
    if name not in classes():
        raise AttributeError(f"no class {name} in Slicer or CTK")
    class_facts = classes()[name]
    base = _base_class(class_facts)
    behaviour = load_all().get(name)
    common = Base if issubclass(base, QWidget) else PlainBase
    bases = (base,) if issubclass(base, (Base, PlainBase)) else (common, base)
    _made[name] = type(name, bases, _members(name, class_facts, base, behaviour))
    return _made[name]
