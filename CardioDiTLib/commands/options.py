"""Numbers of the command line: what is no number, or no possible one, is wrong usage."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.registry import list_bundles
from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine
from CardioDiTLib.io.label_convention import CONVENTIONS


def finite(text: str) -> float:
    """A number; neither NaN nor infinity, which compare with nothing and would never end anything."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = finite(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value


MODEL_HELP = (
    "name of a model on this machine, or its folder; a folder of that name in the current directory comes before a "
    "name (`cardiodit models list` shows the names)"
)


def chosen_model(text: str) -> str:
    """What was said as a model, as a path where it is one.

    A text with a separator is a path. A bare one is the folder of that name in the current directory if that holds a
    model, with a note where a model of this machine is called the same; else it is a name.

    Args:
        text: As it was given.

    Returns:
        A path that cannot be taken for a name, or the name.
    """
    if os.sep in text or (os.altsep and os.altsep in text) or not (Path(text) / MANIFEST_NAME).is_file():
        return text
    if any(entry.name == text for entry in list_bundles()):
        print(
            f"note: the model is the folder '{text}' of the current directory, not the one on this machine that is "
            "called the same.",
            file=sys.stderr,
        )
    return os.path.join(os.curdir, text)


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
