"""``cardiodit complete``: fill slices and frames of a cine that nobody recorded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from CardioDiTLib.commands.options import (
    CINE_KINDS,
    MODEL_HELP,
    add_reading_arguments,
    chosen_model,
    finite,
    read_cine,
    reading_notes,
)
from CardioDiTLib.completion.missing import parse_indices
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import DEFAULT_BUNDLE, QUANTITY_NAMES
from CardioDiTLib.io import load_segmentation, save_cine
from CardioDiTLib.io.output_set import check_folder, refuse_existing


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
    parser.add_argument("-m", "--model", default=DEFAULT_BUNDLE, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("-s", "--seed", type=int, default=0, help="the same seed gives the same cine (default 0)")
    parser.add_argument("-p", "--pathology", metavar="NAME", help="a class of the model")
    parser.add_argument("-g", "--guidance", type=finite, help="strength of guidance towards the pathology; 1 is none")
    for name in QUANTITY_NAMES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=finite, metavar="VALUE", help="as in 'generate'")
    parser.add_argument("--preset", default="standard", help="draft, standard or high (default standard)")
    parser.add_argument("--steps", type=int, help="denoising steps, in place of the preset's")
    parser.add_argument(
        "--segmentation", type=Path, metavar="FILE", help="labels of CINE, in place of those that would be found"
    )
    parser.add_argument(
        "--segmentation-weights", type=Path, metavar="FOLDER", help="segmentation model in place of the embedded one"
    )
    add_reading_arguments(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_model_arguments` read, as the library's functions take it."""
    labels = None
    if arguments.segmentation is not None:
        labels = load_segmentation(arguments.segmentation, square_axes=arguments.square_axes)
    steered = {name: getattr(arguments, name) for name in QUANTITY_NAMES if getattr(arguments, name) is not None}
    return {
        "bundle": chosen_model(arguments.model),
        "seed": arguments.seed,
        "pathology": arguments.pathology,
        "guidance": arguments.guidance,
        "preset": arguments.preset,
        "steps": arguments.steps,
        "segmentation": labels,
        "weights": arguments.segmentation_weights,
        "device": arguments.device,
        **steered,
    }


def run(arguments: argparse.Namespace) -> int:
    """Read, fill, write, and say what was made up."""
    destination: Path = arguments.destination
    check_folder(destination.parent)
    refuse_existing([destination], arguments.overwrite)
    if not destination.name.lower().endswith((".nii", ".nii.gz", ".nrrd")):
        raise CardioDiTError(f"'{destination.name}' is no cine file.", "Use .nii.gz, .nii, .seq.nrrd or .nrrd.")
    slices, frames = (
        () if text is None else parse_indices(text, option)
        for text, option in (
            (arguments.missing_slices, "--missing-slices"),
            (arguments.missing_frames, "--missing-frames"),
        )
    )
    cine = read_cine(arguments, arguments.source)

    from tqdm import tqdm

    from CardioDiTLib.completion.complete import complete

    with tqdm(desc="completing", unit="step", file=sys.stderr, disable=True if arguments.quiet else None) as bar:

        def show(done: int, of: int) -> None:
            bar.total, bar.n = of, done
            bar.refresh()

        result = complete(
            cine,
            missing_slices=slices,
            missing_frames=frames,
            on_source=arguments.source_grid,
            progress=show,
            **model_settings(arguments),
        )[0]
    save_cine(result.cine, destination)
    about = result.provenance["completion"]
    made = [
        f"{what} {', '.join(map(str, numbers))}"
        for what, numbers in (("slices", about["generated_slices"]), ("frames", about["generated_frames"]))
        if numbers
    ]
    print(f"{destination}: made up by the model: {' and '.join(made)}; the rest is as recorded")
    print(f"note: {result.provenance['note']}")
    for warning in (*reading_notes(cine.meta), *result.warnings):
        print(f"note: {warning}")
    return 0
