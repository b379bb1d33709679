"""Function reports as JSON and as tables of comma-separated values."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.function.aha import SEGMENT_NAMES
from CardioDiTLib.function.function_report import CURVES, FRAMES, LEFT, RIGHT, SEGMENTS, TIME, WALL, FunctionReport
from CardioDiTLib.schema import parse_json


def to_json(report: FunctionReport, path: str | os.PathLike[str]) -> Path:
    """Write a report as JSON (UTF-8, NaN as null).

    Raises:
        CardioDiTError: The file cannot be written.
    """
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def from_json(path: str | os.PathLike[str]) -> FunctionReport:
    """Read a report that :func:`to_json` wrote.

    Raises:
        CardioDiTError: The file is not there, not JSON, or no function report.
    """
    try:
        values = parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CardioDiTError(f"'{path}' cannot be read: {error.strerror or error}.", "Check the path.") from error
    except ValueError as error:
        raise CardioDiTError(f"'{path}' is not JSON.", "Give the JSON that 'cardiodit function' wrote.") from error
    if not isinstance(values, dict):
        raise CardioDiTError(f"'{path}' is no function report.", "Give the JSON that 'cardiodit function' wrote.")
    return FunctionReport.from_dict(values)


def to_csv(reports: Mapping[str, FunctionReport], path: str | os.PathLike[str]) -> Path:
    """Write one row a cine: all numbers with the units in the column names, the AHA segments, and the reasons.

    Args:
        reports: Name of a cine to its report.
        path: The file; missing numbers are empty cells.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    numbers = [quantity.field for group in (LEFT, RIGHT, WALL, TIME) for quantity in group]
    segments = [
        (entry.field, i, f"{entry.field.replace('segment', f'segment{i + 1:02d}', 1)}")
        for entry in SEGMENTS
        for i in range(len(SEGMENT_NAMES))
    ]
    header = ["name", "synthetic", *FRAMES, *numbers, *(column for _, _, column in segments), "reasons", "version"]

    def rows() -> Iterator[list[str]]:
        for name, report in reports.items():
            frames = [getattr(report, field) for field in FRAMES]
            yield [
                _text(name),
                "yes" if report.synthetic else "no",
                *("" if frame is None else str(frame) for frame in frames),
                *(_number(getattr(report, field)) for field in numbers),
                *(_number(getattr(report, field)[i]) for field, i, _ in segments),
                " | ".join(f"{field}: {reason}" for field, reason in report.reasons.items()),
                report.version,
            ]

    return _write(path, header, rows())


def curves_to_csv(reports: Mapping[str, FunctionReport], path: str | os.PathLike[str]) -> Path:
    """Write the curves as a long table: one row a cine and frame.

    Args:
        reports: Name of a cine to its report.
        path: The file; missing numbers are empty cells.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    columns = [quantity.field for quantity in CURVES]
    header = ["name", "frame", "time_s", *columns]

    def rows() -> Iterator[list[str]]:
        for name, report in reports.items():
            for frame, time in enumerate(report.frame_times_s):
                numbers = (_number(getattr(report, column)[frame]) for column in columns)
                yield [_text(name), str(frame), _number(time), *numbers]

    return _write(path, header, rows())


def _write(path: str | os.PathLike[str], header: list[str], rows: Iterator[list[str]]) -> Path:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return Path(path)


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _text(value: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
