"""How values are kept in the parameter node: as strings, as node references, containers one item at a time.

The names under which things are kept are those of Slicer, so that a scene saved there can be read here.
"""

from __future__ import annotations

import abc
import enum
import pathlib
import typing

import slicer

from .observed import ObservedDict, ObservedList
from .util import isUnion, splitAnnotations
from .validators import IsInstance, IsNone, NotNone, extractValidators

PATH_TYPES = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class Serializer(abc.ABC):
    """Reads and writes one parameter."""

    caches = True

    @staticmethod
    @abc.abstractmethod
    def canSerialize(type_):
        """Whether this class can keep values of a type."""

    @classmethod
    @abc.abstractmethod
    def create(cls, type_):
        """A serializer for the type, with the type's own validators around it."""

    @abc.abstractmethod
    def default(self):
        """The value of a parameter without a default of its own."""

    @abc.abstractmethod
    def write(self, parameterNode, name, value):
        """Keep a value."""

    @abc.abstractmethod
    def read(self, parameterNode, name):
        """The value that was kept."""

    def isIn(self, parameterNode, name):
        """Whether the node holds the parameter."""
        return bool(parameterNode.HasParameter(name))

    def remove(self, parameterNode, name):
        """Remove the parameter."""
        parameterNode.UnsetParameter(name)

    def supportsCaching(self):
        """Whether a value may be kept beside the node."""
        return self.caches


class ValidatedSerializer(Serializer):
    """A serializer and the conditions on its values."""

    def __init__(self, serializer, validators):
        inner = isinstance(serializer, ValidatedSerializer)
        self.serializer = serializer.serializer if inner else serializer
        self.validators = [*(serializer.validators if inner else []), *validators]

    @staticmethod
    def canSerialize(type_):
        return False

    @classmethod
    def create(cls, type_):
        raise NotImplementedError("a ValidatedSerializer is made around another serializer")

    def validate(self, value):
        """Raise for a value that is not allowed."""
        for validator in self.validators:
            validator.validate(value)

    def default(self):
        return self.serializer.default()

    def isIn(self, parameterNode, name):
        return self.serializer.isIn(parameterNode, name)

    def write(self, parameterNode, name, value):
        self.validate(value)
        self.serializer.write(parameterNode, name, value)

    def read(self, parameterNode, name):
        return self.serializer.read(parameterNode, name)

    def remove(self, parameterNode, name):
        self.serializer.remove(parameterNode, name)

    def supportsCaching(self):
        return self.serializer.supportsCaching()


_registered: list[type[Serializer]] = []


def parameterNodeSerializer(classtype=None):
    """Class decorator: register a serializer."""

    def register(cls):
        if not issubclass(cls, Serializer):
            raise Exception("Must be a serializer type.")
        _registered.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createSerializer(type_, annotations):
    """The serializer for a type with annotations, and the annotations that are no validators."""
    validators, others = extractValidators(annotations)
    for candidate in _registered:
        if candidate.canSerialize(type_):
            return ValidatedSerializer(candidate.create(type_), validators), others
    raise Exception(f"Unable to create serializer for type: {type_}")


def createSerializerFromAnnotatedType(annotatedType):
    """The serializer for a type that may have annotations."""
    return createSerializer(*splitAnnotations(annotatedType))[0]


@parameterNodeSerializer
class NumberSerializer(Serializer):
    """int and float."""

    def __init__(self, type_):
        self.type = type_

    @staticmethod
    def canSerialize(type_):
        return type_ in (int, float)

    @classmethod
    def create(cls, type_):
        accepted = (int, float) if type_ is float else int
        return ValidatedSerializer(cls(type_), [NotNone(), IsInstance(accepted)])

    def default(self):
        return 0

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, str(value))

    def read(self, parameterNode, name):
        return self.type(parameterNode.GetParameter(name))


@parameterNodeSerializer
class StringSerializer(Serializer):
    """str."""

    @staticmethod
    def canSerialize(type_):
        return type_ is str

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [NotNone(), IsInstance(str)])

    def default(self):
        return ""

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, value)

    def read(self, parameterNode, name):
        return parameterNode.GetParameter(name)


@parameterNodeSerializer
class PathSerializer(Serializer):
    """The classes of pathlib."""

    def __init__(self, pathtype):
        self.type = pathtype

    @staticmethod
    def canSerialize(type_):
        return type_ in PATH_TYPES

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [NotNone(), IsInstance(type_)])

    def default(self):
        return self.type()

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, str(value))

    def read(self, parameterNode, name):
        return self.type(parameterNode.GetParameter(name))


@parameterNodeSerializer
class BoolSerializer(Serializer):
    """bool."""

    @staticmethod
    def canSerialize(type_):
        return type_ is bool

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [NotNone(), IsInstance(bool)])

    def default(self):
        return False

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, "True" if value else "False")

    def read(self, parameterNode, name):
        return parameterNode.GetParameter(name) == "True"


@parameterNodeSerializer
class NodeSerializer(Serializer):
    """A node of the scene, kept as reference; None is allowed."""

    @staticmethod
    def canSerialize(type_):
        return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [IsInstance(type_)])

    def default(self):
        return None

    def write(self, parameterNode, name, value):
        # The empty parameter tells that None was written.
        parameterNode.SetParameter(name, "")
        parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, parameterNode, name):
        return parameterNode.GetNodeReference(name)

    def remove(self, parameterNode, name):
        parameterNode.UnsetParameter(name)
        parameterNode.RemoveNodeReferenceIDs(name)


@parameterNodeSerializer
class EnumSerializer(Serializer):
    """A member of an enumeration, kept by its name."""

    def __init__(self, enum_):
        if len(enum_) == 0:
            raise ValueError("Cannot serialize empty Enum.")
        self.enum = enum_

    @staticmethod
    def canSerialize(type_):
        return isinstance(type_, type) and issubclass(type_, enum.Enum)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [IsInstance(type_)])

    def default(self):
        return next(iter(self.enum))

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, value.name)

    def read(self, parameterNode, name):
        key = parameterNode.GetParameter(name)
        if key not in self.enum.__members__:
            raise ValueError(f"Found {key!r} in parameter node but it is not a name in {self.enum!r}")
        return self.enum[key]


@parameterNodeSerializer
class ListSerializer(Serializer):
    """list[T]."""

    def __init__(self, elementTypeSerializer):
        self._element = elementTypeSerializer
        self._length = NumberSerializer(int)

    @staticmethod
    def canSerialize(type_):
        return typing.get_origin(type_) is list

    @classmethod
    def create(cls, type_):
        return cls(createSerializerFromAnnotatedType(typing.get_args(type_)[0]))

    def default(self):
        return []

    def isIn(self, parameterNode, name):
        return self._length.isIn(parameterNode, f"{name}_len")

    def _len(self, parameterNode, name):
        return self._length.read(parameterNode, f"{name}_len") if self.isIn(parameterNode, name) else 0

    def _validate(self, values):
        """All items are checked before the first is written, so that an error leaves the old list."""
        for value in values:
            if isinstance(self._element, ValidatedSerializer):
                self._element.validate(value)

    def write(self, parameterNode, name, value):
        values = list(value)
        self._validate(values)
        with slicer.util.NodeModify(parameterNode):
            old_length = self._len(parameterNode, name)
            for index, item in enumerate(values):
                self._element.write(parameterNode, f"{name}_{index}", item)
            self._length.write(parameterNode, f"{name}_len", len(values))
            for index in range(len(values), old_length):
                self._element.remove(parameterNode, f"{name}_{index}")

    def read(self, parameterNode, name):
        count = self._len(parameterNode, name)
        items = [self._element.read(parameterNode, f"{name}_{index}") for index in range(count)]
        return ObservedList(parameterNode, self, name, items)

    def remove(self, parameterNode, name):
        with slicer.util.NodeModify(parameterNode):
            for index in range(self._len(parameterNode, name)):
                self._element.remove(parameterNode, f"{name}_{index}")
            self._length.remove(parameterNode, f"{name}_len")

    def supportsCaching(self):
        return self._element.supportsCaching()


@parameterNodeSerializer
class TupleSerializer(Serializer):
    """tuple[A, B, ...]."""

    def __init__(self, serializers):
        self._serializers = serializers

    @staticmethod
    def canSerialize(type_):
        return typing.get_origin(type_) is tuple

    @classmethod
    def create(cls, type_):
        return cls([createSerializerFromAnnotatedType(entry) for entry in typing.get_args(type_)])

    def default(self):
        return tuple(serializer.default() for serializer in self._serializers)

    def isIn(self, parameterNode, name):
        return self._serializers[0].isIn(parameterNode, f"{name}_0")

    def write(self, parameterNode, name, value):
        values = tuple(value)
        if len(values) != len(self._serializers):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(parameterNode):
            for index, (item, serializer) in enumerate(zip(values, self._serializers)):
                serializer.write(parameterNode, f"{name}_{index}", item)

    def read(self, parameterNode, name):
        return tuple(
            serializer.read(parameterNode, f"{name}_{index}") for index, serializer in enumerate(self._serializers)
        )

    def remove(self, parameterNode, name):
        for index, serializer in enumerate(self._serializers):
            serializer.remove(parameterNode, f"{name}_{index}")

    def supportsCaching(self):
        return all(serializer.supportsCaching() for serializer in self._serializers)


@parameterNodeSerializer
class DictSerializer(Serializer):
    """dict[K, V], kept as a list of pairs."""

    def __init__(self, keySerializer, valueSerializer):
        self._pairs = ListSerializer(TupleSerializer([keySerializer, valueSerializer]))

    @staticmethod
    def canSerialize(type_):
        return typing.get_origin(type_) is dict

    @classmethod
    def create(cls, type_):
        return cls(*[createSerializerFromAnnotatedType(entry) for entry in typing.get_args(type_)])

    def default(self):
        return {}

    def isIn(self, parameterNode, name):
        return self._pairs.isIn(parameterNode, name)

    def write(self, parameterNode, name, value):
        self._pairs.write(parameterNode, name, value.items())

    def read(self, parameterNode, name):
        return ObservedDict(parameterNode, self, name, dict(self._pairs.read(parameterNode, name)))

    def remove(self, parameterNode, name):
        self._pairs.remove(parameterNode, name)

    def supportsCaching(self):
        return self._pairs.supportsCaching()


@parameterNodeSerializer
class NoneSerializer(Serializer):
    """None, as a part of Optional."""

    @staticmethod
    def canSerialize(type_):
        return type_ is type(None)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [IsNone()])

    def default(self):
        return None

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, "True")

    def read(self, parameterNode, name):
        return None


@parameterNodeSerializer
class UnionSerializer(Serializer):
    """typing.Union and typing.Optional: the first member that takes a value keeps it."""

    def __init__(self, serializers):
        self._serializers = [ValidatedSerializer(serializer, []) for serializer in serializers]

    @staticmethod
    def canSerialize(type_):
        return isUnion(type_)

    @classmethod
    def create(cls, type_):
        return cls([createSerializerFromAnnotatedType(entry) for entry in typing.get_args(type_)])

    def default(self):
        optional = len(self._serializers) == 2 and isinstance(self._serializers[1].serializer, NoneSerializer)
        return None if optional else self._serializers[0].default()

    def _member_for(self, value):
        refusal = None
        for index, member in enumerate(self._serializers):
            if not member.serializer.canSerialize(type(value)):
                continue
            try:
                member.validate(value)
            except (TypeError, ValueError) as error:
                refusal = error
            else:
                return index, member
        raise refusal or TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def isIn(self, parameterNode, name):
        return any(member.isIn(parameterNode, f"{name}_{index}") for index, member in enumerate(self._serializers))

    def write(self, parameterNode, name, value):
        index, member = self._member_for(value)
        with slicer.util.NodeModify(parameterNode):
            self.remove(parameterNode, name)
            member.write(parameterNode, f"{name}_{index}", value)

    def read(self, parameterNode, name):
        for index, member in enumerate(self._serializers):
            if member.isIn(parameterNode, f"{name}_{index}"):
                return member.read(parameterNode, f"{name}_{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, parameterNode, name):
        for index, member in enumerate(self._serializers):
            member.remove(parameterNode, f"{name}_{index}")

    def supportsCaching(self):
        return all(member.supportsCaching() for member in self._serializers)
