"""Options that commands share, and how they become requests; what is no number, or no possible one, is wrong usage."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.manifest_parts import PRESET_NAMES
from CardioDiTLib.bundles.registry import list_bundles
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import at_home
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.io.label_convention import CONVENTIONS
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import CineFile

RequestT = TypeVar("RequestT", bound=Record)

CINE_KINDS = ".nii, .nii.gz, .seq.nrrd, .nrrd, .nhdr, DICOM folder or .zip"

MODEL_HELP = (
    "name of a model on this machine, or its folder; a folder of that name in the current directory comes before a "
    "name (`cardiodit models list` shows the names)"
)

COVERS_HELP = (
    "take ventricles that reach the first or the last slice for complete; default: at the base only, "
    "with 55 mm labelled"
)


def finite(text: str) -> float:
    """A number; neither NaN nor infinity."""
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


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How to read a cine whose file is odd: the entries of `CineFile`."""
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


def add_device(parser: argparse.ArgumentParser) -> None:
    """The argument ``--device``."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto)")


def add_quality(parser: argparse.ArgumentParser) -> None:
    """The arguments ``--preset`` and ``--steps``."""
    *first, last = PRESET_NAMES
    usual = GenerationRequest.preset
    parser.add_argument("--preset", default=usual, help=f"{', '.join(first)} or {last} (default {usual})")
    parser.add_argument("--steps", type=int, help="denoising steps, in place of the preset's")


def add_mirrored(parser: argparse.ArgumentParser, default: bool) -> None:
    """The argument ``--mirrored``."""
    parser.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        default=default,
        help="mean over mirror images (twice the work)",
    )


def cine_file(arguments: argparse.Namespace, path: Path) -> CineFile:
    """A cine that is to be read as the options of :func:`add_reading_arguments` say."""
    return request_of(CineFile, arguments, path=str(path))


def request_of(kind: type[RequestT], arguments: argparse.Namespace, **others: Any) -> RequestT:
    """A request whose entries are the options of the same names.

    Args:
        kind: The request.
        arguments: Of the command; options that the request has not are left out.
        others: Entries that are called otherwise, or made of several options.
    """
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]  # every record is a dataclass
    values = {name: _plain(value) for name, value in vars(arguments).items() if name in names}
    return kind(**{**values, **others})


def take_defaults(parser: argparse.ArgumentParser, kind: type[Record]) -> None:
    """Give options the defaults that entries of a request have which are called like them; not None, and no lists."""
    defaults = {item.name: item.default for item in fields(kind)}  # type: ignore[arg-type]
    parser.set_defaults(
        **{name: value for name, value in defaults.items() if isinstance(value, bool | int | float | str)}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


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


def named_paths(words: list[str]) -> dict[str, Path]:
    """NAME=PATH, or PATH, whose last part is then the name."""
    named: dict[str, Path] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        named_so = bool(equals) and not Path(word).exists()
        path = at_home(rest if named_so else word)
        name = name if named_so else (path.stem if path.is_file() else path.name)
        if not name or name in named:
            raise CardioDiTError(f"'{word}' has no name of its own.", "Write NAME=PATH with different names.")
        named[name] = path
    return named
