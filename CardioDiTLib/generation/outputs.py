"""Results as files: all of them, or none."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import animated_gif, contact_sheet, require_pillow
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.io import save_cine

FORMATS = ("nii.gz", "seq.nrrd", "png", "gif", "json")
"""Suffixes that can be written: cine (twice), contact sheet, film, provenance."""


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
    if "png" in wanted or "gif" in wanted:
        require_pillow()
    return wanted


def save_results(
    results: Sequence[GenerationResult], folder: str | os.PathLike[str], formats: Sequence[str] = ("nii.gz", "json")
) -> list[Path]:
    """Write results; files appear under their names only once all are complete.

    Args:
        results: What to write.
        folder: Where to; made if need be. Files of the same names are replaced.
        formats: Among :data:`FORMATS`.

    Returns:
        Paths of the files, sample by sample.

    Raises:
        CardioDiTError: A format is not known, or the files cannot be written; none of them is left behind then.
    """
    wanted = check_formats(formats)
    final = Path(folder)
    partial = final / f".cardiodit-{uuid.uuid4().hex[:12]}"
    moved: list[Path] = []
    made = [part for part in (final, *final.parents) if not part.exists()]
    try:
        partial.mkdir(parents=True)
        names = [_write(result, partial, suffix) for result in results for suffix in wanted]
        for name in names:
            os.replace(partial / name, final / name)
            moved.append(final / name)
        made = []
        return moved
    except OSError as error:
        raise CardioDiTError(
            f"The files could not be written to '{final}': {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        if len(moved) < len(results) * len(wanted):  # interrupted: the first files go as well
            for path in moved:
                path.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        _remove_empty(made)


def _write(result: GenerationResult, folder: Path, suffix: str) -> str:
    writers: dict[str, Callable[[Path], object]] = {
        "nii.gz": lambda path: save_cine(result.cine, path),
        "seq.nrrd": lambda path: save_cine(result.cine, path),
        "png": lambda path: contact_sheet(result.cine, path),
        "gif": lambda path: animated_gif(result.cine, path),
        "json": lambda path: path.write_text(
            json.dumps(result.provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        ),
    }
    name = f"{result.name}.{suffix}"
    writers[suffix](folder / name)
    return name


def _remove_empty(folders: Sequence[Path]) -> None:
    """Folders that were made for files that never came, innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # never made, or somebody else put something there
            return
