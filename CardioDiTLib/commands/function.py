"""``cardiodit function``: volumes, ejection fraction, mass, wall thickness and a report, from a segmentation."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.commands.options import COVERS_HELP, add_label_map, positive, request_of, take_defaults
from CardioDiTLib.commands.printing import in_options
from CardioDiTLib.function.function_report import summary_lines
from CardioDiTLib.function.outputs import FORMATS
from CardioDiTLib.workflow.function import FunctionRequest
from CardioDiTLib.workflow.function import run as measure_function
from CardioDiTLib.workflow.sources import CineFile, LabelFile


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
        help=COVERS_HELP,
    )
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f",
        "--formats",
        default=",".join(FunctionRequest.formats),
        metavar="LIST",
        help=f"with commas, of {', '.join(FORMATS)}",
    )
    parser.add_argument("--names", action="store_true", help="put names of files into the page and the tables")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    take_defaults(parser, FunctionRequest)


def run(arguments: argparse.Namespace) -> int:
    """Measure, write all files at once, and print the numbers."""
    square = arguments.square_axes
    request = request_of(
        FunctionRequest,
        arguments,
        segmentation=LabelFile(str(arguments.segmentation), arguments.label_map, square),
        cine=None if arguments.cine is None else CineFile(str(arguments.cine), square_axes=square),
        heart_rate_bpm=arguments.heart_rate,
        formats=arguments.formats.split(","),
    )
    done = measure_function(request)
    for line in (*summary_lines(done.report), *(f"note: {note}" for note in done.notes)):
        print(in_options(line, arguments))
    for path in done.files:
        print(path)
    return 0
