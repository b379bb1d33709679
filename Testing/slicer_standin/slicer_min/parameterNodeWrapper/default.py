"""The annotation that gives a parameter its default."""

from __future__ import annotations


class Default:
    """A value, or a function that makes a new one each time."""

    def __init__(self, value=None, *, generator=None):
        self._value = value
        self._generator = generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value

    def __repr__(self):
        return f"Default(value={self._value}, generator={self._generator})"


def extractDefault(annotations):
    """The one Default among the annotations (or None), and the others."""
    found = [entry for entry in annotations if isinstance(entry, Default)]
    if len(found) > 1:
        raise Exception("Multiple defaults found")
    return (found[0] if found else None), [entry for entry in annotations if not isinstance(entry, Default)]
