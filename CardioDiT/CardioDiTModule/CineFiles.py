"""The cines of a folder: files that hold one each, and folders of DICOM files, by the library's own rule."""

from __future__ import annotations

from pathlib import Path

from .LibraryPath import ensureLibrary
from .Problem import CardioDiTProblem, Problem


def cineFiles(folder: str | Path) -> list[Path]:
    """The cines of a folder and the folders in it, in the order of their names; labels and single volumes are left out.

    Raises:
        CardioDiTProblem: There is none, or the folder cannot be read.
    """
    ensureLibrary()
    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.io.cine_files import cines_by_name

    try:
        return list(cines_by_name(Path(folder), below=True).values())
    except CardioDiTError as error:
        raise CardioDiTProblem(Problem(error.message, error.hint)) from error
