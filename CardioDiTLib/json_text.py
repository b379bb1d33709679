"""JSON of others: a file or a line may be meant to do harm."""

from __future__ import annotations

import json
from typing import Any

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
