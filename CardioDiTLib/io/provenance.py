"""Provenance as one line of text that any header can hold."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from CardioDiTLib.json_text import parse_json

# Headers of NRRD files are ASCII and give the backslash a meaning, so all but plain characters is percent-encoded.
_PLAIN = "".join(chr(code) for code in range(32, 127) if chr(code) not in "%\\")


def _plain_value(value: Any) -> Any:
    """What JSON holds in place of a numpy value; a path and everything else becomes its text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def encode_meta(meta: dict[str, Any]) -> str:
    """A dictionary as one line of printable ASCII (JSON, then percent-encoding of ``%``, backslash and non-ASCII)."""
    return quote(json.dumps(meta, default=_plain_value, ensure_ascii=False), safe=_PLAIN)


def decode_meta(text: str) -> dict[str, Any]:
    """The inverse of :func:`encode_meta`; an empty dictionary where the text is something else."""
    try:
        meta = parse_json(unquote(text))
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}
