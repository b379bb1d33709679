"""``cardiodit convert``: any cine format that can be read to any that can be written."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.cine import Cine
from CardioDiTLib.commands.options import CINE_KINDS, add_reading_arguments, cine_file, request_of
from CardioDiTLib.commands.printing import bar, show_folder, show_notes
from CardioDiTLib.workflow import convert
from CardioDiTLib.workflow.convert import SUFFIXES, ConvertRequest
from CardioDiTLib.workflow.sources import reading_notes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", metavar="IN", type=Path, help=CINE_KINDS)
    parser.add_argument(
        "destination",
        metavar="OUT",
        type=Path,
        help=".nii, .nii.gz, .seq.nrrd, .nrrd, .dcm (a folder of DICOM images); .png or .gif for a picture",
    )
    add_reading_arguments(parser)
    parser.add_argument(
        "--multi-frame", action="store_true", help="DICOM: one enhanced multi-frame file in place of a folder"
    )
    parser.add_argument(
        "--to",
        choices=SUFFIXES,
        metavar="SUFFIX",
        help=f"IN is a folder of cines: write each of them into the folder OUT, as {', '.join(SUFFIXES)}",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Read, write, and say what it was."""
    request = request_of(ConvertRequest, arguments, source=cine_file(arguments, arguments.source))
    if request.to is None:
        _say(request.destination, convert.run(request))
        return 0
    with bar("converting", "cine") as show:
        done = convert.run_folder(request, _say, progress=show)
    return show_folder(done, "converted", "there already")


def _say(path: str, cine: Cine) -> None:
    frames, slices, rows, columns = cine.shape
    spacing = " x ".join(f"{value:g}" for value in cine.spacing)
    print(
        f"{path}: {columns} x {rows} x {slices} voxels, {spacing} mm, "
        f"{frames} frames, {1000 * cine.frame_interval_s:.4g} ms"
    )
    show_notes(reading_notes(cine.meta))
