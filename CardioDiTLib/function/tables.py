"""Function reports as JSON, as tables of comma-separated values and of pandas."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import at_home
from CardioDiTLib.function.aha import SEGMENT_NAMES
from CardioDiTLib.function.function_report import CURVES, FRAMES, LEFT, RIGHT, SEGMENTS, TIME, WALL, FunctionReport
from CardioDiTLib.reporting.tables import number_cell, text_cell, write_csv, write_json

if TYPE_CHECKING:
    import pandas

_ENDING = "_function.json"


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
    """Write one row a cine: all numbers with the units in the column names, AHA segments, reasons, and notes.

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
    header = [
        "name",
        "synthetic",
        *FRAMES,
        *numbers,
        *(column for _, _, column in segments),
        "reasons",
        "notes",
        "version",
    ]

    def rows() -> Iterator[list[str]]:
        for name, report in reports.items():
            frames = [getattr(report, field) for field in FRAMES]
            yield [
                text_cell(name),
                "yes" if report.synthetic else "no",
                *("" if frame is None else str(frame) for frame in frames),
                *(number_cell(getattr(report, field)) for field in numbers),
                *(number_cell(getattr(report, field)[i]) for field, i, _ in segments),
                _reasons(report),
                _notes(report),
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


def cohort_table(
    hearts: Mapping[str, FunctionReport] | Iterable[FunctionReport] | str | os.PathLike[str],
) -> pandas.DataFrame:
    """One row a heart, one column a number with its unit in the name; NaN where it could not be measured.

    Args:
        hearts: Names to reports (or to whole measurements), reports alone, or the folder that 'cardiodit measure' or
            `save_report` wrote: every NAME_function.json in it.

    Returns:
        A table with the index "name" and the columns "synthetic", "ed_frame", ..., "edv_ml", ..., "reasons", "notes".

    Raises:
        CardioDiTError: pandas is not installed, a file cannot be read, or there is no heart.

    Examples:
        >>> table = cohort_table("out")  # doctest: +SKIP
        >>> table.groupby("synthetic").ef_percent.describe()  # doctest: +SKIP
    """
    try:
        import pandas
    except ImportError as error:
        raise CardioDiTError(
            "A table of hearts needs the package pandas, which is not installed.",
            "Install it with 'pip install pandas', or use the CSV that save_report writes.",
        ) from error
    reports = _reports(hearts)
    if not reports:
        raise CardioDiTError("There is no heart to make a table of.", f"Give reports, or a folder with *{_ENDING}.")
    rows = [_row(report) for report in reports.values()]
    return pandas.DataFrame(rows, index=pandas.Index(list(reports), name="name"))


def _reports(hearts: Any) -> dict[str, FunctionReport]:
    if isinstance(hearts, str | os.PathLike):
        folder = at_home(hearts)
        if not folder.is_dir():
            raise CardioDiTError(f"'{folder}' is no folder.", f"Give the folder that holds *{_ENDING}.")
        return {path.name.removesuffix(_ENDING): from_json(path) for path in sorted(folder.glob(f"*{_ENDING}"))}
    if isinstance(hearts, Mapping):
        named = {str(name): one for name, one in hearts.items()}
    else:
        named = {f"heart {number}": one for number, one in enumerate(hearts)}
    # a whole measurement has its report under "function"
    found = {name: getattr(one, "function", one) for name, one in named.items()}
    for name, one in found.items():
        if not isinstance(one, FunctionReport):
            raise CardioDiTError(f"'{name}' is a {type(one).__name__}, no report.", "Give what `measure` gives.")
    return found


def _row(report: FunctionReport) -> dict[str, Any]:
    numbers = [quantity.field for group in (LEFT, RIGHT, WALL, TIME) for quantity in group]
    return {
        "synthetic": report.synthetic,
        **{field: getattr(report, field) for field in FRAMES},
        **{field: float(getattr(report, field)) for field in numbers},
        "reasons": _reasons(report),
        "notes": _notes(report),
    }


def _reasons(report: FunctionReport) -> str:
    return text_cell(" | ".join(f"{field}: {reason}" for field, reason in report.reasons.items()))


def _notes(report: FunctionReport) -> str:
    """What should be known of the numbers, and of the file that they are from: a size that cannot be, for one."""
    read = report.meta.get("notes")
    return text_cell(" | ".join(dict.fromkeys((*(read if isinstance(read, list | tuple) else ()), *report.notes))))
