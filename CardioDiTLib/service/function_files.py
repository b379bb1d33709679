"""A function report as what an application shows, and as files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.atomic import atomic_path

if TYPE_CHECKING:
    from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
    from CardioDiTLib.function.function_report import FunctionReport


def function_table(report: FunctionReport) -> list[dict[str, Any]]:
    """The numbers of a report as rows.

    Returns:
        ``group``, ``name``, ``field``, ``unit``, ``digits``; ``value``: None where it could not be had, and ``reason``
        says why.
    """
    from CardioDiTLib.function.quantities import LEFT, RIGHT, TIME, WALL, reason_for

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
    from CardioDiTLib.function.bullseye import bullseye_pair_png
    from CardioDiTLib.function.quantities import reason_for

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
        from CardioDiTLib.function.report_html import to_html

        return [to_html(report, path, segmentation, cine=cine, landmarks=landmarks, title=title)]
    from CardioDiTLib.function.tables import curves_to_csv, to_csv, to_json

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
