"""``cardiodit landmarks``: insertion points of a cine, or of a segmentation."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.commands.options import add_label_map, reading_notes
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.io.label_convention import are_labels
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.landmarks.files import SUFFIXES, save_landmarks
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import FEWEST_FRAMES, track_landmarks


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
        default="auto",
        choices=("auto", "cine", "segmentation"),
        help="what INPUT is; auto (default): a file of whole numbers from 0 to 3, or of the numbers "
        "of a known convention, is a segmentation",
    )
    parser.add_argument(
        "--method",
        default="auto",
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
    parser.add_argument("--device", default="auto", help="for a cine: auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        help="take outliers out, fill short gaps, smooth in time; default: for cines (as in 'measure'), not for labels",
    )
    parser.add_argument("--swap", action="store_true", help="exchange anterior and inferior (mirrored pictures)")
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Find, write, and say how many."""
    destination: Path = arguments.destination
    if destination.suffix.lower() not in SUFFIXES:
        raise CardioDiTError(f"'{destination.name}' is no landmark file.", "Use .csv or .json.")
    check_folder(destination.parent)
    refuse_existing([destination], arguments.overwrite)
    given = _read(arguments)
    if isinstance(given, Segmentation):
        track = landmarks_from_segmentation(given, swap=arguments.swap)
        if not track.found.any():
            raise CardioDiTError(
                f"'{arguments.input.name}' has no slice in which the ventricles touch.",
                "Check that the labels are 1 RV, 2 myocardium, 3 LV.",
            )
    else:
        track = _detected(given, arguments)
        if not track.found.any():
            raise CardioDiTError(
                f"No insertion point was found in '{arguments.input.name}'.",
                "Check that it is a short-axis cine, or try another --method.",
            )
    wanted = isinstance(given, Cine) if arguments.track is None else arguments.track
    if wanted and (arguments.track or track.n_frames >= FEWEST_FRAMES):
        track = track_landmarks(track)
    save_landmarks(track, destination)
    lines = int(track.found.all(axis=-1).sum())
    print(f"{destination}: both points in {lines} of {track.n_frames} x {track.n_slices} slices")
    if "tracking" in track.meta:
        counts = track.meta["tracking"]
        print(f"tracking: {counts['outliers']} outliers, {counts['replaced']} replaced, {counts['filled']} filled")
    if track.meta["landmarks"].get("naming_note"):
        print(f"note: {track.meta['landmarks']['naming_note']}")
    if track.meta["landmarks"].get("named_by") == "picture":
        print("note: the file has no orientation; the picture was taken to be seen from the apex, as usual")
    return 0


def _read(arguments: argparse.Namespace) -> Cine | Segmentation:
    path, square = arguments.input, arguments.square_axes
    if arguments.source == "segmentation":
        return _labels(path, arguments)
    if arguments.source == "cine" and arguments.label_map is None:
        return load_cine(path, square_axes=square)
    try:
        cine = load_cine(path, square_axes=square)
    except CardioDiTError as error:
        # A single volume is no cine, but may be labels; what is wrong with any other file is told as for a cine.
        try:
            return _labels(path, arguments)
        except CardioDiTError:
            raise error from None
    if arguments.label_map is not None or are_labels(cine.array) or not cine.array.any():
        return _labels(path, arguments)
    return cine


def _labels(path: Path, arguments: argparse.Namespace) -> Segmentation:
    segmentation = load_segmentation(path, label_map=arguments.label_map, square_axes=arguments.square_axes)
    for note in reading_notes(segmentation.meta):
        print(f"note: {note}")
    return segmentation


def _detected(cine: Cine, arguments: argparse.Namespace) -> LandmarkTrack:
    from tqdm import tqdm

    from CardioDiTLib.landmarks.detect import detect_landmarks

    labels = None
    if arguments.segmentation is not None:
        labels = _labels(arguments.segmentation, arguments)
        if labels.shape != cine.shape or not np.allclose(labels.affine, cine.affine, atol=1e-2):
            raise CardioDiTError(
                f"The labels '{arguments.segmentation.name}' are not on the grid of '{arguments.input.name}'.",
                "Give labels of this very cine.",
            )
    with tqdm(total=cine.n_frames, desc="landmarks", unit="frame", disable=None) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.n = done
            bar.refresh()

        return detect_landmarks(
            cine,
            method=arguments.method,
            segmentation=labels,
            weights=arguments.weights,
            segmentation_weights=arguments.segmentation_weights,
            device=arguments.device,
            progress=show,
            track=False,
            swap=arguments.swap,
        )
