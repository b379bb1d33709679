"""``cardiodit audit``: does a generator reproduce the patients that it was trained on?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from CardioDiTLib.commands.options import chosen_model, request_of, take_defaults
from CardioDiTLib.commands.printing import bar
from CardioDiTLib.workflow.audit import SUFFIXES, AuditRequest, Calibration
from CardioDiTLib.workflow.audit import run as audit

_WHAT = "folder of cines, training pack (.npz), or embeddings (.npy, .npz, .safetensors)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--train", type=Path, metavar="PATH", help=f"what the generator was trained on: {_WHAT}")
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="PATH",
        help="real patients who were not trained on, as above; the validation part of a pack is taken by itself",
    )
    parser.add_argument("--synthetic", type=Path, metavar="PATH", help="what the generator made, as above")
    parser.add_argument(
        "-m",
        "--bundle",
        metavar="BUNDLE",
        help="audit against the training embeddings that this model carries: its name or folder (see generate -m)",
    )
    parser.add_argument("--encoder", type=Path, metavar="FOLDER", help="encoder, in place of the embedded one")
    parser.add_argument(
        "--false-alarm",
        type=float,
        metavar="RATE",
        help="share of novel patients called copies (0.05)",
    )
    parser.add_argument("--calibration", choices=get_args(Calibration), help="by whom (auto)")
    parser.add_argument("--published", action="store_true", help="also what the published rule says")
    parser.add_argument(
        *("-o", "--out"),
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"write the report there ({', '.join(SUFFIXES)}); may be given several times",
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="show each synthetic cine beside its nearest training cine in the HTML: it then holds training patients",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace reports that are there")
    parser.add_argument("--names", action="store_true", help="put names of files into the report")
    parser.add_argument("--fail-on-copies", action="store_true", help="exit with 1 where copies are found")
    parser.add_argument(
        "--attach",
        metavar="BUNDLE",
        help="write the encoder, the quantised training embeddings and, with --synthetic, this audit into a bundle",
    )
    parser.add_argument(
        "--without-encoder",
        action="store_true",
        help="of --attach: name the encoder that comes with the software instead of copying it into the bundle",
    )
    parser.add_argument("--seed", type=int, help="of random subsets (0)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    take_defaults(parser, AuditRequest)


def run(arguments: argparse.Namespace) -> int:
    """Audit, print, write, attach."""
    models = {
        option: chosen_model(given)
        for option in ("bundle", "attach")
        if (given := getattr(arguments, option)) is not None
    }
    with bar("embedding {} cines", "cine", quiet=arguments.quiet, leave=False) as show:
        done = audit(request_of(AuditRequest, arguments, **models), progress=show)
    if done.attached is not None:
        print(f"{done.attached}: {done.n_attached} training embeddings attached.")
    if done.report is None:
        return 0
    from CardioDiTLib.privacy.report_text import to_text

    print(to_text(done.report, arguments.published), end="")
    return 1 if arguments.fail_on_copies and done.report.verdict == "copies" else 0
