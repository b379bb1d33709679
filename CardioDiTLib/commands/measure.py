"""``cardiodit measure``: from a cine to its labels, insertion points and function, in one go."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.commands.options import (
    CINE_KINDS,
    COVERS_HELP,
    add_device,
    add_mirrored,
    add_reading_arguments,
    cine_file,
    positive,
    request_of,
    take_defaults,
)
from CardioDiTLib.commands.printing import bar, in_options, show_folder
from CardioDiTLib.function.function_report import summary_lines
from CardioDiTLib.function.outputs import FORMATS
from CardioDiTLib.workflow.measure import MeasureRequest
from CardioDiTLib.workflow.measure import run as measure
from CardioDiTLib.workflow.measure_folder import cines_below, run_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "cine",
        metavar="CINE",
        type=Path,
        help=f"{CINE_KINDS}; short axis; or a folder of such cines: then one row a cine in measurements.csv",
    )
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f",
        "--formats",
        default=",".join(MeasureRequest.formats),
        metavar="LIST",
        help=f"with commas, of {', '.join(FORMATS)}",
    )
    parser.add_argument("--heart-rate", type=positive, metavar="BPM", help="beats a minute, where it is known")
    add_device(parser)
    add_mirrored(parser, MeasureRequest.mirrored)
    parser.add_argument(
        "--stack-covers-heart",
        action=argparse.BooleanOptionalAction,
        help=COVERS_HELP,
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
    take_defaults(parser, MeasureRequest)


def run(arguments: argparse.Namespace) -> int:
    """Segment, find, measure; write all, and print the numbers."""
    request = request_of(
        MeasureRequest,
        arguments,
        cine=cine_file(arguments, arguments.cine),
        heart_rate_bpm=arguments.heart_rate,
        formats=arguments.formats.split(","),
    )
    found = cines_below(request)
    if found is not None:
        with bar("measuring", "cine") as show:
            done = run_folder(request, found, progress=show)
        return show_folder(done, "measured", "measured before")
    with bar("measuring", shares=True) as show:
        result = measure(request, progress=show)
    lines = summary_lines(result.measurement.function)
    for line in (*lines, *(f"note: {note}" for note in result.notes)):
        print(in_options(line, arguments))
    for path in result.files:
        print(path)
    return 0
