"""From a cine to labels, insertion points and function: the one chain of the command line and of Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.outputs import FORMATS, check_formats, report_files, report_writers
from CardioDiTLib.io import save_segmentation
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.io.label_convention import are_labels
from CardioDiTLib.io.output_set import Writer, check_folder, refuse_existing, write_outputs
from CardioDiTLib.landmarks.files import save_landmarks
from CardioDiTLib.progress import CancelSource, Listener, Progress
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import CineFile, check_models, reading_notes

Folder = str | os.PathLike[str]

_SEGMENTING = 0.8
"""Share of the time that segmenting takes."""


@dataclass(frozen=True, eq=False, repr=False)
class Measurement:
    """Everything that was measured on a cine.

    Attributes:
        cine: The cine.
        segmentation: Labels (T, Z, Y, X) on its grid.
        landmarks: Insertion points, mm RAS, followed through the cycle.
        function: Volumes, EF, mass, wall thickness, septum.
    """

    cine: Cine
    segmentation: Segmentation
    landmarks: LandmarkTrack
    function: FunctionReport

    def __repr__(self) -> str:
        """One line."""
        return f"Measurement({self.function!r}, {self.landmarks!r})"

    def save(
        self,
        folder: Folder,
        name: str,
        *,
        formats: Sequence[str] = FORMATS,
        overwrite: bool = False,
        names: bool = False,
        images: list[list[Any]] | None = None,
    ) -> list[Path]:
        """Write labels, points and the report; all files appear, or none.

        Args:
            folder: Where to; made if need be.
            name: Start of the file names.
            formats: Of the report.
            overwrite: Replace files of the same names; without it they are never touched.
            names: Put the name into page and tables too.
            images: What `io.dicom.dicom_headers` says of the DICOM images of the cine: then a DICOM SEG and, where
                anything was measured, a structured report that refer to them are written too (needs highdicom).

        Returns:
            NAME_segmentation.nii.gz, NAME_landmarks.csv, what `function.save_report` writes, and with `images`
            NAME_segmentation.dcm and NAME_report.dcm.

        Raises:
            CardioDiTError: A file is there already, or cannot be written.
        """
        labels, points = measured_files(name, ())
        writers: dict[str, Writer] = {
            labels: lambda path: save_segmentation(self.segmentation, path),
            points: lambda path: save_landmarks(self.landmarks, path),
            **report_writers(
                self.function,
                name,
                self.segmentation,
                cine=self.cine,
                landmarks=self.landmarks,
                formats=formats,
                names=names,
            ),
        }
        if images is not None:
            writers.update(self._dicom_writers(name, images))
        return write_outputs(folder, writers, overwrite=overwrite)

    def _dicom_writers(self, name: str, images: list[list[Any]]) -> dict[str, Writer]:
        from CardioDiTLib.function.structured_report import has_numbers, write_structured_report
        from CardioDiTLib.io.dicom_seg import segmentation_dataset, write_segmentation_dicom

        labels, numbers = _dicom_files(name)
        writers: dict[str, Writer] = {labels: lambda path: write_segmentation_dicom(self.segmentation, images, path)}
        if has_numbers(self.function):
            dataset = segmentation_dataset(self.segmentation, images)
            writers[numbers] = lambda path: write_structured_report(self.function, images, path, dataset)
        return writers


def measured_files(name: str, formats: Sequence[str] = FORMATS, *, dicom: bool = False) -> list[str]:
    """Names of the files of a measurement, known before anything is measured."""
    report = report_files(name, formats) if formats else ()
    return [f"{name}_segmentation.nii.gz", f"{name}_landmarks.csv", *report, *(_dicom_files(name) if dicom else ())]


def _dicom_files(name: str) -> tuple[str, str]:
    return f"{name}_segmentation.dcm", f"{name}_report.dcm"


def measure(
    cine: Cine,
    *,
    heart_rate_bpm: float | None = None,
    stack_covers_heart: bool | None = None,
    mirrored: bool = True,
    device: str = "auto",
    segmentation_weights: Folder | None = None,
    landmark_weights: Folder | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    cancel: CancelSource = None,
    anyway: bool = False,
) -> Measurement:
    """Segment a cine, find its insertion points, measure its function.

    The same as `segment`, `detect_landmarks` with these labels, and `cardiac_function` of both, one after the other.

    Args:
        cine: The cine, short axis; `cd.measure` also takes its path.
        heart_rate_bpm, stack_covers_heart: See `cardiac_function`.
        mirrored, device: See `segment`.
        segmentation_weights, landmark_weights: Folders of models in place of the embedded ones.
        progress: Called with ("segmenting" or "insertion points", done, of).
        cancel: A function that says whether to stop, an event, or None.
        anyway: Measure also where no heart can be told from the labels.

    Returns:
        Labels, points and numbers.

    Raises:
        Cancelled: `cancel` said so.
        CardioDiTError: As the three functions, or there is no heart in the pictures (`segmentation.heart_check`).

    Examples:
        >>> found = measure(cine)  # doctest: +SKIP
        >>> found.function.ef_percent  # doctest: +SKIP
        58.3
    """

    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.landmarks.detect import detect_landmarks
    from CardioDiTLib.segmentation.heart_check import why_no_heart
    from CardioDiTLib.segmentation.segment import segment

    def part(what: str) -> Callable[[int, int], None] | None:
        def tell(done: int, of: int) -> None:
            if progress is not None:
                progress(what, done, of)

        return None if progress is None else tell

    segmentation = segment(
        cine,
        weights=segmentation_weights,
        device=device,
        mirrored=mirrored,
        progress=part("segmenting"),
        cancel=cancel,
    )
    why = "" if anyway else why_no_heart(segmentation)
    if why:
        raise CardioDiTError(
            f"No heart can be told in these pictures: {why}.",
            "Check that it is a short-axis cine; anyway=True measures it all the same.",
        )
    track = detect_landmarks(
        cine,
        segmentation=segmentation,
        weights=landmark_weights,
        device=device,
        progress=part("insertion points"),
        cancel=cancel,
    )
    report = cardiac_function(segmentation, track, heart_rate_bpm, stack_covers_heart=stack_covers_heart)
    return Measurement(cine, segmentation, track, report)


@dataclass(frozen=True)
class MeasureRequest(Record):
    """An order for everything that can be measured on the cine of a file, as files.

    Args:
        cine: The cine, short axis.
        out: Folder for the files, which are called after the cine.
        formats: Of the report, among `function.outputs.FORMATS`.
        heart_rate_bpm, stack_covers_heart: See `cardiac_function`.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        mirrored: Take the mean over mirror images.
        segmentation_weights, landmark_weights: Folders of models in place of the embedded ones.
        dicom: Write a DICOM SEG and a structured report too.
        names: Put names of files into the page and the tables.
        anyway: Measure also where no heart can be told from the labels.
        overwrite: Replace files that are there.
    """

    record_name = "request for a measurement"

    cine: CineFile
    out: str = "out"
    formats: tuple[str, ...] = FORMATS
    heart_rate_bpm: float | None = None
    stack_covers_heart: bool | None = None
    device: str = "auto"
    mirrored: bool = True
    segmentation_weights: str | None = None
    landmark_weights: str | None = None
    dicom: bool = False
    names: bool = False
    anyway: bool = False
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class MeasureResult:
    """What was measured, and written.

    Attributes:
        measurement: Labels, points, numbers.
        files: All files.
    """

    measurement: Measurement
    files: tuple[Path, ...]

    @property
    def notes(self) -> list[str]:
        """What should be known of how the cine was read, and of the numbers."""
        found = self.measurement
        return list(dict.fromkeys((*reading_notes(found.cine.meta), *found.function.notes)))


def run(
    request: MeasureRequest,
    *,
    name: str | None = None,
    progress: Listener | None = None,
    cancel: CancelSource = None,
) -> MeasureResult:
    """Read, measure, write.

    Args:
        request: The order.
        name: Start of the file names; that of the cine if not given.
        progress: Told of the stage "measure", as the share that is done.
        cancel: A function that says whether to stop, an event, or None.

    Raises:
        CardioDiTError: As `load_cine` and `measure` do; labels in place of a cine; files that are there already, or
            cannot be written.
        Cancelled: `cancel` said so.
    """
    formats, out = check_formats(request.formats), Path(request.out)
    check_folder(out)
    name = file_stem(Path(request.cine.path)) if name is None else name
    files = measured_files(name, formats, dicom=request.dicom)
    refuse_existing([out / file for file in files], request.overwrite)
    check_models(request.segmentation_weights, request.landmark_weights, device=request.device)
    if request.dicom:
        from CardioDiTLib.io.dicom_seg import highdicom_or_hint

        highdicom_or_hint()
        request.cine.dicom_source()  # told before minutes of work, not after
    cine = request.cine.load()
    if are_labels(cine.array):
        raise CardioDiTError(
            f"'{request.cine.name}' holds labels, not images.", "Give the cine, or use cardiodit function."
        )

    def part(what: str, done: int, of: int) -> None:
        share = done / max(of, 1)
        share = _SEGMENTING * share if what == "segmenting" else _SEGMENTING + (1.0 - _SEGMENTING) * share
        if progress is not None:
            progress(Progress("measure", min(share, 1.0), 1.0))

    found = measure(
        cine,
        heart_rate_bpm=request.heart_rate_bpm,
        stack_covers_heart=request.stack_covers_heart,
        mirrored=request.mirrored,
        device=request.device,
        segmentation_weights=request.segmentation_weights,
        landmark_weights=request.landmark_weights,
        progress=part,
        cancel=cancel,
        anyway=request.anyway,
    )
    images = request.cine.dicom_headers() if request.dicom else None
    written = found.save(out, name, formats=formats, overwrite=request.overwrite, names=request.names, images=images)
    return MeasureResult(found, tuple(written))
