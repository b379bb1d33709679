"""Volumes, ejection fraction, mass, wall thickness: numbers of labels, and reports of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.outputs import (
    FORMATS,
    check_formats,
    report_files,
    save_report,
    write_bullseye,
    write_report,
)
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.io.frame_times import take_back_assumed
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.progress import CancelSource, Listener, Progress, Stop
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import (
    CineFile,
    CineSource,
    LabelFile,
    LabelSource,
    cine_at,
    labels_at,
    on_one_grid,
    reading_notes,
)


@dataclass(frozen=True)
class FunctionRequest(Record):
    """An order for the numbers of labels.

    Args:
        segmentation: The labels.
        cine: Its images, for the pictures of a report.
        landmarks: Insertion points, or their file.
        heart_rate_bpm: Where it is known.
        stack_covers_heart: See `cardiac_function`.
        out: Folder for the report of a file, in `formats`, called after the file.
        formats: Among `function.outputs.FORMATS`.
        names: Put names of files into the page and the tables.
        overwrite: Replace files that are there.
        report: One file for a report, as its name ends (`write_report`), with the heading `title`.
        bullseye: File for a picture of the segments.
    """

    record_name = "request for cardiac function"

    segmentation: LabelSource
    cine: CineSource | None = None
    landmarks: str | LandmarkTrack | None = None
    heart_rate_bpm: float | None = None
    stack_covers_heart: bool | None = None
    out: str | None = None
    formats: tuple[str, ...] = FORMATS
    names: bool = False
    overwrite: bool = False
    report: str | None = None
    title: str = "Cardiac function"
    bullseye: str | None = None


@dataclass(frozen=True, eq=False)
class FunctionResult:
    """What was measured.

    Attributes:
        report: The numbers.
        files: Reports that were written.
        bullseye: The picture, empty where it could not be drawn, or was not asked for.
        bullseye_problem: Why it could not.
        notes: What should be known of the labels and the numbers.
    """

    report: FunctionReport
    files: tuple[Path, ...]
    bullseye: str
    bullseye_problem: str
    notes: tuple[str, ...]


def run(request: FunctionRequest, *, progress: Listener | None = None, cancel: CancelSource = None) -> FunctionResult:
    """Measure, and write what is asked for.

    Args:
        request: The order.
        progress: Told of the stages "measure" and "draw".
        cancel: Asked once the numbers are there.

    Raises:
        CardioDiTError: As `cardiac_function` does, a cine on another grid, or files that cannot be written.
        Cancelled: `cancel` said so.
    """
    tell = progress or (lambda sign: None)
    formats, name = check_formats(request.formats), "cine"
    if request.out is not None:
        if isinstance(request.segmentation, LabelFile):
            name = file_stem(Path(request.segmentation.path))
        out = Path(request.out)
        check_folder(out)
        refuse_existing([out / file for file in report_files(name, formats)], request.overwrite)
    segmentation = labels_at(request.segmentation)
    cine = None if request.cine is None else cine_at(request.cine)
    if isinstance(request.cine, CineFile) and cine is not None:
        segmentation = _with_origin(segmentation, cine)
    landmarks = request.landmarks
    if isinstance(landmarks, str):
        from CardioDiTLib.landmarks.files import load_landmarks

        landmarks = load_landmarks(landmarks)
    tell(Progress("measure", 0, 2))
    report = cardiac_function(
        segmentation, landmarks, request.heart_rate_bpm, stack_covers_heart=request.stack_covers_heart
    )
    Stop(cancel).check()
    tell(Progress("draw", 1, 2))
    picture, problem = "", ""
    if request.bullseye is not None:
        picture, problem = write_bullseye(report, Path(request.bullseye))
    files: list[Path] = []
    if request.report is not None:
        files += write_report(report, Path(request.report), request.title, segmentation, cine, landmarks)
    if request.out is not None:
        files += save_report(
            report,
            request.out,
            name,
            segmentation,
            cine=cine,
            landmarks=landmarks,
            formats=formats,
            overwrite=request.overwrite,
            names=request.names,
        )
    tell(Progress("draw", 2, 2, 0.0))
    notes = tuple(dict.fromkeys((*reading_notes(segmentation.meta), *report.notes)))
    return FunctionResult(report, tuple(files), picture, problem, notes)


def _with_origin(segmentation: Segmentation, cine: Cine) -> Segmentation:
    """The segmentation with what the file of its cine knows better: where it comes from, and its frame times."""
    if not on_one_grid(cine, segmentation):
        raise CardioDiTError(
            f"The cine {cine.shape} and the segmentation {segmentation.shape} are not on the same grid.",
            "Give the cine that was segmented.",
        )
    meta = {**cine.meta, **segmentation.meta}
    if cine.meta.get("synthetic"):
        meta["synthetic"] = True
    times = cine.frame_times if segmentation.meta.get("frame_times_assumed") else segmentation.frame_times
    if not (cine.meta.get("frame_times_assumed") and segmentation.meta.get("frame_times_assumed")):
        take_back_assumed(meta)  # one of both knows them
    return Segmentation(segmentation.array, segmentation.affine, times, meta)
