"""Function reports as JSON and as tables of comma-separated values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from CardioDiTLib.function.aha import SEGMENT_NAMES
from CardioDiTLib.function.function_report import CURVES, FRAMES, LEFT, RIGHT, SEGMENTS, TIME, WALL, FunctionReport
from CardioDiTLib.reporting.tables import number_cell, text_cell, write_csv, write_json


def to_json(report: FunctionReport, path: str | os.PathLike[str]) -> Path:
    """Write a report as JSON (UTF-8, NaN as null).

    Raises:
        CardioDiTError: The file cannot be written.
    """
    return write_json(report, path)


def from_json(path: str | os.PathLike[str]) -> FunctionReport:
    """Read a report that :func:`to_json` wrote.

    Raises:
        CardioDiTError: The file is not there, not JSON, or no function report.
    """
    return FunctionReport.read(path)


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
                text_cell(name),
                "yes" if report.synthetic else "no",
                *("" if frame is None else str(frame) for frame in frames),
                *(number_cell(getattr(report, field)) for field in numbers),
                *(number_cell(getattr(report, field)[i]) for field, i, _ in segments),
                " | ".join(f"{field}: {reason}" for field, reason in report.reasons.items()),
                report.version,
            ]

    return write_csv(header, rows(), path)


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
                numbers = (number_cell(getattr(report, column)[frame]) for column in columns)
                yield [text_cell(name), str(frame), number_cell(time), *numbers]

    return write_csv(header, rows(), path)
