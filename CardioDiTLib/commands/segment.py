"""``cardiodit segment``: labels of a cine."""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.commands.options import CINE_KINDS, add_reading_arguments, dicom_source, read_cine, reading_notes
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.label_checks import failed_frames, failed_sentence
from CardioDiTLib.function.volumes import volume_curve_ml
from CardioDiTLib.io import save_segmentation
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.labels import LV, RV

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".dcm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cine", metavar="CINE", type=Path, help=f"{CINE_KINDS}; short axis")
    parser.add_argument(
        "destination",
        metavar="OUT",
        type=Path,
        help="labels 1 RV, 2 myocardium, 3 LV; .nii, .nii.gz, .seq.nrrd, .nrrd, "
        "or .dcm (DICOM SEG) where CINE is DICOM",
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
    add_reading_arguments(parser)
    parser.add_argument("--anyway", action="store_true", help="also where no heart can be told from the labels")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Segment, write, and say what was found."""
    destination: Path = arguments.destination
    # Told before minutes of work, not after.
    if not destination.name.lower().endswith(SUFFIXES):
        raise CardioDiTError(
            f"'{destination.name}' is no file for labels.", "Use .nii, .nii.gz, .seq.nrrd, .nrrd or .dcm."
        )
    check_folder(destination.parent)
    refuse_existing([destination], arguments.overwrite)
    source = dicom_source(arguments, arguments.cine, destination)
    from tqdm import tqdm

    from CardioDiTLib.segmentation.model import load_model
    from CardioDiTLib.segmentation.segment import segment

    model = load_model(arguments.weights)
    cine = read_cine(arguments, arguments.cine)
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
    volumes = (segmentation.array == 3).sum(axis=(1, 2, 3)) * segmentation.voxel_volume_ml
    refuse_without_heart(segmentation, arguments.cine.name, arguments.anyway or arguments.raw)
    save_segmentation(segmentation, destination, **source)
    largest, smallest = float(volumes.max()), float(volumes.min())
    print(
        f"{destination}: LV {largest:.0f} mL in frame {int(volumes.argmax())}, "
        f"{smallest:.0f} mL in frame {int(volumes.argmin())}"
    )
    for note in (*reading_notes(cine.meta), *_failed(segmentation)):
        print(f"note: {note}")
    return 0


def refuse_without_heart(segmentation: Segmentation, name: str, anyway: bool) -> None:
    """See that what was segmented is a heart.

    Raises:
        CardioDiTError: It is not; also with `anyway` where nothing at all was found.
    """
    from CardioDiTLib.segmentation.heart_check import why_no_heart

    why = why_no_heart(segmentation)
    if why and not (anyway and (segmentation.array == LV).any()):
        raise CardioDiTError(
            f"No heart can be told in '{name}': {why}; nothing was written.",
            "Check that it is a short-axis cine; --anyway writes the labels all the same.",
        )


def _failed(segmentation: Segmentation) -> list[str]:
    """A sentence for each ventricle that has frames which do not fit the others."""
    sentences = []
    for label, what in ((LV, "left ventricle"), (RV, "right ventricle")):
        volume = volume_curve_ml(segmentation, label)
        failed = failed_frames(volume)
        if failed.any():
            sentence = failed_sentence(what, volume, failed)
            sentences.append(f"{sentence[0].upper()}{sentence[1:]}: look at the labels there.")
    return sentences
