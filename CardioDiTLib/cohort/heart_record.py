"""What a shard says of each of its hearts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from CardioDiTLib.arrays import Facts
from CardioDiTLib.cohort.heart import Heart, Whole, heart_name
from CardioDiTLib.files import FileRecord
from CardioDiTLib.function.function_report import LEFT, RIGHT, WALL, FunctionReport
from CardioDiTLib.schema import Record, Unknowable, Words

Row = tuple[float, float, float, float]

CINE, LABELS, EMBEDDING, RECORD = "cine", "labels", "embedding", "record"
"""What a heart has in a shard."""

FUNCTION: tuple[str, ...] = tuple(quantity.field for quantity in (*LEFT, *WALL, *RIGHT))
"""Numbers of function that are kept, as `FunctionReport` calls them."""


@dataclass(frozen=True)
class HeartFunction(Record):
    """Function of a heart.

    Args:
        values: By name; not known where it could not be measured.
        reasons: Why not, by name.
    """

    record_name: ClassVar[str] = "function of a heart"

    values: dict[str, Unknowable]
    reasons: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, report: FunctionReport) -> HeartFunction:
        """The numbers of a report, six digits of each."""
        values = {name: float(f"{getattr(report, name):.6g}") for name in FUNCTION}
        return cls(values, {name: report.reasons.get(name, "") for name in FUNCTION if math.isnan(values[name])})


@dataclass(frozen=True, kw_only=True)
class HeartRecord(Record):
    """What is known of a made heart.

    Args:
        heart: What was asked for.
        name: What `cardiodit generate` calls its files.
        settings: Of the request beside what is asked: preset, steps and so on, where they are not the usual ones.
        provenance: What its cine says of itself, with the verdict of a gate under "audit".
        function: By what it was measured on, "labels" or "network".
        files: By what they are ("cine", "labels", "embedding"): size and SHA-256.
        storage: Format of cine and labels.
        affine: (4, 4), index (x, y, z) to mm in RAS: formats round it, each in its own way.
    """

    record_name: ClassVar[str] = "record of a heart"
    record_hint: ClassVar[str] = "Make the shard again with 'cardiodit cohort run --verify'."
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit.cohort-heart/1")
    all_needed: ClassVar[bool] = True

    heart: Heart
    name: Words
    settings: dict[str, Any]
    provenance: Annotated[dict[str, Any], Facts()]
    function: dict[str, HeartFunction]
    files: dict[str, FileRecord]
    storage: Words
    affine: tuple[Row, Row, Row, Row]

    def member(self, kind: str) -> str:
        """Name of one of its files in the shard."""
        return member_name(self.heart.number, kind, self.storage)

    @property
    def audit(self) -> Mapping[str, Any]:
        """The gate's verdict; empty where there was no gate."""
        found = self.provenance.get("audit")
        return found if isinstance(found, Mapping) else {}


def member_name(number: int, kind: str, storage: str) -> str:
    """Name of a heart's file in its shard: one name before the first dot, as WebDataset and people expect."""
    suffix = {CINE: storage, LABELS: f"labels.{storage}", EMBEDDING: "embedding.npy", RECORD: "json"}[kind]
    return f"{heart_name(number)}.{suffix}"


@dataclass(frozen=True, kw_only=True)
class HeartFailure(Record):
    """Why a heart could not be made.

    Args:
        number: Its number.
        reason: In a sentence.
        at: When, UTC.
        attempts: How often it was tried.
        refused: Whether the gate refused all its draws.
    """

    record_name: ClassVar[str] = "failure of a heart"

    number: Whole
    reason: Words
    at: str
    attempts: Whole = 1
    refused: bool = False
