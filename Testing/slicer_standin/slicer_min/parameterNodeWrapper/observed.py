"""Containers that write themselves back into the parameter node when they are changed."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence


class _Observed:
    """Where a container came from."""

    def __init__(self, parameterNode, serializer, name, content):
        self._parameterNode = parameterNode
        self._serializer = serializer
        self._name = name
        self._content = content

    def _save(self):
        """Write; what the node does not take is given up again."""
        try:
            self._serializer.write(self._parameterNode, self._name, self._content)
        finally:
            self._content = self._serializer.read(self._parameterNode, self._name)._content

    def __len__(self):
        return len(self._content)

    def __getitem__(self, key):
        return self._content[key]

    def __setitem__(self, key, value):
        self._content[key] = value
        self._save()

    def __delitem__(self, key):
        del self._content[key]
        self._save()

    def __eq__(self, other):
        return self._content == (other._content if isinstance(other, _Observed) else other)

    __hash__ = None

    def __repr__(self):
        return f"{type(self).__name__}({self._content})"


class ObservedList(_Observed, MutableSequence):
    """A list. `+` and `*` are refused: they look as if they changed the parameter."""

    def insert(self, index, value):
        self._content.insert(index, value)
        self._save()

    def extend(self, values):
        self._content.extend(values)
        self._save()

    def clear(self):
        self._content.clear()
        self._save()

    def sort(self, *args, **kwargs):
        self._content.sort(*args, **kwargs)
        self._save()

    def reverse(self):
        self._content.reverse()
        self._save()

    def _refuse(self, other):
        raise NotImplementedError("Only changes in place are supported for an ObservedList.")

    __add__ = __radd__ = __mul__ = __rmul__ = _refuse


class ObservedDict(_Observed, MutableMapping):
    """A dictionary."""

    def __iter__(self):
        return iter(self._content)
