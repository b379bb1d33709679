"""A function report as files: all of them, or none."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.report_html import to_html
from CardioDiTLib.function.tables import curves_to_csv, to_csv, to_json

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
) -> list[Path]:
    """Write a report; files appear under their names only once all are complete.

    Args:
        report: What was measured.
        folder: Where to; made if need be. Files of the same names are replaced.
        name: Start of the file names, and heading of the page.
        segmentation: What it was measured on.
        cine: Images for the page.
        landmarks: Insertion points for the page.
        formats: Among :data:`FORMATS`.

    Returns:
        Paths of the files: NAME_function.json, NAME_function.csv, NAME_curves.csv, NAME_function.html.

    Raises:
        CardioDiTError: A format is not known, Matplotlib or Pillow is missing for the page, or the files cannot be
            written; none of them is left behind then.
    """
    writers: dict[str, dict[str, Callable[[Path], object]]] = {
        "json": {f"{name}_function.json": lambda path: to_json(report, path)},
        "csv": {
            f"{name}_function.csv": lambda path: to_csv({name: report}, path),
            f"{name}_curves.csv": lambda path: curves_to_csv({name: report}, path),
        },
        "html": {
            f"{name}_function.html": lambda path: to_html(
                report, path, segmentation, cine=cine, landmarks=landmarks, title=name
            )
        },
    }
    wanted = {file: write for key in check_formats(formats) for file, write in writers[key].items()}
    final = Path(folder)
    partial = final / f".cardiodit-{uuid.uuid4().hex[:12]}"
    made = [part for part in (final, *final.parents) if not part.exists()]
    moved: list[Path] = []
    try:
        partial.mkdir(parents=True)
        for file, write in wanted.items():
            write(partial / file)
        for file in wanted:
            os.replace(partial / file, final / file)
            moved.append(final / file)
        return moved
    except OSError as error:
        raise CardioDiTError(
            f"The report could not be written to '{final}': {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if len(moved) < len(wanted):  # interrupted: the first files go as well, and folders made for them
            for path in moved:
                path.unlink(missing_ok=True)
            for part in made:
                try:
                    part.rmdir()
                except OSError:  # never made, or somebody else put something there
                    break
