"""One heart of a cohort as it is asked for, and all hearts of a plan as a table."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import QUANTITY_NAMES
from CardioDiTLib.schema import Bounds, Record

HEARTS_NAME = "hearts.csv"
"""The table of a plan, beside it."""
DIGITS = 6

Whole = Annotated[int, Bounds(least=0)]


@dataclass(frozen=True)
class Heart(Record):
    """What one heart of a cohort is asked to be.

    Args:
        number: Its place in the cohort, from 0 on.
        seed: Of its noise.
        index: Its number within the seed.
        pathology: Class; None for any.
        edv_ml, ef_percent, lv_mass_g, lv_slices: As of a `GenerationRequest`; None for any.
    """

    record_name: ClassVar[str] = "heart of a cohort"

    number: Whole
    seed: Whole
    index: Whole
    pathology: str | None = None
    edv_ml: float | None = None
    ef_percent: float | None = None
    lv_mass_g: float | None = None
    lv_slices: float | None = None

    @property
    def name(self) -> str:
        """Begins the names of its files in a shard."""
        return heart_name(self.number)

    @property
    def asked(self) -> dict[str, float]:
        """Quantities that are asked of it, by name."""
        values = {name: getattr(self, name) for name in QUANTITY_NAMES}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def has_aim(self) -> bool:
        """Whether there is something to guide towards: a class, or a quantity."""
        return self.pathology is not None or bool(self.asked)


def heart_name(number: int) -> str:
    """Begins the names of a heart's files in a shard; no dot, for readers that take what is behind the first one for
    the kind of the file."""
    return f"heart-{number:0{DIGITS}d}"


COLUMNS = tuple(item.name for item in fields(Heart))


def hearts_text(hearts: Iterable[Heart]) -> str:
    """The table: one row a heart, what is not asked empty; the same hearts give the same text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(heart, name)) for name in COLUMNS] for heart in hearts)
    return stream.getvalue()


def read_hearts(path: Path, sha256: str, count: int) -> list[Heart]:
    """The hearts of a plan.

    Args:
        path: The table.
        sha256: Of its bytes, as the plan has it.
        count: Hearts of the plan.

    Raises:
        CardioDiTError: The table is missing, or not the one of the plan.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CardioDiTError(
            f"'{path}' cannot be read: {error.strerror or error}.", "Get the whole folder of the cohort."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CardioDiTError(
            f"'{path}' is not the table that was planned: its SHA-256 differs from the plan's.",
            "Take the table that was there, or plan another folder.",
        )
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    if tuple(rows[0]) != COLUMNS or len(rows) != count + 1:
        raise CardioDiTError(
            f"'{path}' holds {len(rows) - 1} hearts, the plan {count}.", "Plan another folder with this software."
        )
    return [_heart(row) for row in rows[1:]]


def check_numbers(hearts: Sequence[Heart]) -> None:
    """See that no heart is there twice.

    Raises:
        CardioDiTError: Two hearts have the same seed, index, class and quantities: they would be one heart.
    """
    seen: dict[tuple[Any, ...], int] = {}
    for heart in hearts:
        key = (heart.seed, heart.index, heart.pathology, *heart.asked.items())
        first = seen.setdefault(key, heart.number)
        if first != heart.number:
            raise CardioDiTError(
                f"Hearts {first} and {heart.number} are the same heart: seed {heart.seed}, index {heart.index}.",
                "Give each another seed or index, or leave both columns out.",
            )


def _heart(row: list[str]) -> Heart:
    number, seed, index, pathology, *asked = row
    values = [float(cell) if cell else None for cell in asked]
    return Heart(int(number), int(seed), int(index), pathology or None, *values)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
