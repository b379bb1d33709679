"""Where a cine comes from, as lines that people read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_NAMES = {
    "model": "model",
    "model_version": "version of the model",
    "model_sha256": "fingerprint of the model (SHA-256)",
    "licence": "licence of the model",
    "intended_use": "intended use",
    "index": "heart number of this seed",
    "pathology": "class asked for",
    "asked": "asked for",
    "spacing": "spacing of denoising steps",
    "steps": "denoising steps",
    "precision": "numbers computed in",
    "device": "computed on",
    "seconds": "seconds it took",
    "cardiodit_version": "CardioDiT (generation)",
    "torch_version": "PyTorch",
    "nominal_times": "frame times",
    "audit": "gate",
}
_UNITS = {"ml": "mL", "percent": "%", "g": "g", "s": "s", "mm": "mm"}
_LONGEST = 400


def readable(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Entries of a provenance as names and texts; what says nothing is left out.

    Args:
        meta: Plain values, such as the meta of a cine. They may come from a file: nothing in it is trusted to be of
            any kind.

    Returns:
        Names and texts; no braces, no null.
    """
    return [
        (_NAMES.get(str(key), _words(str(key))), _text(str(key), value))
        for key, value in meta.items()
        if value is not None and value != {} and value != []
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(key: str, value: Any, depth: int = 0) -> str:
    if value is None:
        return "not said"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else "not known"
    if isinstance(value, str | int):
        return _cut(str(value))
    if key == "licence" and isinstance(value, Mapping) and value.get("name"):
        conditions = value.get("conditions")
        return _cut(f"{value['name']}. {conditions}" if conditions else str(value["name"]))
    if isinstance(value, Mapping) and depth < 2:
        parts = [_entry(str(name), one, depth) for name, one in value.items() if one is not None]
        return _cut("; ".join(parts))
    if isinstance(value, list | tuple) and depth < 2:
        return _cut(", ".join(_text("", one, depth + 1) for one in value))
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _entry(name: str, value: Any, depth: int) -> str:
    stem, _, unit = name.rpartition("_")
    if stem and unit in _UNITS and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{_words(stem)} {_text('', value)} {_UNITS[unit]}"
    return f"{_words(name)}: {_text(name, value, depth + 1)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
