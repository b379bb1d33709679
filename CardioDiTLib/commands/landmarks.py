"""``cardiodit landmarks``: insertion points of a segmentation."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_segmentation
from CardioDiTLib.landmarks.files import SUFFIXES, save_landmarks
from CardioDiTLib.landmarks.from_segmentation import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import track_landmarks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "segmentation", metavar="SEGMENTATION", type=Path, help="labels 1 RV, 2 myocardium, 3 LV; .nii, .nii.gz, .nrrd"
    )
    parser.add_argument("destination", metavar="OUT", type=Path, help=".csv or .json")
    parser.add_argument("--track", action="store_true", help="take outliers out, fill short gaps, smooth in time")
    parser.add_argument("--swap", action="store_true", help="exchange anterior and inferior (mirrored pictures)")
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Find, write, and say how many."""
    destination: Path = arguments.destination
    if destination.suffix.lower() not in SUFFIXES:
        raise CardioDiTError(f"'{destination.name}' is no landmark file.", "Use .csv or .json.")
    if destination.exists() and not arguments.overwrite:
        raise CardioDiTError(f"'{destination}' is there already.", "Choose another name, or add --overwrite.")
    segmentation = load_segmentation(arguments.segmentation, square_axes=arguments.square_axes)
    track = landmarks_from_segmentation(segmentation, swap=arguments.swap)
    if not track.found.any():
        raise CardioDiTError(
            f"'{arguments.segmentation.name}' has no slice in which the ventricles touch.",
            "Check that the labels are 1 RV, 2 myocardium, 3 LV.",
        )
    if arguments.track:
        track = track_landmarks(track)
    save_landmarks(track, destination)
    lines = int(track.found.all(axis=-1).sum())
    print(f"{destination}: both points in {lines} of {track.n_frames} x {track.n_slices} slices")
    if arguments.track:
        counts = track.meta["tracking"]
        print(f"tracking: {counts['outliers']} outliers, {counts['replaced']} replaced, {counts['filled']} filled")
    if track.meta["landmarks"]["named_by"] == "picture":
        print("note: the file has no orientation; the picture was taken to be seen from the apex, as usual")
    return 0
