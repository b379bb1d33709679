"""``cardiodit measure FOLDER``: one row a cine in a table, resumable, failures told at the end."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.function.function_report import FRAMES, LEFT, RIGHT, TIME, WALL, FunctionReport
from CardioDiTLib.io.cine_files import CineFiles
from CardioDiTLib.version import __version__

TABLE = "measurements.csv"
"""Name of the table."""

_QUANTITIES = tuple(quantity.field for group in (LEFT, RIGHT, WALL, TIME) for quantity in group)
_COLUMNS = ("cine", "status", "problem", *_QUANTITIES, *FRAMES, "missing", "notes", "source", "bytes", "settings")
_RESULT_OPTIONS = (
    *(
        "formats",
        "names",
        "dicom",
        "heart_rate",
        "mirrored",
        "stack_covers_heart",
        "segmentation_weights",
        "landmark_weights",
    ),
    *("frame_interval_s", "square_axes", "series_uid", "allow_incomplete"),
)

Measure = Callable[[str, Path, bool, Callable[[float], None]], tuple[FunctionReport, Cine]]
"""Measures one cine: (name of its files, cine, whether its files may be replaced, told the part that is done)."""


def measure_folder(arguments: argparse.Namespace, found: CineFiles, measure: Measure) -> int:
    """Measure each cine and keep the table.

    The table is written anew after each cine. A row of a cine that was measured before with the same settings, and
    whose size has not changed, is kept; a cine that failed, or was interrupted, is measured again.

    Args:
        arguments: Of ``cardiodit measure``.
        found: The cines.
        measure: Measures one of them and writes its files.

    Returns:
        0, or 1 where a cine could not be measured.

    Raises:
        CardioDiTError: There is no cine, or the table is there and is another one.
    """
    from tqdm import tqdm

    if not found.cines:
        raise CardioDiTError(f"There is no cine in '{arguments.cine}'.", "Give a folder of cines.")
    out: Path = arguments.out
    table = out / TABLE
    settings = _settings(arguments)
    rows = _known(table)
    others = [row for row in rows.values() if row["settings"] != settings and row["status"] == "done"]
    if others and not arguments.overwrite:
        raise CardioDiTError(
            f"'{table}' holds results of other options or of another version.",
            "Choose another folder, or add --overwrite.",
        )
    out.mkdir(parents=True, exist_ok=True)
    failed: list[tuple[str, str]] = []
    kept = 0
    with tqdm(total=len(found.cines), desc="measuring", unit="cine", disable=None) as bar:
        for number, (name, path) in enumerate(found.cines.items()):
            size = str(_bytes(path))
            before = rows.get(name)
            same = before is not None and before["bytes"] == size and before["settings"] == settings
            if same and before is not None and before["status"] == "done":
                kept += 1
                bar.update(number + 1 - bar.n)
                continue
            row = dict.fromkeys(_COLUMNS, "")
            row.update(cine=name, status="started", bytes=size, settings=settings)
            row["source"] = path.relative_to(arguments.cine).as_posix()
            rows[name] = row
            _write(table, rows)

            def told(part: float, number: int = number) -> None:
                bar.n = number + min(max(part, 0.0), 1.0)
                bar.refresh()

            try:
                # files that an interrupted run of this table left are replaced, others only when that is asked for
                report, cine = measure(name, path, arguments.overwrite or before is not None, told)
            except Cancelled:
                raise
            except CardioDiTError as error:
                row.update(status="failed", problem=str(error))
                failed.append((name, str(error)))
            except MemoryError:
                row.update(status="failed", problem="The memory is not enough.")
                failed.append((name, "The memory is not enough."))
            else:
                row.update(_numbers(report), status="done", missing=_missing(report))
                row["notes"] = " ".join(dict.fromkeys((*cine.meta.get("notes", ()), *report.notes)))
            _write(table, rows)
            bar.update(number + 1 - bar.n)
    _say(table, found, failed, kept)
    return 1 if failed else 0


def _say(table: Path, found: CineFiles, failed: list[tuple[str, str]], kept: int) -> None:
    measured = len(found.cines) - len(failed) - kept
    print(f"{table}: {measured} measured, {kept} measured before, {len(failed)} failed, of {len(found.cines)} cines")
    for reason, count in found.passed_over.items():
        print(f"passed over: {count} ({reason})")
    for name, problem in failed:
        print(f"failed: {name}: {problem}")


def _settings(arguments: argparse.Namespace) -> str:
    """A short name of the options that change results, and of the version."""
    chosen = {name: str(getattr(arguments, name, None)) for name in _RESULT_OPTIONS}
    text = json.dumps([__version__, chosen], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _numbers(report: FunctionReport) -> dict[str, str]:
    numbers = {}
    for name in (*_QUANTITIES, *FRAMES):
        value = getattr(report, name)
        numbers[name] = "" if value is None or not math.isfinite(value) else f"{value:.6g}"
    return numbers


def _missing(report: FunctionReport) -> str:
    """Why cells are empty, each reason once."""
    empty = [name for name in _QUANTITIES if not math.isfinite(getattr(report, name))]
    return " ".join(dict.fromkeys(reason for name in empty if (reason := report.reasons.get(name))))


def _known(table: Path) -> dict[str, dict[str, str]]:
    """Rows by cine; none where there is no table yet.

    Raises:
        CardioDiTError: The file is another table.
    """
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CardioDiTError(f"'{table}' cannot be read.", "Move it away, or choose another folder.") from error
    if any(not {"cine", "status", "bytes", "settings"} <= row.keys() for row in rows):
        raise CardioDiTError(f"'{table}' is another table.", "Move it away, or choose another folder.")
    return {row["cine"]: {column: row.get(column) or "" for column in _COLUMNS} for row in rows}


def _write(table: Path, rows: dict[str, dict[str, str]]) -> None:
    with atomic_path(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))
