"""``cardiodit segment``: labels of a cine."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, save_segmentation

SUFFIXES = (".nii", ".nii.gz", ".nrrd")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "cine", metavar="CINE", type=Path, help=".nii, .nii.gz, .seq.nrrd, .nrrd, DICOM folder or .zip; short axis"
    )
    parser.add_argument(
        "destination", metavar="OUT", type=Path, help="labels 1 RV, 2 myocardium, 3 LV; .nii, .nii.gz, .seq.nrrd, .nrrd"
    )
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="model's folder in place of the embedded one")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="mean over mirror images (twice the work)",
    )
    parser.add_argument("--raw", action="store_true", help="the network's own labels, nothing made plausible")
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Segment, write, and say what was found."""
    destination: Path = arguments.destination
    # Told before minutes of work, not after.
    if not destination.name.lower().endswith(SUFFIXES):
        raise CardioDiTError(f"'{destination.name}' is no file for labels.", "Use .nii, .nii.gz, .seq.nrrd or .nrrd.")
    if destination.exists() and not arguments.overwrite:
        raise CardioDiTError(f"'{destination}' is there already.", "Choose another name, or add --overwrite.")
    from tqdm import tqdm

    from CardioDiTLib.segmentation.model import load_model
    from CardioDiTLib.segmentation.segment import segment

    model = load_model(arguments.weights)
    cine = load_cine(arguments.cine, square_axes=arguments.square_axes)
    with tqdm(total=cine.n_frames, desc="segmenting", unit="frame", disable=None) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.n = done
            bar.refresh()

        segmentation = segment(
            cine,
            weights=model,
            device=arguments.device,
            progress=show,
            mirrored=arguments.mirrored,
            plausible=not arguments.raw,
        )
    save_segmentation(segmentation, destination)
    volumes = (segmentation.array == 3).sum(axis=(1, 2, 3)) * segmentation.voxel_volume_ml
    if not volumes.any():
        print(f"{destination}: no left ventricle was found")
        return 0
    largest, smallest = float(volumes.max()), float(volumes.min())
    print(
        f"{destination}: LV {largest:.0f} mL in frame {int(volumes.argmax())}, "
        f"{smallest:.0f} mL in frame {int(volumes.argmin())}"
    )
    return 0
