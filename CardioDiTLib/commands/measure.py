"""``cardiodit measure``: from a cine to its labels, insertion points and function, in one go."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from CardioDiTLib.cine import Cine
from CardioDiTLib.commands.options import (
    CINE_KINDS,
    add_reading_arguments,
    dicom_source,
    positive,
    read_cine,
    reading_notes,
)
from CardioDiTLib.commands.printing import in_options
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.function_report import FunctionReport, summary_lines
from CardioDiTLib.function.outputs import FORMATS, check_formats
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.io.label_convention import are_labels
from CardioDiTLib.io.output_set import check_folder, refuse_existing

_SEGMENTING = 0.8
"""Share of the time that segmenting takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "cine",
        metavar="CINE",
        type=Path,
        help=f"{CINE_KINDS}; short axis; or a folder of such cines: then one row a cine in measurements.csv",
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f", "--formats", default="json,csv,html", metavar="LIST", help=f"with commas, of {', '.join(FORMATS)}"
    )
    parser.add_argument("--heart-rate", type=positive, metavar="BPM", help="beats a minute, where it is known")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="mean over mirror images (twice the work)",
    )
    parser.add_argument(
        "--stack-covers-heart",
        action=argparse.BooleanOptionalAction,
        help="take ventricles that reach the first or the last slice for complete; default: at the base only, "
        "with 55 mm labelled",
    )
    parser.add_argument("--segmentation-weights", type=Path, metavar="FOLDER", help="in place of the embedded ones")
    parser.add_argument("--landmark-weights", type=Path, metavar="FOLDER", help="in place of the embedded ones")
    parser.add_argument(
        "--dicom", action="store_true", help="also a DICOM SEG and a structured report, where CINE is DICOM"
    )
    add_reading_arguments(parser)
    parser.add_argument("--names", action="store_true", help="put names of files into the page and the tables")
    parser.add_argument("--anyway", action="store_true", help="also where no heart can be told from the labels")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Segment, find, measure; write all, and print the numbers."""
    formats = check_formats(arguments.formats.split(","))
    check_folder(arguments.out)
    if arguments.cine.is_dir():
        from CardioDiTLib.io.cine_files import find_cines

        found = find_cines(arguments.cine, below=True)
        if found.cines:
            from CardioDiTLib.commands.measure_folder import measure_folder

            def one(
                name: str, path: Path, overwrite: bool, told: Callable[[float], None]
            ) -> tuple[FunctionReport, Cine]:
                report, cine, _ = _measured(arguments, path, name, formats, overwrite, told)
                return report, cine

            return measure_folder(arguments, found, one)
    with Bars() as bars:
        report, cine, written = _measured(
            arguments, arguments.cine, file_stem(arguments.cine), formats, arguments.overwrite, bars
        )
    notes = dict.fromkeys((*reading_notes(cine.meta), *report.notes))
    for line in (*summary_lines(report), *(f"note: {note}" for note in notes)):
        print(in_options(line, arguments))
    for path in written:
        print(path)
    return 0


class Bars:
    """One progress bar for the two parts of the work, called with the part that is done."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=1.0, desc="measuring", disable=None, bar_format="{desc}: {percentage:3.0f}%|{bar}|")

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, part: float) -> None:
        self._bar.n = min(part, 1.0)
        self._bar.refresh()


def _measured(
    arguments: argparse.Namespace,
    source: Path,
    name: str,
    formats: Sequence[str],
    overwrite: bool,
    told: Callable[[float], None],
) -> tuple[FunctionReport, Cine, list[Path]]:
    """Segment one cine, find its points, measure it, and write all that."""
    out: Path = arguments.out
    from CardioDiTLib.workflow.measure import measure, measured_files

    refuse_existing([out / file for file in measured_files(name, formats, dicom=arguments.dicom)], overwrite)
    if arguments.dicom:
        from CardioDiTLib.io.dicom_seg import highdicom_or_hint

        highdicom_or_hint()
        dicom_source(arguments, source, out / "labels.dcm")  # told before minutes of work, not after
    cine = read_cine(arguments, source)
    if are_labels(cine.array):
        raise CardioDiTError(f"'{source.name}' holds labels, not images.", "Give the cine, or use cardiodit function.")

    def part(what: str, done: int, of: int) -> None:
        share = done / max(of, 1)
        told(_SEGMENTING * share if what == "segmenting" else _SEGMENTING + (1.0 - _SEGMENTING) * share)

    found = measure(
        cine,
        heart_rate_bpm=arguments.heart_rate,
        stack_covers_heart=arguments.stack_covers_heart,
        mirrored=arguments.mirrored,
        device=arguments.device,
        segmentation_weights=arguments.segmentation_weights,
        landmark_weights=arguments.landmark_weights,
        progress=part,
        anyway=arguments.anyway,
    )
    images = None
    if arguments.dicom:
        from CardioDiTLib.io.dicom import dicom_headers

        images = dicom_headers(source, series_uid=arguments.series_uid, allow_incomplete=arguments.allow_incomplete)
    written = found.save(out, name, formats=formats, overwrite=overwrite, names=arguments.names, images=images)
    return found.function, cine, written
