"""`cardiodit prepare`: a training pack from ACDC ED/ES pairs, of slices with contours, or from a folder of 4D cines."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from CardioDiTLib.commands.options import count, positive, share

if TYPE_CHECKING:
    from CardioDiTLib.data.cine_from_pair import PosedPair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "source",
        choices=("acdc", "cines", "contours"),
        help="'acdc': ED/ES pairs with labels; 'cines': files that load_cine reads; 'contours': ED/ES slices with the "
        "left cavity drawn (.npz)",
    )
    parser.add_argument("folder", type=Path, help="folder with the data")
    parser.add_argument("pack", type=Path, help="the .npz file to write")
    parser.add_argument(
        "--size",
        type=count,
        default=152,
        help="rows and columns to keep (default 152: room to augment 128)",
    )
    parser.add_argument("--slices", type=count, default=8, help="slices of the grid (cines)")
    parser.add_argument("--frames", type=count, default=16, help="frames a cycle (cines)")
    parser.add_argument(
        "--spacing", type=positive, nargs=3, default=(1.5, 1.5, 10.0), metavar=("X", "Y", "Z"), help="mm (cines)"
    )
    parser.add_argument(
        "--keep-aside", type=share, default=0.125, help="share of cines for validation (cines, contours)"
    )
    parser.add_argument(
        "--contours",
        type=Path,
        help="folder of slices with contours of the left cavity (.npz): more patients, without a class (acdc)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the pack if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from tqdm import tqdm

    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.io.output_set import check_folder, refuse_existing

    if not arguments.folder.is_dir():
        raise CardioDiTError(f"There is no folder '{arguments.folder}'.", "Give the folder with the data.")
    check_folder(arguments.pack.parent)
    refuse_existing([arguments.pack], arguments.overwrite)
    with tqdm(unit="cine") as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        if arguments.source == "acdc":
            from CardioDiTLib.data.acdc import make_pack

            more = _contoured(arguments.contours, arguments.size, show) if arguments.contours is not None else ()
            path = make_pack(arguments.folder, arguments.pack, size=arguments.size, more=more, progress=show)
        elif arguments.source == "contours":
            from CardioDiTLib.data.contoured_slices import write_contoured_pairs

            pairs = _contoured(arguments.folder, arguments.size, show)
            path = write_contoured_pairs(arguments.pack, pairs, arguments.keep_aside)
        else:
            from CardioDiTLib.data.packing import make_pack as make_cine_pack

            path = make_cine_pack(
                arguments.folder,
                arguments.pack,
                size=arguments.size,
                slices=arguments.slices,
                frames=arguments.frames,
                spacing=tuple(arguments.spacing),
                keep_aside=arguments.keep_aside,
                progress=show,
            )
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def _contoured(folder: Path, size: int, show: Callable[[int, int], None]) -> list[PosedPair]:
    from CardioDiTLib.data.contoured_slices import read_contoured_pairs
    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.segmentation.segment import segment

    if not folder.is_dir():
        raise CardioDiTError(f"There is no folder '{folder}'.", "Give the folder with the contours.")
    return read_contoured_pairs(folder, lambda cine: segment(cine).array, size, show)
