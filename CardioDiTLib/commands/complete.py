"""``cardiodit complete``: fill slices and frames of a cine that nobody recorded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TypeVar

from CardioDiTLib.commands.options import (
    CINE_KINDS,
    MODEL_HELP,
    add_device,
    add_quality,
    add_reading_arguments,
    chosen_model,
    cine_file,
    finite,
    request_of,
    take_defaults,
)
from CardioDiTLib.commands.printing import bar, show_notes
from CardioDiTLib.completion.missing import parse_indices
from CardioDiTLib.generation.request import QUANTITY_NAMES
from CardioDiTLib.workflow.complete import CompleteRequest, FromCineRequest
from CardioDiTLib.workflow.complete import run as complete
from CardioDiTLib.workflow.sources import LabelFile

RequestT = TypeVar("RequestT", bound=FromCineRequest)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", metavar="CINE", type=Path, help=CINE_KINDS)
    parser.add_argument("destination", metavar="OUT", type=Path, help=".nii, .nii.gz, .seq.nrrd or .nrrd")
    parser.add_argument(
        "--missing-slices", metavar="LIST", help="slices of CINE to fill, from 0, such as 1,3,5 or 4-7 (in file order)"
    )
    parser.add_argument("--missing-frames", metavar="LIST", help="frames to fill, likewise")
    parser.add_argument(
        "--source-grid",
        action="store_true",
        help="write on the grid of CINE, with only missing slices and frames replaced; otherwise on that of the model, "
        "where the heart lies, with every slice of it",
    )
    add_model_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that ``complete`` and ``vary`` share."""
    parser.add_argument("-m", "--model", default=FromCineRequest.bundle, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("-s", "--seed", type=int, help="the same seed gives the same cine (default 0)")
    parser.add_argument("-p", "--pathology", metavar="NAME", help="a class of the model")
    parser.add_argument(
        *("-g", "--guidance"),
        type=finite,
        help="strength of guidance towards the pathology and the quantities that are asked for; 1 is none",
    )
    for name in QUANTITY_NAMES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=finite, metavar="VALUE", help="as in 'generate'")
    add_quality(parser)
    parser.add_argument(
        "--segmentation", type=Path, metavar="FILE", help="labels of CINE, in place of those that would be found"
    )
    parser.add_argument(
        "--segmentation-weights", type=Path, metavar="FOLDER", help="segmentation model in place of the embedded one"
    )
    add_reading_arguments(parser)
    add_device(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    take_defaults(parser, FromCineRequest)


def model_settings(kind: type[RequestT], arguments: argparse.Namespace, **others: Any) -> RequestT:
    """A request of what `add_model_arguments` read."""
    labels = None
    if arguments.segmentation is not None:
        labels = LabelFile(str(arguments.segmentation), square_axes=arguments.square_axes)
    return request_of(
        kind,
        arguments,
        cine=cine_file(arguments, arguments.source),
        bundle=chosen_model(arguments.model),
        segmentation=labels,
        **others,
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, fill, write, and say what was made up."""
    slices, frames = (
        () if text is None else parse_indices(text, option)
        for text, option in (
            (arguments.missing_slices, "--missing-slices"),
            (arguments.missing_frames, "--missing-frames"),
        )
    )
    request = model_settings(
        CompleteRequest, arguments, missing_slices=slices, missing_frames=frames, on_source=arguments.source_grid
    )
    with bar("completing", "step", quiet=arguments.quiet) as show:
        done = complete(request, progress=show)
    result = done.results[0]
    about = result.provenance["completion"]
    made = [
        f"{what} {', '.join(map(str, numbers))}"
        for what, numbers in (("slices", about["generated_slices"]), ("frames", about["generated_frames"]))
        if numbers
    ]
    print(f"{arguments.destination}: made up by the model: {' and '.join(made)}; the rest is as recorded")
    show_notes([result.provenance["note"], *done.read, *result.warnings])
    return 0
