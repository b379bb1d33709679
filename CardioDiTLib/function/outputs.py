"""A function report as files: all of them, or none."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.function.bullseye import bullseye_pair_png
from CardioDiTLib.function.function_report import LEFT, RIGHT, TIME, WALL, FunctionReport, reason_for
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


def function_table(report: FunctionReport) -> list[dict[str, Any]]:
    """The numbers of a report as rows.

    Returns:
        ``group``, ``name``, ``field``, ``unit``, ``digits``; ``value``: None where it could not be had, and ``reason``
        says why.
    """
    groups = (("Left ventricle", LEFT), ("Right ventricle", RIGHT), ("Wall", WALL), ("Time", TIME))
    rows = []
    for group, quantities in groups:
        for quantity in quantities:
            value = float(getattr(report, quantity.field))
            known = math.isfinite(value)
            rows.append(
                {
                    "group": group,
                    "name": quantity.name,
                    "field": quantity.field,
                    "unit": quantity.unit,
                    "digits": quantity.digits,
                    "value": value if known else None,
                    "reason": "" if known else reason_for(report, quantity.field),
                }
            )
    return rows


def write_bullseye(report: FunctionReport, path: Path) -> tuple[str, str]:
    """Draw the segments as a PNG.

    Returns:
        The file, empty where there is none; why there is none.
    """
    if not any(math.isfinite(number) for number in report.segment_thickness_ed_mm):
        return "", reason_for(report, "segment_thickness_ed_mm") or "No segment could be measured."
    try:
        data = bullseye_pair_png(report)
    except CardioDiTError as error:
        return "", str(error)
    with atomic_path(path) as partial:
        partial.write_bytes(data)
    return str(path), ""


def write_report(
    report: FunctionReport,
    path: Path,
    title: str,
    segmentation: Segmentation,
    cine: Cine | None,
    landmarks: LandmarkTrack | None,
) -> list[Path]:
    """Write a report.

    Args:
        report: What was measured.
        path: Ends in .html (one page with pictures), .json (all of it), or .csv (one row of numbers; the curves go
            beside it, ``..._curves.csv``).
        title: Heading of the page, and name in the tables.
        segmentation: What it was measured on.
        cine: Images for the page.
        landmarks: Insertion points for the page.

    Returns:
        The files.

    Raises:
        CardioDiTError: Another suffix, Matplotlib or Pillow is missing for the page, or a file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in (".html", ".htm"):
        return [to_html(report, path, segmentation, cine=cine, landmarks=landmarks, title=title)]
    if suffix == ".json":
        return [to_json(report, path)]
    if suffix != ".csv":
        raise CardioDiTError(f"'{path.name}' is no file for a report.", "Use .html, .csv or .json.")
    curves = path.with_name(f"{path.stem}_curves.csv")
    written: list[Path] = []
    try:
        written.append(to_csv({title: report}, path))
        written.append(curves_to_csv({title: report}, curves))
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise
    return written
