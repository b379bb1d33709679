"""Parameters that belong together: a class whose annotated members are checked when they are set."""

from __future__ import annotations

import typing
from dataclasses import dataclass

import slicer

from .default import extractDefault
from .serializers import Serializer, ValidatedSerializer, createSerializer, parameterNodeSerializer
from .util import splitAnnotations, splitPossiblyDottedName, unannotatedType
from .validators import NotNone, Validator


@dataclass
class ParameterInfo:
    """What is known about one parameter."""

    basename: str
    serializer: Serializer
    default: object
    unalteredType: object


def isParameterPack(obj):
    """Whether a class or an object is a parameter pack."""
    return getattr(obj, "_is_parameterPack", False)


def describeParameter(classtype, name, annotated):
    """Serializer and default of one annotated member. A value after '=' goes before the annotation Default."""
    bare, annotations = splitAnnotations(annotated)
    serializer, others = createSerializer(bare, annotations)
    default, _unused = extractDefault(others)
    return serializer, default


def _stored_name(name):
    return f"_parameterPack_{name}_impl"


def _read(pack, name):
    return getattr(pack, _stored_name(name))


def _write(pack, name, value):
    pack.allParameters[name].serializer.validate(value)
    setattr(pack, _stored_name(name), value)


def _property(name):
    return property(lambda self: _read(self, name), lambda self, value: _write(self, name, value))


def _initialize(self, *args, **kwargs):
    """The values in the order of the members, or by name; defaults for the rest."""
    names = list(self.allParameters)
    given = dict(zip(names, args))
    for name, value in kwargs.items():
        if name not in self.allParameters:
            raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
        if name in given:
            raise TypeError(f"__init__() got multiple values for argument '{name}'")
        given[name] = value
    if len(args) > len(names):
        raise TypeError(f"__init__() takes {len(names)} arguments but {len(args)} were given")
    for name in names:
        _write(self, name, given.get(name, self.allParameters[name].default))


def _equal(self, other):
    """Equal values; a pack that was read from a parameter node equals one that was not."""
    if not isParameterPack(other) or self.allParameters is not other.allParameters:
        return False
    return all(_read(self, name) == _read(other, name) for name in self.allParameters)


def _text(self):
    return f"{type(self).__name__}({', '.join(f'{name}={_read(self, name)!r}' for name in self.allParameters)})"


def checkMember(pack, membername):
    """ValueError if a (dotted) name is no parameter of the pack."""
    top, rest = splitPossiblyDottedName(membername)
    if top not in pack.allParameters:
        raise ValueError(f"{pack} has no member '{top}'")
    if rest is None:
        return
    inner = unannotatedType(pack.allParameters[top].unalteredType)
    if not isParameterPack(inner):
        raise ValueError(f"{inner} is not a parameter pack but expects to have '{rest}'")
    checkMember(inner, rest)


def _get_value(self, membername):
    checkMember(self, membername)
    top, rest = splitPossiblyDottedName(membername)
    value = getattr(self, top)
    return value if rest is None else value.getValue(rest)


def _set_value(self, membername, value):
    checkMember(self, membername)
    top, rest = splitPossiblyDottedName(membername)
    if rest is None:
        setattr(self, top, value)
    else:
        getattr(self, top).setValue(rest, value)


def _data_type(classtype):
    def dataType(membername):
        checkMember(classtype, membername)
        top, rest = splitPossiblyDottedName(membername)
        annotated = classtype.allParameters[top].unalteredType
        return annotated if rest is None else unannotatedType(annotated).dataType(rest)

    return staticmethod(dataType)


def _member(classtype, name, annotated):
    serializer, annotated_default = describeParameter(classtype, name, annotated)
    if hasattr(classtype, name):
        default = getattr(classtype, name)
    else:
        default = annotated_default.value if annotated_default is not None else serializer.default()
    try:
        serializer.validate(default)
    except Exception as error:
        raise ValueError(f"The default parameter of '{default}' fails the validation checks:\n  {error}") from error
    return ParameterInfo(name, serializer, default, annotated)


def _own_init(init):
    """An __init__ of the class's own starts from the defaults."""

    def initialize(self, *args, **kwargs):
        _initialize(self)
        init(self, *args, **kwargs)

    return initialize


def _make_pack(classtype):
    members = typing.get_type_hints(classtype, include_extras=True)
    if not members:
        raise ValueError("Unable to find any members in parameterPack")
    classtype.allParameters = {name: _member(classtype, name, kind) for name, kind in members.items()}
    for name in members:
        setattr(classtype, name, _property(name))
    own = classtype.__dict__
    classtype.__init__ = _own_init(own["__init__"]) if "__init__" in own else _initialize
    for name, method in (("__eq__", _equal), ("__str__", _text), ("__repr__", _text)):
        if name not in own:
            setattr(classtype, name, method)
    for name, value in (("getValue", _get_value), ("setValue", _set_value), ("dataType", _data_type(classtype))):
        if hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterPack")
        setattr(classtype, name, value)
    classtype._is_parameterPack = True
    return classtype


def parameterPack(classtype=None):
    """Class decorator: make a parameter pack."""
    return _make_pack if classtype is None else _make_pack(classtype)


def nestedParameterNames(parameterPackClassOrInstance):
    """The dotted names of all parameters, packs in packs included."""
    pack = unannotatedType(parameterPackClassOrInstance)
    names = []
    for name, info in pack.allParameters.items():
        bare = unannotatedType(info.unalteredType)
        names += [f"{name}.{inner}" for inner in nestedParameterNames(bare)] if isParameterPack(bare) else [name]
    return names


class _PackValidator(Validator):
    """An instance of the pack's class."""

    def __init__(self, type_):
        self.type = type_

    def validate(self, value):
        if not isinstance(value, self.type):
            raise ValueError(f"Value must be of type '{self.type}', is type '{type(value)}'")


def _observed_class(pack_type):
    """A class of the pack that writes itself back into the parameter node when a value is set."""

    class Observed(pack_type):
        def __init__(self, parameterNode, serializer, name, values):
            object.__setattr__(self, "_frozen", False)
            _initialize(self, **values)
            self._source = (parameterNode, serializer, name)
            self._frozen = True

        def __setattr__(self, key, value):
            if self._frozen and not hasattr(self, key):
                raise AttributeError(f"'{pack_type.__name__}' has no attribute '{key}'")
            super().__setattr__(key, value)
            if self._frozen and key in self.allParameters:
                parameter_node, serializer, name = self._source
                serializer.write(parameter_node, name, self)

    Observed.__name__ = pack_type.__name__
    return Observed


@parameterNodeSerializer
class ParameterPackSerializer(Serializer):
    """A pack, kept one parameter at a time under dotted names."""

    def __init__(self, type_):
        self.type = type_
        self._observed = _observed_class(type_)

    @staticmethod
    def canSerialize(type_):
        return isParameterPack(type_)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [NotNone(), _PackValidator(type_)])

    def default(self):
        return self.type()

    def _parts(self, name):
        return [(key, info.serializer, f"{name}.{key}") for key, info in self.type.allParameters.items()]

    def isIn(self, parameterNode, name):
        _key, serializer, stored = self._parts(name)[0]
        return serializer.isIn(parameterNode, stored)

    def write(self, parameterNode, name, value):
        with slicer.util.NodeModify(parameterNode):
            for key, serializer, stored in self._parts(name):
                serializer.write(parameterNode, stored, _read(value, key))

    def read(self, parameterNode, name):
        values = {key: serializer.read(parameterNode, stored) for key, serializer, stored in self._parts(name)}
        return self._observed(parameterNode, self, name, values)

    def remove(self, parameterNode, name):
        for _key, serializer, stored in self._parts(name):
            serializer.remove(parameterNode, stored)

    def supportsCaching(self):
        return all(serializer.supportsCaching() for _key, serializer, _stored in self._parts(""))
