"""TODO."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, TypeVar

from CardioDiTLib.errors import CardioDiTError

PartT = TypeVar("PartT", bound="ManifestPart")

_REPAIR = "Correct bundle.json, or get the bundle again."


class ManifestPart:
    """What all parts share: strict reading and plain writing.

    Field names are the JSON names, but for those in ``json_names`` (a Python keyword cannot be a field).
    """

    title: ClassVar[str] = "manifest"
    json_names: ClassVar[dict[str, str]] = {}

    @classmethod
    def from_dict(cls: type[PartT], values: Mapping[str, Any]) -> PartT:
        """Read what :meth:`to_dict` wrote.

        Raises:
            CardioDiTError: An entry is missing, unknown or out of range.
        """
        check_entries(values, cls, cls.title, cls.json_names)
        names = {json_name: name for name, json_name in cls.json_names.items()}
        return cls(**{names.get(key, key): value for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        items = fields(self)  # type: ignore[arg-type]  # every part is a dataclass
        return {self.json_names.get(item.name, item.name): plain(getattr(self, item.name)) for item in items}


def check_entries(
    values: Any, cls: type, title: str, json_names: Mapping[str, str] | None = None, extra: frozenset[str] = frozenset()
) -> None:
    """Refuse anything but an object with exactly the entries of a dataclass (those with defaults may be absent).

    Raises:
        CardioDiTError: Naming what is missing or unknown.
    """
    if not isinstance(values, Mapping):
        raise CardioDiTError(f"The {title} of a bundle is {values!r}, not an object with entries.", _REPAIR)
    json_names = json_names or {}
    items = {json_names.get(item.name, item.name): item for item in fields(cls)}
    missing = [
        name
        for name, item in items.items()
        if name not in values and item.default is MISSING and item.default_factory is MISSING
    ]
    unknown = sorted(str(key) for key in values if key not in items and key not in extra)
    problems = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has unknown", unknown)) if names]
    if problems:
        raise CardioDiTError(
            f"The {title} of a bundle {' and '.join(problems)}.", f"Its entries are {', '.join(items)}."
        )


def plain(value: Any) -> Any:
    """Parts, tuples and mappings as JSON has them."""
    if isinstance(value, ManifestPart):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def check_texts(part: object, title: str, *names: str) -> None:
    """Refuse entries that are not text.

    Raises:
        CardioDiTError: Naming the entry.
    """
    for name in names:
        if not isinstance(getattr(part, name), str):
            raise CardioDiTError(
                f"'{name}' in the {title} of a bundle is {getattr(part, name)!r}, not a text.", _REPAIR
            )


def is_number(value: Any) -> bool:
    """A finite number, not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """A whole number from 1 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


DEEPEST = 100
"""Lists and objects inside each other; nothing of ours needs more than ten."""


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
