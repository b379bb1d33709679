"""All cines of a folder measured: one row a cine in a table, resumable, failures told at the end."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from dataclasses import replace
from pathlib import Path

from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.function.function_report import FRAMES, LEFT, RIGHT, TIME, WALL, FunctionReport
from CardioDiTLib.function.outputs import check_formats
from CardioDiTLib.io.cine_files import CineFiles, find_cines
from CardioDiTLib.io.output_set import check_folder
from CardioDiTLib.progress import CancelSource, Listener, Progress
from CardioDiTLib.version import __version__
from CardioDiTLib.workflow.measure import MeasureRequest, measured_files, run
from CardioDiTLib.workflow.sources import FolderResult

TABLE = "measurements.csv"
"""Name of the table."""

_QUANTITIES = tuple(quantity.field for group in (LEFT, RIGHT, WALL, TIME) for quantity in group)
_COLUMNS = ("cine", "status", "problem", *_QUANTITIES, *FRAMES, "missing", "notes", "source", "bytes", "settings")


def cines_below(request: MeasureRequest) -> CineFiles | None:
    """Cines of the folder that a request names; None where it names a cine."""
    path = Path(request.cine.path)
    found = find_cines(path, below=True) if path.is_dir() else None
    return found if found is not None and found.cines else None


def run_folder(
    request: MeasureRequest,
    found: CineFiles,
    *,
    progress: Listener | None = None,
    cancel: CancelSource = None,
) -> FolderResult:
    """Measure each cine and keep the table.

    The table is written anew after each cine. A row of a cine that was measured before with the same settings, and
    whose place and size have not changed, is kept; a cine that failed, or was interrupted, is measured again. Files
    that no run of this table wrote are not replaced unless that is asked for, however often it is run; a row that met
    some has no `settings`.

    Args:
        request: The order; its cine is the folder, with how its files are to be read.
        found: The cines.
        progress: Told of the stage "measure", in cines.
        cancel: A function that says whether to stop, an event, or None.

    Raises:
        CardioDiTError: The table is there and is another one.
        Cancelled: `cancel` said so; the table holds what was measured.
    """
    check_formats(request.formats)
    out = Path(request.out)
    check_folder(out)
    table = out / TABLE
    settings = _settings(request)
    rows = _known(table)
    others = [row for row in rows.values() if row["settings"] != settings and row["status"] == "done"]
    if others and not request.overwrite:
        raise CardioDiTError(
            f"'{table}' holds results of other options or of another version.",
            "Choose another folder, or add --overwrite.",
        )
    out.mkdir(parents=True, exist_ok=True)
    tell = progress or (lambda sign: None)
    failed: dict[str, str] = {}
    kept, of = 0, len(found.cines)
    for number, (name, path) in enumerate(found.cines.items()):
        row = dict.fromkeys(_COLUMNS, "")
        row.update(cine=name, bytes=str(_bytes(path)), settings=settings)
        row["source"] = path.relative_to(request.cine.path).as_posix()
        before = rows.get(name)
        same = before is not None and all(before[column] == row[column] for column in ("source", "bytes", "settings"))
        if same and before is not None and before["status"] == "done":
            kept += 1
            tell(Progress("measure", number + 1, of))
            continue
        # files that an interrupted run of this table left are replaced, others only when that is asked for
        replaced = request.overwrite or (before is not None and before["settings"] != "")
        files = measured_files(name, request.formats, dicom=request.dicom)
        foreign = not replaced and any(os.path.lexists(out / file) for file in files)
        row.update(status="started", settings="" if foreign else settings)
        rows[name] = row
        _write(table, rows)

        def told(sign: Progress, number: int = number) -> None:
            tell(Progress("measure", number + sign.share, of))

        one = replace(request, cine=replace(request.cine, path=str(path)), overwrite=replaced)
        try:
            measured = run(one, name=name, progress=told, cancel=cancel).measurement
        except Cancelled:
            raise
        except CardioDiTError as error:
            row.update(status="failed", problem=str(error))
        except MemoryError:
            row.update(status="failed", problem="The memory is not enough.")
        else:
            report = measured.function
            row.update(_numbers(report), status="done", missing=_missing(report))
            row["notes"] = " ".join(dict.fromkeys((*measured.cine.meta.get("notes", ()), *report.notes)))
        if row["problem"]:
            failed[name] = row["problem"]
        _write(table, rows)
        tell(Progress("measure", number + 1, of))
    return FolderResult(table, of, kept, failed, found.passed_over)


def _settings(request: MeasureRequest) -> str:
    """A short name of the options that change results, and of the version; tables of earlier runs hold it."""
    cine = request.cine
    chosen = {
        "formats": ",".join(request.formats),
        "names": request.names,
        "dicom": request.dicom,
        "heart_rate": request.heart_rate_bpm,
        "mirrored": request.mirrored,
        "stack_covers_heart": request.stack_covers_heart,
        "segmentation_weights": request.segmentation_weights,
        "landmark_weights": request.landmark_weights,
        "frame_interval_s": cine.frame_interval_s,
        "square_axes": cine.square_axes,
        "series_uid": None if cine.series_uid is None else list(cine.series_uid),
        "allow_incomplete": cine.allow_incomplete,
    }
    text = json.dumps([__version__, {name: str(value) for name, value in chosen.items()}], sort_keys=True)
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
