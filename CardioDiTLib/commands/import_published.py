"""``cardiodit import``: a bundle of published checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import user_bundles_folder
from CardioDiTLib.commands.options import finite, positive
from CardioDiTLib.errors import CardioDiTError


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
    parser.add_argument("--cycle-s", type=positive, default=1.0, metavar="S", help="length of all frames (default 1)")
    parser.add_argument("--scale-factor", type=finite, help="scale of the latents, if the configuration lacks it")
    parser.add_argument("--raw-weights", action="store_true", help="leave averaged (EMA) weights aside")
    parser.add_argument("--direct", action="store_true", help="decode samples as they are, not their nearest codes")
    parser.add_argument("--class-names", metavar="LIST", help="names of the classes, with commas")
    parser.add_argument("--licence", metavar="NAME", help="terms of the checkpoint")
    parser.add_argument("--licence-conditions", default="", metavar="TEXT", help="what they ask for")
    parser.add_argument("--data-source", default="", metavar="TEXT", help="what it was trained on")
    parser.add_argument("--storage", choices=("fp32", "fp16", "int8"), default="fp32", help="default fp32")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


def run(arguments: argparse.Namespace) -> int:
    """Import, then say what was done and assumed."""
    if arguments.out is None and arguments.name is None:
        raise CardioDiTError("The new bundle has neither a name nor a folder.", "Add --name or --out.")
    from CardioDiTLib.bundles.cardiodit_import import import_published

    report = import_published(
        arguments.stage1,
        arguments.stage1_config,
        arguments.dit,
        arguments.dit_config,
        arguments.out or user_bundles_folder() / arguments.name,
        name=arguments.name,
        spacing_mm=arguments.spacing_mm,
        cycle_s=arguments.cycle_s,
        scale_factor=arguments.scale_factor,
        use_ema=not arguments.raw_weights,
        class_names=arguments.class_names.split(",") if arguments.class_names else None,
        licence=Licence(arguments.licence, arguments.licence_conditions) if arguments.licence else None,
        data_source=arguments.data_source,
        storage=arguments.storage,
        quantised=not arguments.direct,
        overwrite=arguments.overwrite,
    )
    for note in report.notes:
        print(f"note: {note}")
    print(report.folder)
    return 0
