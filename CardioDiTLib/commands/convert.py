"""``cardiodit convert``: any cine format that can be read to any that can be written."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
from CardioDiTLib.io import load_cine, save_cine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", metavar="IN", type=Path, help=".nii, .nii.gz, .seq.nrrd, .nrrd, DICOM folder or .zip")
    parser.add_argument(
        "destination", metavar="OUT", type=Path, help=".nii, .nii.gz, .seq.nrrd, .nrrd; .png or .gif for a picture"
    )
    parser.add_argument(
        "--frame-interval-s", type=float, metavar="S", help="seconds between frames, if the file is wrong"
    )
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument(
        "--series-uid", action="append", metavar="UID", help="DICOM: the series to read; may be repeated"
    )
    parser.add_argument("--allow-incomplete", action="store_true", help="DICOM: leave slices out that lack frames")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Read, write, and say what it was."""
    destination: Path = arguments.destination
    if destination.exists() and not arguments.overwrite:
        raise CardioDiTError(f"'{destination}' is there already.", "Choose another name, or add --overwrite.")
    cine = load_cine(
        arguments.source,
        frame_interval_s=arguments.frame_interval_s,
        square_axes=arguments.square_axes,
        series_uid=arguments.series_uid,
        allow_incomplete=arguments.allow_incomplete,
    )
    writers = {".png": contact_sheet, ".gif": animated_gif}
    writers.get(destination.suffix.lower(), save_cine)(cine, destination)  # type: ignore[operator]
    frames, slices, rows, columns = cine.shape
    spacing = " x ".join(f"{value:g}" for value in cine.spacing)
    print(
        f"{destination}: {columns} x {rows} x {slices} voxels, {spacing} mm, "
        f"{frames} frames, {1000 * cine.frame_interval_s:.4g} ms"
    )
    for note in cine.meta.get("notes", []):
        print(f"note: {note}")
    return 0
