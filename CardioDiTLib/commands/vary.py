"""``cardiodit vary``: hearts like one that is there."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.commands.complete import add_model_arguments, model_settings
from CardioDiTLib.commands.options import CINE_KINDS, count, finite, take_defaults
from CardioDiTLib.commands.printing import bar, show_notes
from CardioDiTLib.workflow.complete import VaryRequest, run_variation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", metavar="CINE", type=Path, help=CINE_KINDS)
    parser.add_argument(
        "--strength",
        type=finite,
        help="0 (only coded) to 1 (nothing of CINE is kept); default 0.5",
    )
    parser.add_argument("-n", "--count", type=count, help="how many (default 1)")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    add_model_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    take_defaults(parser, VaryRequest)


def run(arguments: argparse.Namespace) -> int:
    """Read, vary, write each cine with its provenance, and say what the gate says."""
    request = model_settings(VaryRequest, arguments)
    with bar("varying", "step", quiet=arguments.quiet) as show:
        done = run_variation(request, progress=show)
    for path, result in zip(done.files, done.results):
        audit = result.provenance.get("audit")
        verdict = "" if audit is None else f": the gate {'lets it pass' if audit['passed'] else 'would refuse it'}"
        print(f"{path}{verdict}")
    show_notes([done.results[0].provenance["note"], *done.read, *done.warnings])
    return 0
