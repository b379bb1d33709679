"""Which hearts of a request lie in a folder already, so that a run that was ended goes on with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.outputs import output_name
from CardioDiTLib.generation.result import sample_name
from CardioDiTLib.io import load_cine
from CardioDiTLib.schema import parse_json

RECORDS = ("json", "nii.gz", "seq.nrrd")
"""Formats that hold the provenance."""

_DECIDING = (
    "model_sha256",
    "seed",
    "index",
    "pathology",
    "sampler",
    "steps",
    "spacing",
    "guidance",
    "precision",
    "backend",
    "asked",
    "adjust",
    "adjusted_by",
    "slices",
    "frames",
    "cycle_s",
)


def missing_formats(
    folder: Path, provenance: Mapping[str, Any], formats: Sequence[str], *, false_alarm: float | None = None
) -> tuple[str, ...]:
    """Formats of a heart that are not in the folder yet.

    Args:
        folder: Where hearts are written.
        provenance: Provenance that the heart will have (`Generator.provenances`).
        formats: What is wanted of it.
        false_alarm: Rate of the gate that it has to have passed; None for no gate.

    Raises:
        CardioDiTError: What is there was made with other settings, or does not say how it was made.
    """
    name = sample_name(str(provenance["model"]), provenance["seed"], provenance["index"], provenance["pathology"])
    there = [suffix for suffix in formats if (folder / output_name(name, suffix)).is_file()]
    if not there:
        return tuple(formats)
    telling = [suffix for suffix in RECORDS if suffix in there]
    if not telling:
        raise CardioDiTError(
            f"The pictures of '{name}' in '{folder}' do not say how they were made.",
            f"Add one of {', '.join(RECORDS)} to the formats, or choose another folder.",
        )
    found = _record(folder / f"{name}.{telling[0]}", telling[0])
    found = {**found, "seed": (found.get("audit") or {}).get("requested_seed", found.get("seed"))}
    other = [key for key in _DECIDING if found.get(key) != provenance.get(key)]
    if other:
        key = other[0]
        raise CardioDiTError(
            f"'{name}' in '{folder}' was made with {key} {found.get(key)!r}, not {provenance.get(key)!r}.",
            "Choose another folder, or replace it with --overwrite.",
        )
    audit = found.get("audit") or {}
    if (false_alarm is None) != (not audit):
        raise CardioDiTError(
            f"'{name}' in '{folder}' was made {'with' if audit else 'without'} a gate.",
            "Choose another folder, or replace it with --overwrite.",
        )
    if false_alarm is not None and audit.get("false_alarm") != false_alarm:
        raise CardioDiTError(
            f"'{name}' in '{folder}' passed a gate with false_alarm {audit.get('false_alarm')!r}, not {false_alarm!r}.",
            "Choose another folder, or replace it with --overwrite.",
        )
    return tuple(suffix for suffix in formats if suffix not in there)


def _record(path: Path, suffix: str) -> dict[str, Any]:
    if suffix != "json":
        return dict(load_cine(path).meta)
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    except (OSError, ValueError):
        pass
    raise CardioDiTError(f"'{path}' cannot be read.", "Remove it, or choose another folder.")
