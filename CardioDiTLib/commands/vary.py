"""``cardiodit vary``: hearts like one that is there."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from CardioDiTLib.commands.complete import add_model_arguments, model_settings
from CardioDiTLib.commands.options import CINE_KINDS, count, finite, read_cine, reading_notes
from CardioDiTLib.completion.strength import check_strength
from CardioDiTLib.io import save_cine
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.io.output_set import Writer, check_folder, refuse_existing, write_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", metavar="CINE", type=Path, help=CINE_KINDS)
    parser.add_argument(
        "--strength", type=finite, default=0.5, help="0 (only coded) to 1 (nothing of CINE is kept); default 0.5"
    )
    parser.add_argument("-n", "--count", type=count, default=1, help="how many (default 1)")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    add_model_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Read, vary, write each cine with its provenance, and say what the gate says."""
    check_strength(arguments.strength)
    folder: Path = arguments.out
    stem = file_stem(arguments.source)
    names = [f"{stem}_variation_{index:03d}" for index in range(arguments.count)]
    check_folder(folder)
    refuse_existing(
        [folder / f"{name}{suffix}" for name in names for suffix in (".nii.gz", ".json")], arguments.overwrite
    )
    cine = read_cine(arguments, arguments.source)

    from tqdm import tqdm

    from CardioDiTLib.completion.vary import vary

    with tqdm(desc="varying", unit="step", file=sys.stderr, disable=True if arguments.quiet else None) as bar:

        def show(done: int, of: int) -> None:
            bar.total, bar.n = of, done
            bar.refresh()

        results = vary(
            cine,
            strength=arguments.strength,
            count=arguments.count,
            progress=show,
            **model_settings(arguments),
        )
    writers: dict[str, Writer] = {}
    for name, result in zip(names, results):
        writers[f"{name}.nii.gz"] = partial(save_cine, result.cine)
        writers[f"{name}.json"] = partial(_save_provenance, result.provenance)
    paths = write_outputs(folder, writers, overwrite=arguments.overwrite)[::2]
    for path, result in zip(paths, results):
        audit = result.provenance.get("audit")
        verdict = "" if audit is None else f": the gate {'lets it pass' if audit['passed'] else 'would refuse it'}"
        print(f"{path}{verdict}")
    print(f"note: {results[0].provenance['note']}")
    for note in reading_notes(cine.meta):
        print(f"note: {note}")
    for warning in dict.fromkeys(warning for result in results for warning in result.warnings):
        print(f"note: {warning}")
    return 0


def _save_provenance(provenance: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
