"""A function report as files: all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.report_html import to_html
from CardioDiTLib.function.tables import curves_to_csv, to_csv, to_json
from CardioDiTLib.io.output_set import write_outputs

FORMATS = ("json", "csv", "html")
"""What can be written: the report, two tables (numbers and curves), and the page with pictures."""


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Formats in lower case, without dots and doubles.

    Raises:
        CardioDiTError: One is not known, or there is none.
    """
    wanted = tuple(dict.fromkeys(name.strip().lower().lstrip(".") for name in formats if name.strip()))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        what = f"The format {unknown[0]!r} is not known." if unknown else "No format was given."
        raise CardioDiTError(what, f"Choose among {', '.join(FORMATS)}.")
    return wanted


def save_report(
    report: FunctionReport,
    folder: str | os.PathLike[str],
    name: str,
    segmentation: Segmentation,
    *,
    cine: Cine | None = None,
    landmarks: LandmarkTrack | None = None,
    formats: Sequence[str] = FORMATS,
    overwrite: bool = False,
    names: bool = False,
) -> list[Path]:
    """Write a report; files appear under their names only once all are complete.

    Args:
        report: What was measured.
        folder: Where to; made if need be.
        name: Start of the file names.
        segmentation: What it was measured on.
        cine: Images for the page.
        landmarks: Insertion points for the page.
        formats: Among :data:`FORMATS`.
        overwrite: Replace files of the same names; without it they are never touched.
        names: Put the name into the page and the tables. Without it only a synthetic heart's is: another may be called
            after its patient, and pages and tables are passed on.

    Returns:
        Paths of the files: NAME_function.json, NAME_function.csv, NAME_curves.csv, NAME_function.html.

    Raises:
        CardioDiTError: A format is not known, a file is there already, Matplotlib or Pillow is missing for the page, or
            the files cannot be written; none of them is left behind then, and files that were there before are as they
            were.
    """
    writers = report_writers(report, name, segmentation, cine=cine, landmarks=landmarks, formats=formats, names=names)
    return write_outputs(folder, writers, overwrite=overwrite)


def report_files(name: str, formats: Sequence[str] = FORMATS) -> list[str]:
    """Names of the files of a report, known before anything is measured.

    Raises:
        CardioDiTError: A format is not known.
    """
    files = {
        "json": [f"{name}_function.json"],
        "csv": [f"{name}_function.csv", f"{name}_curves.csv"],
        "html": [f"{name}_function.html"],
    }
    return [file for key in check_formats(formats) for file in files[key]]


def report_writers(
    report: FunctionReport,
    name: str,
    segmentation: Segmentation,
    *,
    cine: Cine | None = None,
    landmarks: LandmarkTrack | None = None,
    formats: Sequence[str] = FORMATS,
    names: bool = False,
) -> dict[str, Callable[[Path], object]]:
    """How to write each file of a report, for :func:`~CardioDiTLib.io.output_set.write_outputs`; see `save_report`."""
    shown = name if names or report.synthetic else None
    row = shown or "cine"
    writers: dict[str, Callable[[Path], object]] = {
        f"{name}_function.json": lambda path: to_json(report, path),
        f"{name}_function.csv": lambda path: to_csv({row: report}, path),
        f"{name}_curves.csv": lambda path: curves_to_csv({row: report}, path),
        f"{name}_function.html": lambda path: to_html(
            report, path, segmentation, cine=cine, landmarks=landmarks, title=shown or "Cardiac function"
        ),
    }
    return {file: writers[file] for file in report_files(name, formats)}
