"""What is said about a model when its folder is written: texts that only a person knows, numbers of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import parse_json

KNOWN = ("version", "licence", "training_data", "quality", "provenance")
"""Entries for a small network."""


def read_texts(path: str | Path | None, known: Sequence[str] = KNOWN) -> dict[str, Any]:
    """A JSON object with any of the known entries; empty without a file.

    Raises:
        CardioDiTError: It cannot be read, or has another entry.
    """
    if path is None:
        return {}
    hint = f"Give a JSON object with any of {', '.join(known)}."
    try:
        texts = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardioDiTError(f"'{path}' cannot be read as JSON.", hint) from error
    if not isinstance(texts, dict):
        raise CardioDiTError(f"'{path}' is no JSON object.", hint)
    wrong = sorted(set(texts) - set(known))
    wrong += [name for name in ("quality", "provenance") if not isinstance(texts.get(name, {}), dict)]
    if wrong:
        raise CardioDiTError(f"'{path}' has an entry '{wrong[0]}' that cannot be used.", hint)
    return texts


def last_validation(place: Path, step: int) -> dict[str, Any]:
    """The last validation of a run up to a step, from its log; empty where there was none."""
    found: dict[str, Any] = {}
    try:
        lines = (place / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            entry = parse_json(line)
        except ValueError:  # a line that a kill cut short
            continue
        scores = {key.removeprefix("val_"): value for key, value in entry.items() if key.startswith("val_")}
        if scores and entry["step"] <= step:
            found = {"validation": scores, "validation_step": entry["step"]}
    return found
