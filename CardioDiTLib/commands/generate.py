"""``cardiodit generate``: synthetic cines into a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.outputs import FORMATS, check_formats, save_results
from CardioDiTLib.generation.progress import ProgressEvent
from CardioDiTLib.generation.request import DEFAULT_BUNDLE, PRECISIONS, SAMPLER_NAMES, GenerationRequest

if TYPE_CHECKING:
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.result import GenerationResult
    from CardioDiTLib.privacy.gate import Gate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("-m", "--model", default=DEFAULT_BUNDLE, metavar="BUNDLE", help="name or folder of a bundle")
    parser.add_argument("-n", "--count", type=int, default=1, help="how many cines (default 1)")
    parser.add_argument("-s", "--seed", type=int, default=0, help="the same seed gives the same cines (default 0)")
    parser.add_argument("--first-index", type=int, default=0, metavar="I", help="number of the first cine of the seed")
    parser.add_argument("-p", "--pathology", metavar="NAMES", help="a class of the model, or one a cine with commas")
    parser.add_argument("-g", "--guidance", type=float, help="strength of guidance towards the pathology; 1 is none")
    parser.add_argument("--preset", default="standard", help="draft, standard or high (default standard)")
    parser.add_argument("--steps", type=int, help="denoising steps, in place of the preset's")
    parser.add_argument("--sampler", choices=SAMPLER_NAMES, help="in place of the preset's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default auto")
    parser.add_argument("--batch-size", type=int, metavar="N", help="cines at a time; as memory allows if not given")
    parser.add_argument("--memory-gb", type=float, default=2.0, metavar="GB", help="for denoising (default 2)")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f", "--formats", default="nii.gz,json", metavar="LIST", help=f"with commas, of {', '.join(FORMATS)}"
    )
    parser.add_argument(
        "--gate",
        action="store_true",
        help="draw cines again that lie nearer to a training patient than novel patients do (needs a bundle that "
        "carries its training embeddings)",
    )
    parser.add_argument(
        "--false-alarm", type=float, default=0.05, metavar="RATE", help="of the gate: novel patients refused (0.05)"
    )
    parser.add_argument("--redraws", type=int, default=20, metavar="N", help="of the gate: at most, for a cine (20)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Generate, then write all files at once; a cancelled run leaves none."""
    formats = check_formats(arguments.formats.split(","))
    request = GenerationRequest(
        count=arguments.count,
        seed=arguments.seed,
        steps=arguments.steps,
        preset=arguments.preset,
        sampler=arguments.sampler,
        pathology=_pathology(arguments.pathology, arguments.count),
        guidance=arguments.guidance,
        bundle=arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        batch_size="auto" if arguments.batch_size is None else arguments.batch_size,
        memory_budget_gb=arguments.memory_gb,
        first_index=arguments.first_index,
    )
    if arguments.out.exists() and not arguments.out.is_dir():
        raise CardioDiTError(f"'{arguments.out}' is a file.", "Give a folder.")

    from tqdm import tqdm

    from CardioDiTLib.generation.generator import Generator

    generator = Generator.for_request(request)
    gate = _gate(generator, arguments.false_alarm) if arguments.gate else None
    # a bar only where somebody looks at it
    with tqdm(
        total=100,
        unit="%",
        file=sys.stderr,
        disable=True if arguments.quiet else None,
        leave=False,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{postfix}",
    ) as bar:

        def show(event: ProgressEvent) -> None:
            what = "denoising" if event.stage == "denoise" else "decoding"
            bar.set_description_str(
                f"{what} {min(event.first + event.batch, event.count)}/{event.count}", refresh=False
            )
            bar.set_postfix_str(f"{event.eta_s:.0f} s", refresh=False)
            bar.update(100 * event.fraction - bar.n)

        if gate is None:
            results = generator.generate(request, progress=show)
        else:
            results = _gated(generator, request, gate, arguments.redraws, show)
    for path in save_results(results, arguments.out, formats):
        print(path)
    licence = generator.bundle.manifest.licence
    if licence.needs_acceptance:
        print(f"Terms of this model: {licence.name}. {licence.conditions}", file=sys.stderr)
    return 0


def _gate(generator: Generator, false_alarm: float) -> Gate:
    from CardioDiTLib.privacy.gate import Gate

    return Gate.from_bundle(generator.bundle, false_alarm)


def _gated(
    generator: Generator, request: GenerationRequest, gate: Gate, redraws: int, show: Callable[[ProgressEvent], None]
) -> list[GenerationResult]:
    from CardioDiTLib.privacy.gated_generation import generate_gated

    found = generate_gated(lambda one: generator.generate(one, progress=show), request, gate, redraws=redraws)
    print(f"The gate refused {found.rejected} of {found.drawn} cines.", file=sys.stderr)
    return found.results


def _pathology(text: str | None, count: int) -> str | tuple[str, ...] | None:
    if text is None or "," not in text:
        return text or None
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != count:
        raise CardioDiTError(
            f"{len(names)} pathologies were given for {count} cines.", "Give one, or as many as --count says."
        )
    return names
