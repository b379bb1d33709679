"""The manifest of a cohort: one row a heart, as CSV and as Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CardioDiTLib.cohort.heart import Heart
from CardioDiTLib.cohort.heart_record import CINE, FUNCTION, LABELS, HeartFailure
from CardioDiTLib.cohort.plan import SHARDS
from CardioDiTLib.cohort.reading import CohortHeart
from CardioDiTLib.cohort.shard import TAR_NAME
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.request import QUANTITY_NAMES
from CardioDiTLib.reporting.tables import number_cell, text_cell, write_csv

_TEXTS = ("name", "status", "pathology", "shard", "cine", "cine_sha256", "labels", "labels_sha256", "problem")
_WHOLE = ("number", "seed", "index", "cine_offset", "cine_bytes", "labels_offset", "labels_bytes", "gate_drawn")
_GATE = ("gate_passed", "gate_score", "gate_p_value", "gate_drawn")


@dataclass(frozen=True)
class ManifestRow:
    """A heart in the manifest.

    Attributes:
        values: By column; None where there is nothing to say, NaN where a number is not known.
    """

    values: dict[str, Any]


def columns(measured: Sequence[str]) -> list[str]:
    """Columns of a manifest.

    Args:
        measured: What function was measured on: "labels", "network".
    """
    return [
        *("number", "name", "status", "seed", "index", "pathology"),
        *(f"asked_{name}" for name in QUANTITY_NAMES),
        *(f"{kind}_{name}" for kind in measured for name in FUNCTION),
        *_GATE,
        *("shard", "cine", "cine_offset", "cine_bytes", "cine_sha256"),
        *("labels", "labels_offset", "labels_bytes", "labels_sha256", "problem"),
    ]


def row_of(heart: CohortHeart, shard: str, name: str) -> ManifestRow:
    """The row of a heart that is there.

    Args:
        heart: The heart.
        shard: Name of its shard's folder.
        name: What its files are called where they are exported.
    """
    record = heart.record
    values = {**_asked(record.heart), "name": name, "status": "made", "shard": f"{SHARDS}/{shard}/{TAR_NAME}"}
    for kind, what in ((CINE, "cine"), (LABELS, "labels")):
        if kind in record.files:
            offset, size = heart.places[kind]
            values.update(
                {
                    what: record.member(kind),
                    f"{what}_offset": offset,
                    f"{what}_bytes": size,
                    f"{what}_sha256": record.files[kind].sha256,
                }
            )
    for kind, function in record.function.items():
        values.update({f"{kind}_{name}": value for name, value in function.values.items()})
    audit = record.audit
    if audit:
        values.update({f"gate_{name}": audit.get(name) for name in ("passed", "score", "p_value", "drawn")})
    return ManifestRow(values)


def row_of_failure(heart: Heart, failure: HeartFailure) -> ManifestRow:
    """The row of a heart that could not be made."""
    return ManifestRow({**_asked(heart), "status": "failed", "problem": failure.reason})


def row_of_missing(heart: Heart) -> ManifestRow:
    """The row of a heart that nobody has made yet."""
    return ManifestRow({**_asked(heart), "status": "missing"})


def write_manifest_csv(rows: Iterable[ManifestRow], measured: Sequence[str], path: Path) -> Path:
    """Write the manifest as CSV.

    Raises:
        CardioDiTError: It cannot be written.
    """
    names = columns(measured)
    return write_csv(names, ([_cell(row.values.get(name)) for name in names] for row in rows), path)


def write_manifest_parquet(rows: Sequence[ManifestRow], measured: Sequence[str], path: Path) -> Path | None:
    """Write the manifest as Parquet, each column of its kind; None where pyarrow is not installed.

    Raises:
        CardioDiTError: It cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    kinds = {name: pyarrow.string() for name in _TEXTS}
    kinds |= {name: pyarrow.int64() for name in _WHOLE} | {"gate_passed": pyarrow.bool_()}
    names = columns(measured)
    arrays = [
        pyarrow.array([_known(row.values.get(name)) for row in rows], kinds.get(name, pyarrow.float64()))
        for name in names
    ]
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(arrays, names=names), temporary)
    return path


def _asked(heart: Heart) -> dict[str, Any]:
    asked = {f"asked_{name}": value for name, value in heart.asked.items()}
    return {"number": heart.number, "seed": heart.seed, "index": heart.index, "pathology": heart.pathology, **asked}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number_cell(value)
    return text_cell(str(value)) if isinstance(value, str) else str(value)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
