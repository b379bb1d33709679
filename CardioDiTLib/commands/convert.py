"""``cardiodit convert``: any cine format that can be read to any that can be written."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.commands.options import CINE_KINDS, add_reading_arguments, read_cine, reading_notes
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
from CardioDiTLib.io import save_cine
from CardioDiTLib.io.cine_files import find_cines
from CardioDiTLib.io.output_set import check_folder, refuse_existing

_SUFFIXES = (".nii.gz", ".nii", ".seq.nrrd", ".dcm", ".gif", ".png")


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
        choices=_SUFFIXES,
        metavar="SUFFIX",
        help=f"IN is a folder of cines: write each of them into the folder OUT, as {', '.join(_SUFFIXES)}",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Read, write, and say what it was."""
    destination: Path = arguments.destination
    if arguments.to is not None:
        return _folder(arguments)
    check_folder(destination.parent)
    as_folder = destination.suffix.lower() == ".dcm" and not arguments.multi_frame
    refuse_existing([destination], arguments.overwrite, folders=as_folder)
    _convert(arguments, arguments.source, destination)
    return 0


def _folder(arguments: argparse.Namespace) -> int:
    """Convert each cine of a folder; those that are there already are left, failures are told at the end."""
    from tqdm import tqdm

    out: Path = arguments.destination
    found = find_cines(arguments.source, below=True)
    if not found.cines:
        raise CardioDiTError(
            f"'{arguments.source}' is no folder of several cines.", "Leave --to out to convert a single one."
        )
    check_folder(out)
    failed: list[tuple[str, str]] = []
    there = 0
    for name, path in tqdm(found.cines.items(), desc="converting", unit="cine", disable=None):
        destination = out / f"{name}{arguments.to}"
        if destination.exists() and not arguments.overwrite:
            there += 1
            continue
        try:
            _convert(arguments, path, destination)
        except CardioDiTError as error:
            failed.append((name, str(error)))
    converted = len(found.cines) - there - len(failed)
    print(f"{out}: {converted} converted, {there} there already, {len(failed)} failed, of {len(found.cines)} cines")
    for reason, count in found.passed_over.items():
        print(f"passed over: {count} ({reason})")
    for name, problem in failed:
        print(f"failed: {name}: {problem}")
    return 1 if failed else 0


def _convert(arguments: argparse.Namespace, source: Path, destination: Path) -> None:
    cine = read_cine(arguments, source)
    writers = {".png": contact_sheet, ".gif": animated_gif}
    suffix = destination.suffix.lower()
    if suffix in writers:
        writers[suffix](cine, destination)  # type: ignore[operator]
    else:
        save_cine(cine, destination, multi_frame=arguments.multi_frame)
    frames, slices, rows, columns = cine.shape
    spacing = " x ".join(f"{value:g}" for value in cine.spacing)
    print(
        f"{destination}: {columns} x {rows} x {slices} voxels, {spacing} mm, "
        f"{frames} frames, {1000 * cine.frame_interval_s:.4g} ms"
    )
    for note in reading_notes(cine.meta):
        print(f"note: {note}")
