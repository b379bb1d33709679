"""What was found about the cines of a folder, as a table of comma-separated values that grows row by row."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DONE, FAILED = "done", "failed"
FIXED = ("file", "state", "problem", "asked", "size_bytes", "modified_s")
RESULTS_NAME = "cines.csv"


class FolderResults:
    """The rows, and the file that holds them; the file is there after each row, whole.

    Args:
        path: The file; None for rows that are kept nowhere.
        asked: What is computed, in words: rows that were made for something else are made again.
    """

    def __init__(self, path: Path | None, asked: str) -> None:
        self._path, self._asked = path, asked
        self.rows: dict[str, dict[str, Any]] = {}
        if path is not None and path.is_file():
            with open(path, encoding="utf-8-sig", newline="") as stream:
                for row in csv.DictReader(stream):
                    if row.get("file"):
                        self.rows[row["file"]] = dict(row)

    def isDone(self, name: str, cine: Path) -> bool:
        """Whether a cine was done before, as it is now and for the same question."""
        row = self.rows.get(name)
        return row is not None and row.get("state") == DONE and _same(row, {**stamp(cine), "asked": self._asked})

    def put(self, name: str, cine: Path, values: dict[str, Any]) -> dict[str, Any]:
        """Add a row, or replace it, and write the file.

        Raises:
            OSError: The file cannot be written; the former one is still there.
        """
        self.rows[name] = {"file": name, "asked": self._asked, **stamp(cine), **values}
        self.write()
        return self.rows[name]

    def write(self) -> None:
        """Write all rows, to another name first."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".part")
        with open(temporary, "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columnsOf(list(self.rows.values())), restval="")
            writer.writeheader()
            writer.writerows(self.rows.values())
        os.replace(temporary, self._path)


def columnsOf(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All columns, those that every row has first."""
    return [*FIXED, *dict.fromkeys(name for row in rows for name in row if name not in FIXED)]


def stamp(cine: Path) -> dict[str, str]:
    """What tells whether a file, or a folder of files, has changed."""
    files = [one for one in cine.iterdir() if one.is_file()] if cine.is_dir() else [cine]
    states = [one.stat() for one in files]
    return {
        "size_bytes": str(sum(state.st_size for state in states)),
        "modified_s": str(int(max((state.st_mtime for state in states), default=0))),
    }


def _same(row: dict[str, Any], wanted: dict[str, str]) -> bool:
    return all(str(row.get(name)) == value for name, value in wanted.items())
