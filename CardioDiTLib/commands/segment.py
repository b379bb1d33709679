"""``cardiodit segment``: labels of a cine."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.commands.options import (
    CINE_KINDS,
    add_device,
    add_mirrored,
    add_reading_arguments,
    cine_file,
    request_of,
    take_defaults,
)
from CardioDiTLib.commands.printing import bar, show_notes
from CardioDiTLib.workflow.segment import SegmentRequest
from CardioDiTLib.workflow.segment import run as segment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cine", metavar="CINE", type=Path, help=f"{CINE_KINDS}; short axis")
    parser.add_argument(
        "destination",
        metavar="OUT",
        type=Path,
        help="labels 1 RV, 2 myocardium, 3 LV; .nii, .nii.gz, .seq.nrrd, .nrrd, "
        "or .dcm (DICOM SEG) where CINE is DICOM",
    )
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="model's folder in place of the embedded one")
    add_device(parser)
    add_mirrored(parser, SegmentRequest.mirrored)
    parser.add_argument("--raw", action="store_true", help="the network's own labels, nothing made plausible")
    add_reading_arguments(parser)
    parser.add_argument("--anyway", action="store_true", help="also where no heart can be told from the labels")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    take_defaults(parser, SegmentRequest)


def run(arguments: argparse.Namespace) -> int:
    """Segment, write, and say what was found."""
    request = request_of(SegmentRequest, arguments, cine=cine_file(arguments, arguments.cine))
    with bar("segmenting", "frame") as show:
        done = segment(request, progress=show)
    volumes = done.lv_volume_ml
    print(
        f"{arguments.destination}: LV {volumes.max():.0f} mL in frame {int(volumes.argmax())}, "
        f"{volumes.min():.0f} mL in frame {int(volumes.argmin())}"
    )
    show_notes(done.notes())
    return 0
