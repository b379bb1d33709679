"""``cardiodit landmarks``: insertion points of a cine, or of a segmentation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from CardioDiTLib.commands.options import add_label_map, request_of, take_defaults
from CardioDiTLib.commands.printing import bar, show_notes
from CardioDiTLib.workflow.landmarks import Kind, LandmarkRequest
from CardioDiTLib.workflow.landmarks import run as find_landmarks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        type=Path,
        help="a cine (.nii, .nii.gz, .seq.nrrd, .nrrd, DICOM folder or .zip), or labels 1 RV, 2 myocardium, 3 LV "
        "(.nii, .nii.gz, .nrrd)",
    )
    parser.add_argument("destination", metavar="OUT", type=Path, help=".csv or .json")
    parser.add_argument(
        "--from",
        dest="source",
        choices=get_args(Kind),
        help="what INPUT is; auto (default): a file of whole numbers from 0 to 3, or of the numbers "
        "of a known convention, is a segmentation",
    )
    parser.add_argument(
        "--method",
        choices=("auto", "network", "segmentation", "fusion"),
        help="for a cine: the landmark network, the ends of the septum in labels, or both; auto (default) takes both "
        "where both models are there",
    )
    parser.add_argument(
        "--segmentation", type=Path, metavar="FILE", help="labels of the cine, in place of those that would be found"
    )
    add_label_map(parser)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="landmark model in place of the embedded one")
    parser.add_argument(
        "--segmentation-weights", type=Path, metavar="FOLDER", help="segmentation model in place of the embedded one"
    )
    parser.add_argument("--device", help="for a cine: auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        help="take outliers out, fill short gaps, smooth in time; default: for cines (as in 'measure'), not for labels",
    )
    parser.add_argument("--swap", action="store_true", help="exchange anterior and inferior (mirrored pictures)")
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    take_defaults(parser, LandmarkRequest)


def run(arguments: argparse.Namespace) -> int:
    """Find, write, and say how many."""
    request = request_of(LandmarkRequest, arguments)
    with bar("landmarks", "frame") as show:
        track = find_landmarks(request, progress=show, note=lambda sentence: show_notes([sentence]))
    lines = int(track.found.all(axis=-1).sum())
    print(f"{arguments.destination}: both points in {lines} of {track.n_frames} x {track.n_slices} slices")
    if "tracking" in track.meta:
        counts = track.meta["tracking"]
        print(f"tracking: {counts['outliers']} outliers, {counts['replaced']} replaced, {counts['filled']} filled")
    about = track.meta["landmarks"]
    if about.get("naming_note"):
        show_notes([about["naming_note"]])
    if about.get("named_by") == "picture":
        show_notes(["the file has no orientation; the picture was taken to be seen from the apex, as usual"])
    return 0
