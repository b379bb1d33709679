"""``cardiodit landmarks``: insertion points of a cine, or of a segmentation."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.landmarks.files import SUFFIXES, save_landmarks
from CardioDiTLib.landmarks.from_segmentation import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import track_landmarks

_LARGEST_LABEL = 3


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
        help="what INPUT is; auto (default): a file of whole numbers from 0 to 3 is a segmentation",
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
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="landmark model in place of the embedded one")
    parser.add_argument(
        "--segmentation-weights", type=Path, metavar="FOLDER", help="segmentation model in place of the embedded one"
    )
    parser.add_argument("--device", default="auto", help="for a cine: auto (default), cpu, cuda, cuda:1 or mps")
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
    if arguments.track:
        track = track_landmarks(track)
    save_landmarks(track, destination)
    lines = int(track.found.all(axis=-1).sum())
    print(f"{destination}: both points in {lines} of {track.n_frames} x {track.n_slices} slices")
    if arguments.track:
        counts = track.meta["tracking"]
        print(f"tracking: {counts['outliers']} outliers, {counts['replaced']} replaced, {counts['filled']} filled")
    if track.meta["landmarks"].get("named_by") == "picture":
        print("note: the file has no orientation; the picture was taken to be seen from the apex, as usual")
    return 0


def _read(arguments: argparse.Namespace) -> Cine | Segmentation:
    path, square = arguments.input, arguments.square_axes
    if arguments.source == "segmentation":
        return load_segmentation(path, square_axes=square)
    if arguments.source == "cine":
        return load_cine(path, square_axes=square)
    try:
        cine = load_cine(path, square_axes=square)
    except CardioDiTError as error:
        # A single volume is no cine, but may be labels; what is wrong with any other file is told as for a cine.
        try:
            return load_segmentation(path, square_axes=square)
        except CardioDiTError:
            raise error from None
    values = cine.array
    if values.min() >= 0 and values.max() <= _LARGEST_LABEL and bool((values == values.round()).all()):
        return load_segmentation(path, square_axes=square)
    return cine


def _detected(cine: Cine, arguments: argparse.Namespace) -> LandmarkTrack:
    from tqdm import tqdm

    from CardioDiTLib.landmarks.detect import detect_landmarks

    labels = None
    if arguments.segmentation is not None:
        labels = load_segmentation(arguments.segmentation, square_axes=arguments.square_axes)
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
