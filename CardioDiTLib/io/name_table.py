"""Small tables that say something about each cine of a folder, as people and spreadsheets write them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.cine_files import composed, stem_of

_FILE = ("file", "filename", "file name", "name", "cine", "path")
COLUMNS = {
    "group": ("group", "pathology", "class", "diagnosis"),
    "patient": ("patient", "patient_id", "patient id", "subject", "subject_id", "subject id"),
}
"""Headers that are understood, by what is wanted; case does not matter."""
_SEPARATORS = ",;\t"


def read_name_table(table: Path, cines: Mapping[str, Path], column: str) -> dict[str, str] | None:
    """What a table says about each cine.

    Commas, semicolons or tabs separate; a byte order mark and the encodings of spreadsheets are understood. A cine may
    be named with or without its suffix.

    Args:
        table: The table; it may be absent.
        cines: Path of each cine by its name without suffix (`io.cine_files.cines_by_name`).
        column: A key of `COLUMNS`.

    Returns:
        Value of the column by the cine's name without suffix; None where there is no table.

    Raises:
        CardioDiTError: The table cannot be read, lacks a column, or does not name a cine.
    """
    if not table.is_file():
        return None
    rows = _rows(table, column)
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    places = [next((head.index(one) for one in names if one in head), None) for names in (_FILE, COLUMNS[column])]
    if None in places:
        raise _unreadable(table, column, f" Its first line is {', '.join(rows[0]) or 'empty'}." if rows else "")
    file, value = places
    assert file is not None and value is not None
    known: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) > max(file, value) and row[file].strip():
            name = composed(row[file].strip().replace("\\", "/").rsplit("/", 1)[-1])
            known[name] = known[stem_of(Path(name)) or name] = row[value].strip()
    missing = [path.name for stem, path in cines.items() if composed(stem) not in known]
    if missing:
        # where patients are at stake, no name is told: logs are passed on
        which = f"{len(missing)} of the {len(cines)} cines" if column == "patient" else f"'{missing[0]}'"
        raise CardioDiTError(f"{table.name} does not name {which}.", "Add a line a file, or remove the table.")
    return {stem: known[composed(stem)] for stem in cines}


def table_rows(table: Path) -> list[list[str]]:
    """Cells of each line that is not empty, whatever separates and encodes them.

    Raises:
        OSError, ValueError: The table cannot be read.
    """
    content = table.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")  # what spreadsheets write where they do not write UTF-8
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    separator = max(_SEPARATORS, key=first.count)
    try:
        return [row for row in csv.reader(lines, delimiter=separator) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _rows(table: Path, column: str) -> list[list[str]]:
    try:
        return table_rows(table)
    except (OSError, ValueError) as error:
        raise _unreadable(table, column) from error


def _unreadable(table: Path, column: str, more: str = "") -> CardioDiTError:
    return CardioDiTError(f"'{table}' cannot be read.{more}", f"Give a table with the columns 'file' and '{column}'.")
