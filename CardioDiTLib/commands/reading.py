"""Options of commands that read a cine, and how they are used."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from CardioDiTLib.cine import Cine
from CardioDiTLib.commands.numbers import positive
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine
from CardioDiTLib.io.label_convention import CONVENTIONS

CINE_KINDS = ".nii, .nii.gz, .seq.nrrd, .nrrd, .nhdr, DICOM folder or .zip"


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How to read a cine whose file is odd."""
    parser.add_argument(
        "--frame-interval-s", type=positive, metavar="S", help="seconds between frames, if the file is wrong"
    )
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument(
        "--series-uid", action="append", metavar="UID", help="DICOM: the series to read; may be repeated"
    )
    parser.add_argument(
        "--allow-incomplete", action="store_true", help="DICOM: leave slices out that lack frames or cannot be read"
    )


def add_label_map(parser: argparse.ArgumentParser) -> None:
    """The argument ``--label-map``."""
    parser.add_argument(
        "--label-map",
        metavar="MAP",
        help="what the labels mean, as '1:LV,2:MYO,3:RV', or the name of a convention: "
        f"{', '.join(CONVENTIONS)}; default: told by anatomy",
    )


def read_cine(arguments: argparse.Namespace, path: Path) -> Cine:
    """The cine, read as the options of :func:`add_reading_arguments` say."""
    return load_cine(
        path,
        frame_interval_s=arguments.frame_interval_s,
        square_axes=arguments.square_axes,
        series_uid=arguments.series_uid,
        allow_incomplete=arguments.allow_incomplete,
    )


def dicom_source(arguments: argparse.Namespace, source: Path, destination: Path) -> dict[str, Any]:
    """What `save_segmentation` has to know to write DICOM SEG; empty for other files.

    Raises:
        CardioDiTError: The cine is no DICOM.
    """
    if destination.suffix.lower() != ".dcm":
        return {}
    if not is_dicom(source):
        raise CardioDiTError(
            "A DICOM segmentation must name the DICOM images it belongs to.",
            "Convert the cine first: cardiodit convert CINE CINE.dcm.",
        )
    return {"source": source, "series_uid": arguments.series_uid, "allow_incomplete": arguments.allow_incomplete}


def is_dicom(source: Path) -> bool:
    """Whether a path that `load_cine` takes is read as DICOM."""
    return source.is_dir() or source.suffix.lower() == ".zip"


def reading_notes(meta: Mapping[str, Any]) -> list[str]:
    """What should be known about how a file was read, a sentence each; files that were passed over are counted."""
    notes = [str(note) for note in meta.get("notes", [])]
    files = meta.get("files")
    if isinstance(files, dict) and files.get("passed_over"):
        passed = ", ".join(f"{count} {reason}" for reason, count in files["passed_over"].items())
        notes.append(f"{files['seen']} files were seen, {files['used']} images used; passed over: {passed}.")
    return notes
