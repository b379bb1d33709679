"""`object.connect("signal(types)", callable)` and its opposite, as PythonQt has them."""

from __future__ import annotations

import inspect

from PySide6.QtCore import SIGNAL, QMetaObject, QObject

from slicer_standin.pythonqt import exceptions, meta_objects

_connect = QObject.connect
_disconnect = QObject.disconnect
VARIABLE_ARGUMENTS = inspect.CO_VARARGS


def normalized(signature: str) -> str:
    """A signature in Qt's normal form, without the digit that SIGNAL() puts in front."""
    return QMetaObject.normalizedSignature(signature.removeprefix("2")).data().decode()


def _signal(sender: QObject, signature: str) -> str:
    """The signal's name for PySide6; AttributeError where the class has no such signal."""
    wanted = normalized(signature)
    if meta_objects.has_signal(sender, wanted):
        return SIGNAL(wanted)
    # Stand-ins of C++ widgets carry VTK pointers as Python objects: translate the signature of the real class.
    translated = getattr(type(sender), "_signal_translation", {}).get(wanted)
    if translated is None:
        raise AttributeError(f"signal '{signature}' does not exist on {meta_objects.class_name(sender)}")
    return SIGNAL(translated)


def accepted_arguments(function) -> int | None:
    """How many positional arguments a Python function takes; None where it takes any number."""
    plain = function.__func__ if inspect.ismethod(function) else function
    if not inspect.isfunction(plain) or plain.__code__.co_flags & VARIABLE_ARGUMENTS:
        return None
    return plain.__code__.co_argcount - inspect.ismethod(function)


def _slot(function):
    """The function as Qt calls it: with as many arguments as it takes, exceptions recorded instead of raised."""
    count = accepted_arguments(function)

    def call(*arguments):
        try:
            return function(*arguments[:count])
        except Exception:
            exceptions.report()

    return call


def _connect_callable(sender: QObject, signature: str, function) -> bool:
    signal = _signal(sender, signature)
    slot = _slot(function)
    connected = bool(_connect(sender, signal, slot))
    sender.__dict__.setdefault("_connections", []).append((normalized(signature), function, slot))
    return connected


def connect(sender: QObject, *arguments) -> bool:
    """`sender.connect(signal, callable)` or `sender.connect(signal, receiver, slot)`."""
    if len(arguments) == 3 and arguments[0] is sender:
        return _connect(sender, arguments[1], arguments[2])  # how PySide6 itself connects a single-shot timer
    if len(arguments) == 2 and isinstance(arguments[0], str) and callable(arguments[1]):
        return _connect_callable(sender, *arguments)
    if len(arguments) == 3 and isinstance(arguments[0], str):
        signature, receiver, slot = arguments
        function = slot if callable(slot) else getattr(receiver, slot.split("(")[0])
        return _connect_callable(sender, signature, function)
    raise ValueError(f"connect() does not understand {arguments!r}")


def disconnect(sender: QObject, *arguments) -> bool:
    """`sender.disconnect(signal, callable)`, or `sender.disconnect(signal)` for all callables."""
    if not arguments or not isinstance(arguments[0], str):
        return _disconnect(sender, *arguments)
    signature = normalized(arguments[0])
    functions = arguments[1:]
    connections = sender.__dict__.get("_connections", [])
    matching = [entry for entry in connections if entry[0] == signature and (not functions or entry[1] == functions[0])]
    for entry in matching:
        _disconnect(sender, _signal(sender, arguments[0]), entry[2])
        connections.remove(entry)
    return bool(matching)
