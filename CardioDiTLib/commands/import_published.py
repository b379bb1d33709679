"""``cardiodit import``: a bundle of published checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.commands.options import finite, positive, request_of, take_defaults
from CardioDiTLib.commands.printing import show_notes
from CardioDiTLib.workflow.import_published import ImportRequest, Storage
from CardioDiTLib.workflow.import_published import run as import_published


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    files = parser.add_argument_group("published files")
    files.add_argument(
        "--stage1", type=Path, required=True, metavar="PTH", help="checkpoint of the codec, or the folder of its run"
    )
    files.add_argument("--stage1-config", type=Path, required=True, metavar="YAML", help="its configuration")
    files.add_argument(
        "--dit", type=Path, required=True, metavar="PTH", help="checkpoint of the transformer, or the folder of its run"
    )
    files.add_argument(
        "--dit-config", type=Path, metavar="YAML", help="its configuration; training checkpoints of version 2 hold it"
    )
    parser.add_argument("--name", help="name of the bundle; that of the folder if not given")
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="default: the user's bundles, under the name")
    parser.add_argument(
        "--spacing-mm", type=positive, nargs=3, metavar=("X", "Y", "Z"), help="default 1 1 10, version 2: 1.7 1.7 10"
    )
    parser.add_argument("--cycle-s", type=positive, metavar="S", help="length of all frames (default 1)")
    parser.add_argument("--scale-factor", type=finite, help="scale of the latents, if the configuration lacks it")
    parser.add_argument("--raw-weights", action="store_true", help="leave averaged (EMA) weights aside")
    parser.add_argument("--direct", action="store_true", help="decode samples as they are, not their nearest codes")
    parser.add_argument("--class-names", metavar="LIST", help="names of the classes, with commas")
    parser.add_argument("--licence", metavar="NAME", help="terms of the checkpoint")
    parser.add_argument("--licence-conditions", default="", metavar="TEXT", help="what they ask for")
    parser.add_argument("--data-source", metavar="TEXT", help="what it was trained on")
    parser.add_argument("--storage", choices=get_args(Storage), help="default fp32")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    take_defaults(parser, ImportRequest)


def run(arguments: argparse.Namespace) -> int:
    """Import, then say what was done and assumed."""
    request = request_of(
        ImportRequest,
        arguments,
        use_ema=not arguments.raw_weights,
        quantised=not arguments.direct,
        class_names=[name.strip() for name in arguments.class_names.split(",")] if arguments.class_names else None,
        licence=Licence(arguments.licence, arguments.licence_conditions) if arguments.licence else None,
    )
    report = import_published(request)
    show_notes(report.notes)
    print(report.folder)
    return 0
