"""Texts and tables as files: whole or not at all, and nothing that a spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from CardioDiTLib.files import at_home, atomic_path
from CardioDiTLib.schema import Record


def write_text(text: str, path: str | os.PathLike[str]) -> Path:
    """Write a text, in UTF-8.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    destination = at_home(path)
    with atomic_path(destination) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return destination


def write_json(record: Record, path: str | os.PathLike[str], indent: int = 2) -> Path:
    """Write a record as JSON, what is not known as null.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    return write_text(record.to_json(indent), path)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[object]], path: str | os.PathLike[str]) -> Path:
    """Write a table of comma-separated values.

    Args:
        header: Names of the columns.
        rows: Cells of each row; what comes from files and their names goes through :func:`text_cell` first.
        path: The file.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    destination = at_home(path)
    with atomic_path(destination) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return destination


def text_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, nor a reader for two rows."""
    one_row = text.replace("\r", " ")  # which the csv module does not quote
    return f"'{one_row}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else one_row


def number_cell(value: float) -> str:
    """A number of six digits; empty where it is not known."""
    return f"{value:.6g}" if math.isfinite(value) else ""
