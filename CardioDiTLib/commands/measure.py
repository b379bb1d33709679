"""``cardiodit measure``: from a cine to its labels, insertion points and function, in one go."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from CardioDiTLib.commands.file_stem import file_stem
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.outputs import FORMATS, check_formats, save_report
from CardioDiTLib.function.quantities import summary_lines
from CardioDiTLib.io import load_cine, save_segmentation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "cine", metavar="CINE", type=Path, help=".nii, .nii.gz, .seq.nrrd, .nrrd, DICOM folder or .zip; short axis"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument(
        "-f", "--formats", default="json,csv,html", metavar="LIST", help=f"with commas, of {', '.join(FORMATS)}"
    )
    parser.add_argument("--heart-rate", type=float, metavar="BPM", help="beats a minute, where it is known")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="mean over mirror images (twice the work)",
    )
    parser.add_argument(
        "--stack-covers-heart",
        action=argparse.BooleanOptionalAction,
        help="take ventricles that reach the first or the last slice for complete; default: at the base only, "
        "with 55 mm labelled",
    )
    parser.add_argument("--segmentation-weights", type=Path, metavar="FOLDER", help="in place of the embedded ones")
    parser.add_argument("--landmark-weights", type=Path, metavar="FOLDER", help="in place of the embedded ones")
    parser.add_argument("--square-axes", action="store_true", help="take the nearest right-angled axes")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Segment, find, measure; write all, and print the numbers."""
    formats = check_formats(arguments.formats.split(","))
    out: Path = arguments.out
    if out.exists() and not out.is_dir():
        raise CardioDiTError(f"'{out}' is a file.", "Give a folder.")
    name = file_stem(arguments.cine)
    labels, points = out / f"{name}_segmentation.nii.gz", out / f"{name}_landmarks.csv"
    for path in (labels, points):
        if path.exists() and not arguments.overwrite:
            raise CardioDiTError(f"'{path}' is there already.", "Choose another folder, or add --overwrite.")
    cine = load_cine(arguments.cine, square_axes=arguments.square_axes)
    from tqdm import tqdm

    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.landmarks.detect import detect_landmarks
    from CardioDiTLib.landmarks.files import save_landmarks
    from CardioDiTLib.segmentation.segment import segment

    def shown(bar: Any, done: int, of: int) -> None:
        bar.total, bar.n = of, done
        bar.refresh()

    with tqdm(total=cine.n_frames, desc="segmenting", unit="frame", disable=None) as bar:
        segmentation = segment(
            cine,
            weights=arguments.segmentation_weights,
            device=arguments.device,
            mirrored=arguments.mirrored,
            progress=lambda done, of: shown(bar, done, of),
        )
    with tqdm(total=cine.n_frames, desc="insertion points", unit="frame", disable=None) as bar:
        track = detect_landmarks(
            cine,
            segmentation=segmentation,
            weights=arguments.landmark_weights,
            device=arguments.device,
            progress=lambda done, of: shown(bar, done, of),
        )
    report = cardiac_function(
        segmentation, track, arguments.heart_rate, stack_covers_heart=arguments.stack_covers_heart
    )
    out.mkdir(parents=True, exist_ok=True)
    save_segmentation(segmentation, labels)
    save_landmarks(track, points)
    written = save_report(report, out, name, segmentation, cine=cine, landmarks=track, formats=formats)
    for line in summary_lines(report):
        print(line)
    for note in report.notes:
        print(f"note: {note}")
    for path in (labels, points, *written):
        print(path)
    return 0
