"""``cardiodit generate``: synthetic cines into a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from CardioDiTLib.commands.options import (
    MODEL_HELP,
    add_device,
    add_quality,
    chosen_model,
    request_of,
    take_defaults,
)
from CardioDiTLib.commands.printing import show
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.outputs import FORMATS, check_formats
from CardioDiTLib.generation.progress import ProgressBar
from CardioDiTLib.generation.request import (
    BACKENDS,
    DEFAULT_BUNDLE,
    PRECISIONS,
    QUANTITY_NAMES,
    SAMPLER_NAMES,
    GenerationRequest,
)
from CardioDiTLib.workflow.generate import USUAL, Cohort, CohortRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("-m", "--model", default=DEFAULT_BUNDLE, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("-n", "--count", type=int, help="how many cines (default 1)")
    parser.add_argument("-s", "--seed", type=int, help="the same seed gives the same cines (default 0)")
    parser.add_argument("--first-index", type=int, metavar="I", help="number of the first cine of the seed")
    parser.add_argument("-p", "--pathology", metavar="NAMES", help="a class of the model, or one a cine with commas")
    parser.add_argument(
        *("-g", "--guidance"),
        type=float,
        help="strength of guidance towards the pathology and the quantities that are asked for; 1 is none",
    )
    asked = "one number, or one a cine with commas ('-' for any)"
    parser.add_argument("--edv-ml", metavar="ML", help=f"end-diastolic volume of the left ventricle: {asked}")
    parser.add_argument("--ef-percent", metavar="PERCENT", help="its ejection fraction, likewise")
    parser.add_argument("--lv-mass-g", metavar="G", help="its mass, likewise")
    parser.add_argument("--lv-slices", metavar="N", help="slices that it covers, likewise")
    parser.add_argument(
        "--adjust",
        type=int,
        metavar="N",
        help="lead a heart of which such quantities are asked nearer to them, up to so many times (default 3)",
    )
    parser.add_argument("--slices", type=int, metavar="N", help="slices of the stack, for models that take other grids")
    parser.add_argument("--frames", type=int, metavar="N", help="frames of the beat, likewise")
    parser.add_argument("--cycle-s", type=float, metavar="S", help="seconds of a beat (the model's own if not given)")
    add_quality(parser)
    parser.add_argument("--sampler", choices=SAMPLER_NAMES, help="in place of the preset's")
    add_device(parser)
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default auto")
    parser.add_argument("--backend", default="torch", choices=BACKENDS, help="what networks run in (default torch)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="cines at a time; as memory allows if not given")
    parser.add_argument(
        "--memory-gb",
        type=float,
        default=GenerationRequest.memory_budget_gb,
        metavar="GB",
        help="for denoising (default 2)",
    )
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f",
        "--formats",
        metavar="LIST",
        help=f"with commas, of {', '.join(FORMATS)} (default nii.gz,json; labels.nii.gz too where there are some)",
    )
    parser.add_argument(
        "--gate",
        action="store_true",
        help="draw cines again that lie nearer to a training patient than novel patients do (needs a bundle that "
        "carries its training embeddings)",
    )
    parser.add_argument(
        "--false-alarm",
        type=float,
        metavar="RATE",
        help="of the gate: novel patients refused (0.05)",
    )
    parser.add_argument("--redraws", type=int, metavar="N", help="of the gate: at most, for a cine (20)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with an earlier run of the same request: leave out what is there"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    take_defaults(parser, CohortRequest)
    options = ("count", "seed", "first_index", "adjust")
    parser.set_defaults(**{name: getattr(GenerationRequest, name) for name in options})


def run(arguments: argparse.Namespace) -> int:
    """Generate, and print each file as soon as it is there."""
    formats = None
    if arguments.formats is not None:
        formats = check_formats(arguments.formats.split(",") if arguments.formats else USUAL)
    cohort = Cohort(request_of(CohortRequest, arguments, cines=_cines(arguments), formats=formats))
    count, folder = arguments.count, arguments.out
    if cohort.whole:
        print(f"{cohort.whole} of {count} cines are in '{folder}' already.", file=sys.stderr)
    try:
        with ProgressBar(arguments.quiet) as bar:
            for written in cohort.make(bar):
                bar.say(*written)
    except BaseException:
        if 0 < cohort.whole < count:
            hint = " The same command with --resume goes on." if cohort.can_go_on else ""
            print(f"{cohort.whole} of {count} cines are whole in '{folder}'.{hint}", file=sys.stderr)
        raise
    if arguments.gate:
        print(f"The gate refused {cohort.refused} of {cohort.drawn} cines.", file=sys.stderr)
    for warning in cohort.warnings:
        print(f"note: {warning}", file=sys.stderr)
    if cohort.licence.needs_acceptance:
        show(f"Terms of this model: {cohort.licence.name}. {cohort.licence.conditions}", file=sys.stderr)
    return 0


def _cines(arguments: argparse.Namespace) -> GenerationRequest:
    quantities: dict[str, Any] = {
        name: _quantity(getattr(arguments, name), name, arguments.count) for name in QUANTITY_NAMES
    }
    return GenerationRequest(
        count=arguments.count,
        seed=arguments.seed,
        steps=arguments.steps,
        preset=arguments.preset,
        sampler=arguments.sampler,
        pathology=_pathology(arguments.pathology, arguments.count),
        guidance=arguments.guidance,
        adjust=arguments.adjust,
        **quantities,
        slices=arguments.slices,
        frames=arguments.frames,
        cycle_s=arguments.cycle_s,
        bundle=chosen_model(arguments.model),
        device=arguments.device,
        precision=arguments.precision,
        backend=arguments.backend,
        batch_size="auto" if arguments.batch_size is None else arguments.batch_size,
        memory_budget_gb=arguments.memory_gb,
        first_index=arguments.first_index,
    )


def _pathology(text: str | None, count: int) -> str | tuple[str, ...] | None:
    if text is None or "," not in text:
        return text or None
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != count:
        raise CardioDiTError(
            f"{len(names)} pathologies were given for {count} cines.", "Give one, or as many as --count says."
        )
    return names


def _quantity(text: str | None, name: str, count: int) -> float | tuple[float | None, ...] | None:
    if text is None:
        return None
    option = f"--{name.replace('_', '-')}"
    try:
        values = [None if part.strip() in ("-", "") else float(part) for part in text.split(",")]
    except ValueError as error:
        raise CardioDiTError(f"{option} is '{text}'.", "Give a number, or one a cine with commas.") from error
    if len(values) == 1:
        return values[0]
    if len(values) != count:
        raise CardioDiTError(
            f"{len(values)} values of {option} were given for {count} cines.", "Give one, or as many as --count says."
        )
    return tuple(values)
