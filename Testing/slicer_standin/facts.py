"""The facts about Slicer's and CTK's C++ classes: which names Python can see, as read off the public headers.

Keys of a class: b = bases, p = properties {name: type}, sig = signals, slot = public slots, inv = invokable methods,
deco = methods that PythonQt decorators add, enum = enumerations, plain = C++ methods that Python can NOT call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
VERSIONS = ("main", "5.12")
METHOD_KEYS = ("slot", "inv", "deco")
TWO_WORD_TYPES = ("unsigned", "long", "signed", "short")


@cache
def load(version: str = "main") -> dict:
    """The reduced facts of one Slicer version ('main' or '5.12')."""
    return json.loads((FOLDER / f"facts-{version}.json").read_text(encoding="utf-8"))


def split_arguments(text: str) -> list[str]:
    """The arguments of a signature, split at commas that are not inside a template's brackets."""
    parts = re.split(r",(?![^<]*>)", text)
    return [part.strip() for part in parts if part.strip()]


def argument_type(argument: str) -> str:
    """The type of one argument: 'double value=0' -> 'double'."""
    declaration = argument.split("=")[0].strip()
    match = re.match(r"^(.*[\w>*&])\s+(\w+)$", declaration)
    if match is None or match.group(1) in TWO_WORD_TYPES:
        return declaration
    return match.group(1)


def parse_signature(signature: str) -> tuple[str, list[str], int]:
    """Name, argument types and number of arguments that have a default, of a signature as the facts write it."""
    head, _, rest = signature.partition("(")
    name = head.split()[-1].lstrip("*&")
    arguments = split_arguments(rest[: rest.rindex(")")])
    return name, [argument_type(argument) for argument in arguments], sum("=" in argument for argument in arguments)


def normalized(signature: str) -> str:
    """A signature without spaces, const and references, so that two ways of writing it compare equal."""
    return re.sub(r"\bconst\b|&|\s", "", signature)


def signal_signatures(signature: str) -> list[str]:
    """All forms under which a signal can be connected: each default argument may be left out."""
    name, types, defaults = parse_signature(signature)
    return [normalized(f"{name}({','.join(types[: len(types) - left_out])})") for left_out in range(defaults + 1)]


def ancestry(classes: dict, name: str) -> Iterator[str]:
    """The class, then all its bases (each once); the last ones are Qt's, which have no facts here."""
    waiting, seen = [name], set()
    while waiting:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        yield current
        waiting += classes.get(current, {}).get("b", [])


def own_properties(facts: dict) -> dict[str, str]:
    """The properties that a class itself adds."""
    return facts.get("p", {})


def own_signals(facts: dict) -> set[str]:
    """The normalized signatures of the signals that a class itself adds."""
    return {form for signature in facts.get("sig", []) for form in signal_signatures(signature)}


def own_methods(facts: dict) -> set[str]:
    """The names of the methods of a class itself that Python can call."""
    return {parse_signature(signature)[0] for key in METHOD_KEYS for signature in facts.get(key, [])}


def own_names(facts: dict) -> set[str]:
    """Everything that Python can read off an object because of this class."""
    signals = {parse_signature(signature)[0] for signature in facts.get("sig", [])}
    enumerations = facts.get("enum", {})
    values = {value for names in enumerations.values() for value in names}
    return set(own_properties(facts)) | signals | own_methods(facts) | set(enumerations) | values


def qt_base(classes: dict, name: str) -> str:
    """The first base that is not in the facts: the Qt class that a stand-in starts from."""
    while name in classes:
        bases = classes[name].get("b", [])
        name = bases[0] if bases else "QObject"
    return name
