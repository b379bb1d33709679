"""What results of a file are called after."""

from __future__ import annotations

from pathlib import Path

_SUFFIXES = (".nii.gz", ".seq.nrrd", ".nii", ".nrrd", ".zip")


def file_stem(path: Path) -> str:
    """Name of a file without the suffixes of images; a folder's name as it is."""
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name if path.is_dir() else path.stem
