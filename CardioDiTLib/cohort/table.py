"""Hearts of a table that somebody made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.cohort.heart import Heart
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import QUANTITY_NAMES
from CardioDiTLib.io.name_table import COLUMNS as NAMES
from CardioDiTLib.io.name_table import table_rows

_CLASS = NAMES["group"]
_WHOLE = ("seed", "index")
_KNOWN = ("pathology", *_WHOLE, *QUANTITY_NAMES)
_HINT = f"Columns are {', '.join(_KNOWN)}, none of which is needed; leave others out."
_LARGEST_SEED = 2**63 - 1
_DIGITS = 40  # of what is worth reading as a number


def hearts_of_table(path: Path, seed: int, manifest: BundleManifest) -> list[Heart]:
    """One heart a row: class, seed, index and quantities, what is empty as it comes.

    Args:
        path: A table with a head line; commas, semicolons or tabs separate.
        seed: Of rows that have none.
        manifest: Of the bundle.

    Returns:
        The hearts; without a column "index" the number of the row, from 0 on, is the index within its seed.

    Raises:
        CardioDiTError: The table cannot be read, has a column that nobody knows, a row longer than its head, or a cell
            that cannot be.
    """
    try:
        rows = table_rows(path)
    except (OSError, ValueError) as error:
        raise CardioDiTError(f"'{path}' cannot be read as a table.", _HINT) from error
    head = [_column(cell) for cell in rows[0]] if rows else []
    unknown = [cell for cell, name in zip(rows[0] if rows else [], head) if name not in _KNOWN]
    if unknown or len(set(head)) != len(head):
        told = f"the column '{unknown[0]}', which says nothing of a heart" if unknown else "a column twice"
        raise CardioDiTError(f"'{path}' has {told}.", _HINT)
    if len(rows) < 2:
        raise CardioDiTError(f"'{path}' has no row below its head.", "Write a row for each heart.")
    hearts = []
    for number, row in enumerate(rows[1:]):
        if any(cell.strip() for cell in row[len(head) :]):
            raise CardioDiTError(
                f"Row {number + 1} of '{path}' has {len(row)} cells, its head {len(head)}.",
                "Numbers with a decimal comma need another separator between cells: semicolons or tabs.",
            )
        cells = {name: cell.strip() for name, cell in zip(head, row) if cell.strip()}
        try:
            hearts.append(_heart(number, cells, seed, manifest))
        except CardioDiTError as error:
            raise CardioDiTError(f"Row {number + 1} of '{path}': {error.message}", error.hint) from error
    return hearts


def _column(cell: str) -> str:
    name = cell.strip().lower()
    return "pathology" if name in _CLASS else name


def _heart(number: int, cells: dict[str, str], seed: int, manifest: BundleManifest) -> Heart:
    pathology = cells.get("pathology")
    if pathology is not None:
        pathology = manifest.class_names[manifest.label_of(pathology)]
    whole = {name: _whole(name, cells[name]) for name in _WHOLE if name in cells}
    asked: dict[str, Any] = {name: _number(name, cells[name]) for name in QUANTITY_NAMES if name in cells}
    return Heart(number, whole.get("seed", seed), whole.get("index", number), pathology, **asked)


def _whole(name: str, cell: str) -> int:
    if not cell.isdecimal() or len(cell) > _DIGITS or int(cell) > _LARGEST_SEED:
        raise CardioDiTError(f"'{name}' is '{cell}'.", "Give a whole number from 0 on.")
    return int(cell)


def _number(name: str, cell: str) -> float:
    try:
        value = float(cell.replace(",", "."))  # as spreadsheets of half of Europe write it
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CardioDiTError(f"'{name}' is '{cell}'.", "Give a number, or leave the cell empty.")
    return value
