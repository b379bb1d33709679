"""``cardiodit generate``: synthetic cines into a folder."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.commands.options import MODEL_HELP, chosen_model
from CardioDiTLib.commands.printing import show
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.outputs import FORMATS, LABELS, check_formats, output_name, save_results
from CardioDiTLib.generation.progress import ProgressBar
from CardioDiTLib.generation.request import (
    DEFAULT_BUNDLE,
    PRECISIONS,
    QUANTITY_NAMES,
    SAMPLER_NAMES,
    GenerationRequest,
)
from CardioDiTLib.generation.result import sample_name
from CardioDiTLib.generation.resume import RECORDS, missing_formats
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.workflow.audit import FALSE_ALARM

if TYPE_CHECKING:
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.progress import ProgressEvent
    from CardioDiTLib.generation.result import GenerationResult
    from CardioDiTLib.privacy.gate import Gate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("-m", "--model", default=DEFAULT_BUNDLE, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("-n", "--count", type=int, help="how many cines (default 1)")
    parser.add_argument("-s", "--seed", type=int, help="the same seed gives the same cines (default 0)")
    parser.add_argument("--first-index", type=int, metavar="I", help="number of the first cine of the seed")
    parser.add_argument("-p", "--pathology", metavar="NAMES", help="a class of the model, or one a cine with commas")
    parser.add_argument("-g", "--guidance", type=float, help="strength of guidance towards the pathology; 1 is none")
    asked = "one number, or one a cine with commas ('-' for any)"
    parser.add_argument("--edv-ml", metavar="ML", help=f"end-diastolic volume of the left ventricle: {asked}")
    parser.add_argument("--ef-percent", metavar="PERCENT", help="its ejection fraction, likewise")
    parser.add_argument("--lv-mass-g", metavar="G", help="its mass, likewise")
    parser.add_argument("--lv-slices", metavar="N", help="slices that it covers, likewise")
    parser.add_argument(
        "--adjust",
        type=int,
        metavar="N",
        help="draw a heart of which such quantities are asked again, up to so many times, to come nearer (default 3)",
    )
    parser.add_argument("--slices", type=int, metavar="N", help="slices of the stack, for models that take other grids")
    parser.add_argument("--frames", type=int, metavar="N", help="frames of the beat, likewise")
    parser.add_argument("--cycle-s", type=float, metavar="S", help="seconds of a beat (the model's own if not given)")
    parser.add_argument("--preset", help="draft, standard or high (default standard)")
    parser.add_argument("--steps", type=int, help="denoising steps, in place of the preset's")
    parser.add_argument("--sampler", choices=SAMPLER_NAMES, help="in place of the preset's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default auto")
    parser.add_argument("--batch-size", type=int, metavar="N", help="cines at a time; as memory allows if not given")
    parser.add_argument(
        "--memory-gb",
        type=float,
        default=GenerationRequest.memory_budget_gb,
        metavar="GB",
        help="for denoising (default 2)",
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
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
        default=FALSE_ALARM,
        metavar="RATE",
        help="of the gate: novel patients refused (0.05)",
    )
    parser.add_argument("--redraws", type=int, default=20, metavar="N", help="of the gate: at most, for a cine (20)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with an earlier run of the same request: leave out what is there"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    options = ("count", "seed", "first_index", "adjust", "preset")
    parser.set_defaults(**{name: getattr(GenerationRequest, name) for name in options})


def run(arguments: argparse.Namespace) -> int:
    """Generate; each batch of hearts is written, whole, as soon as it is there."""
    formats = check_formats((arguments.formats or "nii.gz,json").split(","))
    quantities: dict[str, Any] = {
        name: _quantity(getattr(arguments, name), name, arguments.count) for name in QUANTITY_NAMES
    }
    if arguments.resume and arguments.overwrite:
        raise CardioDiTError("--resume leaves what is there, --overwrite replaces it.", "Give one of them.")
    request = GenerationRequest(
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
        batch_size="auto" if arguments.batch_size is None else arguments.batch_size,
        memory_budget_gb=arguments.memory_gb,
        first_index=arguments.first_index,
    )
    check_folder(arguments.out)

    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.plan import make_plan

    generator = Generator.for_request(request)
    has_labels = generator.bundle.refiner is not None and generator.bundle.refiner.classes > 0
    if arguments.formats is None and has_labels:
        formats = (*formats, "labels.nii.gz")
    if not has_labels and any(one.startswith(LABELS) for one in formats):
        raise CardioDiTError(
            f"The model '{generator.bundle.manifest.name}' makes no labels with its hearts.",
            "Leave the labels out, and use cardiodit segment on the cines.",
        )
    gate = _gate(generator, arguments.false_alarm) if arguments.gate else None
    records = generator.provenances(request)
    if arguments.resume:
        missing = [missing_formats(arguments.out, record, formats, gated=arguments.gate) for record in records]
    else:
        missing = [formats] * len(records)
        names = [sample_name(one["model"], one["seed"], one["index"], one["pathology"]) for one in records]
        files = [arguments.out / output_name(name, suffix) for name in names for suffix in formats]
        refuse_existing(files, arguments.overwrite)
    whole = sum(not one for one in missing)
    if whole:
        print(f"{whole} of {request.count} cines are in '{arguments.out}' already.", file=sys.stderr)
    drawn = refused = 0
    try:
        with ProgressBar(arguments.quiet) as bar:
            made = generator.batches(
                request, progress=bar, wanted=lambda numbers: any(missing[number] for number in numbers)
            )
            for batch in made:
                results = batch
                if gate is not None:
                    results, more = _gated(generator, request, batch, gate, arguments.redraws)
                    drawn, refused = drawn + more, refused + more - len(batch)
                for result in results:
                    suffixes = missing[result.index - request.first_index]
                    if suffixes:
                        written = save_results([result], arguments.out, suffixes, overwrite=arguments.overwrite)
                        bar.say(*written)
                        whole += 1
    except BaseException:
        if 0 < whole < request.count:
            hint = " The same command with --resume goes on." if set(formats) & set(RECORDS) else ""
            print(f"{whole} of {request.count} cines are whole in '{arguments.out}'.{hint}", file=sys.stderr)
        raise
    if gate is not None:
        print(f"The gate refused {refused} of {drawn} cines.", file=sys.stderr)
    for warning in make_plan(request, generator.bundle.manifest, generator.bundle.dit.null_class).warnings:
        print(f"note: {warning}", file=sys.stderr)
    licence = generator.bundle.manifest.licence
    if licence.needs_acceptance:
        show(f"Terms of this model: {licence.name}. {licence.conditions}", file=sys.stderr)
    return 0


def _nobody(event: ProgressEvent) -> None:
    """The bar of the whole goes on meanwhile."""


def _gate(generator: Generator, false_alarm: float) -> Gate:
    from CardioDiTLib.privacy.gate import Gate

    return Gate.from_bundle(generator.bundle, false_alarm)


def _gated(
    generator: Generator,
    request: GenerationRequest,
    batch: list[GenerationResult],
    gate: Gate,
    redraws: int,
) -> tuple[list[GenerationResult], int]:
    """A batch as the gate lets it pass, and how many cines were drawn for it."""
    from CardioDiTLib.privacy.gate import generate_gated

    names = request.pathology
    part = replace(
        request,
        count=len(batch),
        first_index=batch[0].index,
        pathology=tuple(result.pathology for result in batch) if isinstance(names, tuple) else names,
    )

    def make(one: GenerationRequest) -> list[GenerationResult]:
        return batch if one is part else generator.generate(one, progress=_nobody)

    found = generate_gated(make, part, gate, redraws=redraws)
    return found.results, found.drawn


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
