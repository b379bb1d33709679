"""Records: frozen dataclasses that are read from JSON strictly and written as plain values, by their type hints alone.

A record is checked when it is made, whoever makes it: a value of another kind, NaN where none is expected, an entry
that is missing or unknown raises one sentence that names it. Nothing here imports more than the standard library.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from CardioDiTLib.errors import CardioDiTError

RecordT = TypeVar("RecordT", bound="Record")

DEEPEST = 100
"""Lists and objects inside each other; nothing of ours needs more than ten."""
LISTED = 12
"""Entries that a hint lists; more of them nobody reads."""


@dataclass(frozen=True)
class Bounds:
    """Range of a number, as metadata of a type: ``Annotated[int, Bounds(least=1)]``.

    Args:
        least: Smallest value.
        above: The value has to be larger than this.
        most: Largest value.
    """

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf

    def hold(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.least <= value <= self.most and value > self.above

    def __str__(self) -> str:
        low = f" from {self.least:g} on" if self.least > -math.inf else ""
        low = f" above {self.above:g}" if self.above > -math.inf else low
        return low + (f" up to {self.most:g}" if self.most < math.inf else "")


@dataclass(frozen=True)
class Shape:
    """Look of a text, as metadata of a type: ``Annotated[str, Shape(r"[a-z]+", "a word")]``.

    Args:
        pattern: What the whole text has to match.
        noun: What sentences call such a text.
    """

    pattern: str
    noun: str


Count = Annotated[int, Bounds(least=1)]
"""A whole number from 1 on."""
Positive = Annotated[float, Bounds(above=0)]
"""A finite number above 0."""
Words = Annotated[str, Shape(r"(?s).+", "a text that says something")]
"""A text that is not empty."""
Unknowable = Annotated[float, "unknowable"]
"""A number that may not be known: NaN here, null in JSON."""


class Form(ABC):
    """How a value that JSON does not have is read and written, as metadata of a type: ``Annotated[Path, MyForm()]``.

    Class attributes:
        noun: What sentences call such a value.
    """

    noun: ClassVar[str] = "a value"

    @abstractmethod
    def read(self, value: Any) -> Any:
        """The value from what `plain` gave, or from what a caller gives.

        Raises:
            TypeError, ValueError: It is no such value.
        """

    @abstractmethod
    def plain(self, value: Any) -> Any:
        """What JSON holds in its place."""


class Record:
    """Base of frozen dataclasses that are kept as JSON.

    Values are taken as their type hints say: texts, whole numbers, finite numbers, truth values, literals, `Unknowable`
    numbers, tuples, lists, objects with text keys, optional values, other records, `Any`, or as their `Form` says. A
    tuple may be given as a list, a record as an object, a number as a whole number.

    Class attributes:
        record_name: What sentences call it.
        record_hint: What to do about a record that is wrong.
        record_mark: Entry and value that say what an object is, such as ("schema_version", 1); written and asked for
            first.
        json_names: JSON name of a field where it is another (a Python keyword cannot be a field).
        omitted_when_empty: Fields that are not written where they are empty, so that older software reads the rest.
        all_needed: Entries with defaults may not be absent either.
        came_later: Entries that files of older software lack, whatever `all_needed` says; the default stands for them.
        json_order: Fields in the order in which they are written, where it is not that of the class.
        derived: Properties that are written as well, and passed over when read.
    """

    record_name: ClassVar[str] = "record"
    record_hint: ClassVar[str] = "Correct the entry."
    record_mark: ClassVar[tuple[str, Any] | None] = None
    json_names: ClassVar[Mapping[str, str]] = {}
    omitted_when_empty: ClassVar[tuple[str, ...]] = ()
    all_needed: ClassVar[bool] = False
    came_later: ClassVar[tuple[str, ...]] = ()
    json_order: ClassVar[tuple[str, ...]] = ()
    derived: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        owner = type(self)
        for attribute, hint, name in _ENTRIES.get(owner) or _entries(owner):
            value = getattr(self, attribute)
            read = _read(hint, value, name, owner)
            if read is not value:
                object.__setattr__(self, attribute, read)

    @classmethod
    def from_dict(cls: type[RecordT], values: Any) -> RecordT:
        """Read what :meth:`to_dict` wrote.

        Raises:
            CardioDiTError: No object, another mark, an entry that is missing, unknown or not possible.
        """
        if not isinstance(values, Mapping):
            raise CardioDiTError(
                f"The {cls.record_name} is {_shown(values)}, not an object with entries.", cls.record_hint
            )
        entries = dict(values)
        if cls.record_mark is not None:
            cls._check_mark(entries.pop(cls.record_mark[0], None))
        for name in cls.derived:
            entries.pop(name, None)
        items = {cls.json_names.get(item.name, item.name): item for item in fields(cls)}  # type: ignore[arg-type]
        missing = [
            name
            for name, item in items.items()
            if name not in entries
            and name not in (*cls.omitted_when_empty, *cls.came_later)
            and (cls.all_needed or (item.default is MISSING and item.default_factory is MISSING))
        ]
        unknown = sorted(str(key) for key in entries if key not in items)
        told = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has unknown", unknown)) if names]
        if told:
            hint = f"Its entries are {', '.join(items)}." if len(items) <= LISTED else cls.record_hint
            raise CardioDiTError(f"The {cls.record_name} {' and '.join(told)}.", hint)
        return cls(**{items[key].name: value for key, value in entries.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an `Unknowable` that is not known becomes None."""
        values: dict[str, Any] = {} if self.record_mark is None else {self.record_mark[0]: self.record_mark[1]}
        hints = _hints(self.__class__)
        for name in self.json_order or [item.name for item in fields(self)]:  # type: ignore[arg-type]
            value = getattr(self, name)
            if name in self.omitted_when_empty and not value:
                continue
            values[self.json_names.get(name, name)] = _written(hints[name], value)
        values.update({name: plain(getattr(self, name), True) for name in self.derived})
        return values

    def to_json(self, indent: int = 2) -> str:
        """The record as the text of a JSON file.

        Raises:
            CardioDiTError: A value that JSON does not have.
        """
        try:
            return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise CardioDiTError(
                f"The {self.record_name} holds a value that JSON does not have: {error}.", self.record_hint
            ) from error

    @classmethod
    def read(cls: type[RecordT], path: str | os.PathLike[str]) -> RecordT:
        """Read a JSON file.

        Raises:
            CardioDiTError: It is not there, no JSON, or no such record; the sentence names the file.
        """
        try:
            values = parse_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CardioDiTError(f"'{path}' cannot be read: {error.strerror or error}.", "Check the path.") from error
        except ValueError as error:
            raise CardioDiTError(f"'{path}' is not JSON.", cls.record_hint) from error
        return cls.from_dict(values)

    @classmethod
    def _check_mark(cls, found: Any) -> None:
        assert cls.record_mark is not None
        name, expected = cls.record_mark
        if found is None:
            raise CardioDiTError(f"This is no {cls.record_name}: it has no '{name}'.", cls.record_hint)
        if found != expected or isinstance(found, bool):
            raise CardioDiTError(
                f"The {cls.record_name} has {name.replace('_', ' ')} {found!r}, this software reads {expected!r}.",
                "Update the software, or get one that fits it.",
            )


def plain(value: Any, unknowable: bool = False) -> Any:
    """Records, tuples and mappings as JSON has them.

    Args:
        value: Any of them, inside each other.
        unknowable: Numbers that are not finite become None; otherwise they stay, and no JSON is made of them.
    """
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item, unknowable) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, unknowable) for item in value]
    if isinstance(value, float):
        return None if unknowable and not math.isfinite(value) else float(value)
    return value


def check_seed(seed: int) -> None:
    """Refuse what no random numbers begin with.

    Raises:
        CardioDiTError: It is below 0.
    """
    if seed < 0:
        raise CardioDiTError(f"The seed {seed} is below 0.", "Give 0 or a positive whole number.")


def is_number(value: Any) -> bool:
    """A finite number, not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def parse_json(text: str | bytes, **options: Any) -> Any:
    """Read JSON that may come from anywhere.

    What is nested without end would otherwise exhaust the stack: here, or in whoever walks through the values later.

    Args:
        text: The text.
        options: As of `json.loads`.

    Returns:
        Plain values.

    Raises:
        ValueError: It is no JSON, or nested deeper than `DEEPEST`.
    """
    try:
        values = json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    level = [values]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return values
    raise ValueError("nested too deeply")


_HINTS: dict[type, dict[str, Any]] = {}
_ENTRIES: dict[type, tuple[tuple[str, Any, str], ...]] = {}


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _HINTS:  # reading them takes longer than all else
        _HINTS[cls] = get_type_hints(cls, include_extras=True)
    return _HINTS[cls]


def _entries(cls: type[Record]) -> tuple[tuple[str, Any, str], ...]:
    """Attribute, type hint and JSON name of each field."""
    hints, names = _hints(cls), [item.name for item in fields(cls)]  # type: ignore[arg-type]  # all are dataclasses
    _ENTRIES[cls] = tuple((name, hints[name], cls.json_names.get(name, name)) for name in names)
    return _ENTRIES[cls]


def _is_unknowable(hint: Any) -> bool:
    return hint == Unknowable or any(map(_is_unknowable, get_args(hint)))


def _written(hint: Any, value: Any) -> Any:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Form):
            return extra.plain(value)
    return plain(value, _is_unknowable(hint))


def _read(hint: Any, value: Any, name: str, owner: type[Record]) -> Any:
    """A value as its type hint has it.

    Raises:
        CardioDiTError: It is of another kind; the sentence names the entry.
    """
    kind = type(value)
    if kind is hint and (kind in (str, int, bool) or (kind is float and math.isfinite(value))):
        return value  # most values: what follows takes twenty times as long
    if hint is Unknowable and kind is float:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _read_annotated(arguments, value, name, owner)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, name, owner)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) != any(isinstance(one, bool) for one in arguments):
            raise _wrong(value, name, owner, f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, name, owner)
    if origin is list or hint is list:
        return [_read(arguments[0] if arguments else Any, item, name, owner) for item in _items(value, name, owner)]
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(value, name, owner, "an object with entries")
        kind, of = arguments or (str, Any)
        return {_read(kind, str(key), name, owner): _read(of, item, name, owner) for key, item in value.items()}
    return _read_single(hint, value, name, owner)


def _read_annotated(arguments: tuple[Any, ...], value: Any, name: str, owner: type[Record]) -> Any:
    kind, *extras = arguments
    for form in (extra for extra in extras if isinstance(extra, Form)):
        try:
            return form.read(value)
        except (TypeError, ValueError) as error:
            raise _wrong(value, name, owner, form.noun) from error
    if "unknowable" in extras:
        number = math.nan if value is None else _number(value)
        return number if number is not None and not math.isfinite(number) else _read(kind, value, name, owner)
    read = _read(kind, value, name, owner)
    for extra in extras:
        if isinstance(extra, Bounds) and not extra.hold(read):
            raise _wrong(value, name, owner, f"{_NOUNS[kind]}{extra}")
        if isinstance(extra, Shape) and not re.fullmatch(extra.pattern, read):
            raise _wrong(value, name, owner, extra.noun)
    return read


def _read_union(arguments: tuple[Any, ...], value: Any, name: str, owner: type[Record]) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [one for one in arguments if one is not type(None)]
    for kind in kinds[:-1]:
        try:
            return _read(kind, value, name, owner)
        except CardioDiTError:
            continue
    return _read(kinds[-1], value, name, owner)


def _read_tuple(arguments: tuple[Any, ...], value: Any, name: str, owner: type[Record]) -> tuple[Any, ...]:
    items = _items(value, name, owner)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, name, owner) for item in items)
    if len(items) != len(arguments):
        raise _wrong(value, name, owner, f"a list of {len(arguments)}")
    return tuple(_read(kind, item, name, owner) for kind, item in zip(arguments, items))


def _items(value: Any, name: str, owner: type[Record]) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, name, owner, "a list")
    return value


_NOUNS: dict[Any, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _read_single(hint: Any, value: Any, name: str, owner: type[Record]) -> Any:
    if hint is bool or hint is str:
        if not isinstance(value, hint):
            raise _wrong(value, name, owner, _NOUNS[hint])
        return value
    if hint is int:
        try:
            whole = operator.index(value)  # NumPy's whole numbers too
        except TypeError:
            raise _wrong(value, name, owner, _NOUNS[int]) from None
        if isinstance(value, bool):
            raise _wrong(value, name, owner, _NOUNS[int])
        return whole
    if hint is float:
        number = _number(value)
        if number is None:
            raise _wrong(value, name, owner, _NOUNS[float])
        if not math.isfinite(number):
            raise _wrong(value, name, owner, "a finite number")
        return number
    if isinstance(value, hint):
        return value
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_dict(value)
    raise _wrong(value, name, owner, f"a {getattr(hint, '__name__', hint)}")


def _number(value: Any) -> float | None:
    """A number, NumPy's too; None for anything else, whole numbers beyond all floats included."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _wrong(value: Any, name: str, owner: type[Record], expected: str) -> CardioDiTError:
    return CardioDiTError(f"'{name}' of the {owner.record_name} is {_shown(value)}, not {expected}.", owner.record_hint)


def _shown(value: Any) -> str:
    """A value in a sentence: no more of it than is read."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
