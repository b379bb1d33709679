"""Results as files: all of them, or none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import animated_gif, contact_sheet, require_pillow
from CardioDiTLib.generation.report_html import to_html
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.io.output_set import Writer, write_outputs

FORMATS = ("nii.gz", "seq.nrrd", "labels.nii.gz", "labels.seq.nrrd", "png", "gif", "html", "json")
"""What can be written: cine and the labels made with it (twice each), contact sheet, film, page, provenance."""

LABELS = "labels."
"""Begins the formats of labels; only bundles that make labels have them."""


def output_name(name: str, kind: str) -> str:
    """File name of one format of a sample: labels are called as those of `cardiodit measure`."""
    return f"{name}_segmentation.{kind.removeprefix(LABELS)}" if kind.startswith(LABELS) else f"{name}.{kind}"


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Formats without dots and doubles.

    Raises:
        CardioDiTError: One is not known, there is none, or pictures are asked for without Pillow.
    """
    wanted = tuple(dict.fromkeys(name.strip().lower().lstrip(".") for name in formats if name.strip()))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        what = f"The format {unknown[0]!r} is not known." if unknown else "No format was given."
        raise CardioDiTError(what, f"Choose among {', '.join(FORMATS)}.")
    if {"png", "gif", "html"} & set(wanted):
        require_pillow()
    return wanted


def save_results(
    results: Sequence[GenerationResult],
    folder: str | os.PathLike[str],
    formats: Sequence[str] = ("nii.gz", "json"),
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write results; files appear under their names only once all are complete.

    Args:
        results: What to write.
        folder: Where to; made if need be.
        formats: Among :data:`FORMATS`.
        overwrite: Replace files of the same names; without it they are never touched.

    Returns:
        Paths of the files, sample by sample.

    Raises:
        CardioDiTError: A format is not known, a file is there already, or the files cannot be written; none of them is
            left behind then, and files that were there before are as they were.
    """
    wanted = check_formats(formats)
    if any(kind.startswith(LABELS) for kind in wanted) and any(result.segmentation is None for result in results):
        raise CardioDiTError(
            "This model makes no labels with its hearts.",
            "Leave the labels out, and use cardiodit segment on the cines.",
        )
    writers = {name: write for result in results for name, write in writers_of(result, wanted, result.name).items()}
    return write_outputs(folder, writers, overwrite=overwrite)


def writers_of(result: GenerationResult, formats: Sequence[str], name: str) -> dict[str, Writer]:
    """How to write each file of a result, by its name.

    Args:
        result: What to write; it has labels where formats of labels are asked for.
        formats: Among :data:`FORMATS`.
        name: Begins the names of the files.
    """
    return {output_name(name, kind): _writer(result, kind) for kind in formats}


def _writer(result: GenerationResult, suffix: str) -> Callable[[Path], object]:
    def write_json(path: Path) -> None:
        path.write_text(json.dumps(result.provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def write_labels(path: Path) -> None:
        assert result.segmentation is not None  # asked for only where there are some
        save_segmentation(result.segmentation, path)

    writers: dict[str, Callable[[Path], object]] = {
        "labels.nii.gz": write_labels,
        "labels.seq.nrrd": write_labels,
        "nii.gz": lambda path: save_cine(result.cine, path),
        "seq.nrrd": lambda path: save_cine(result.cine, path),
        "png": lambda path: contact_sheet(result.cine, path, segmentation=result.segmentation),
        "gif": lambda path: animated_gif(result.cine, path, segmentation=result.segmentation),
        "html": lambda path: to_html(result, path),
        "json": write_json,
    }
    return writers[suffix]
