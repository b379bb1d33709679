"""Enumerations: in PythonQt their values are numbers, in PySide6 they are members of Python enums."""

from __future__ import annotations

import enum
import types


class EnumInt(int):
    """The value of an enum property: a number that remembers the member it came from."""

    def __new__(cls, member):
        number = super().__new__(cls, member.value)
        number.member = member
        return number

    def __repr__(self) -> str:
        return str(int(self))

    def __eq__(self, other) -> bool:
        return int(self) == (other.value if isinstance(other, enum.Enum) else other)

    def __hash__(self) -> int:
        return int.__hash__(self)


def _enums_of(modules: list[types.ModuleType]):
    """All enumerations of Qt, those of classes included. dir(), because PySide6 makes its classes when asked for."""
    for module in modules:
        for name in dir(module):
            value = getattr(module, name, None)
            if not isinstance(value, type):
                continue
            for candidate in (value, *list(vars(value).values())):
                if isinstance(candidate, type) and issubclass(candidate, enum.Enum) and len(candidate):
                    yield candidate


def _as_number(self) -> int:
    return self.value


def _equal_by_number(self, other) -> bool:
    return self.value == (other.value if isinstance(other, enum.Enum) else other)


def _hash_of_number(self) -> int:
    return hash(self.value)


def install(modules: list[types.ModuleType]) -> None:
    """Let every enumeration of Qt compare with and convert to numbers."""
    for enumeration in _enums_of(modules):
        if issubclass(enumeration, int):
            continue
        enumeration.__int__ = _as_number
        enumeration.__index__ = _as_number
        enumeration.__eq__ = _equal_by_number
        enumeration.__hash__ = _hash_of_number
