"""``cardiodit function``: volumes, ejection fraction, mass, wall thickness and a report, from a segmentation."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.commands.options import add_label_map, positive, reading_notes
from CardioDiTLib.commands.printing import in_options
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.function.function_report import summary_lines
from CardioDiTLib.function.outputs import FORMATS, check_formats, report_files, save_report
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.io.output_set import check_folder, refuse_existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "segmentation", metavar="SEGMENTATION", type=Path, help="labels 1 RV, 2 myocardium, 3 LV: NIfTI or sequence"
    )
    add_label_map(parser)
    parser.add_argument("--cine", type=Path, metavar="CINE", help="the images, for the pictures of the report")
    parser.add_argument("--landmarks", type=Path, metavar="FILE", help="RV insertion points, .csv or .json")
    parser.add_argument("--heart-rate", type=positive, metavar="BPM", help="beats a minute, where it is known")
    parser.add_argument(
        "--stack-covers-heart",
        action=argparse.BooleanOptionalAction,
        help="take ventricles that reach the first or the last slice for complete; default: at the base only, "
        "with 55 mm labelled",
    )
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f", "--formats", default="json,csv,html", metavar="LIST", help=f"with commas, of {', '.join(FORMATS)}"
    )
    parser.add_argument("--names", action="store_true", help="put names of files into the page and the tables")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write all files at once, and print the numbers."""
    formats = check_formats(arguments.formats.split(","))
    name = file_stem(arguments.segmentation)
    check_folder(arguments.out)
    refuse_existing([arguments.out / file for file in report_files(name, formats)], arguments.overwrite)
    segmentation = load_segmentation(
        arguments.segmentation,
        square_axes=arguments.square_axes,
        label_map=arguments.label_map,
    )
    cine = None
    if arguments.cine is not None:
        cine = load_cine(arguments.cine, square_axes=arguments.square_axes)
        segmentation = _with_origin(segmentation, cine)
    landmarks = None
    if arguments.landmarks is not None:
        from CardioDiTLib.landmarks.files import load_landmarks

        landmarks = load_landmarks(arguments.landmarks)
    report = cardiac_function(
        segmentation, landmarks, arguments.heart_rate, stack_covers_heart=arguments.stack_covers_heart
    )
    paths = save_report(
        report,
        arguments.out,
        name,
        segmentation,
        cine=cine,
        landmarks=landmarks,
        formats=formats,
        overwrite=arguments.overwrite,
        names=arguments.names,
    )
    notes = dict.fromkeys((*reading_notes(segmentation.meta), *report.notes))
    for line in (*summary_lines(report), *(f"note: {note}" for note in notes)):
        print(in_options(line, arguments))
    for path in paths:
        print(path)
    return 0


def _with_origin(segmentation: Segmentation, cine: Cine) -> Segmentation:
    """The segmentation with what the cine knows better: where it comes from, and its frame times."""
    if cine.shape != segmentation.shape or not np.allclose(cine.affine, segmentation.affine, atol=1e-2):
        raise CardioDiTError(
            f"The cine {cine.shape} and the segmentation {segmentation.shape} are not on the same grid.",
            "Give the cine that was segmented.",
        )
    meta = {**cine.meta, **segmentation.meta}
    if cine.meta.get("synthetic"):
        meta["synthetic"] = True
    times = segmentation.frame_times
    if segmentation.meta.get("frame_times_assumed"):
        times = cine.frame_times
        if not cine.meta.get("frame_times_assumed"):
            del meta["frame_times_assumed"]
    return Segmentation(segmentation.array, segmentation.affine, times, meta)
