"""What results of a file are called after."""

from __future__ import annotations

from pathlib import Path

from CardioDiTLib.io.cine_files import stem_of


def file_stem(path: Path) -> str:
    """Name of a file without the suffixes of images; a folder's name as it is."""
    if path.is_dir():
        return path.resolve().name
    return stem_of(path) or path.stem
