"""Slicer's own DICOM database, where the application has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem, Problem


def openDatabase() -> Any:
    """The application's DICOM database; None where it was built without DICOM, or where none is open."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def whyNoDatabase() -> str:
    """Why nothing can be put into it; empty where it can."""
    if openDatabase() is not None:
        return ""
    return str(_("No DICOM database is open: open the module DICOM once, and choose a folder for it"))


def addToDatabase(folder: str) -> int:
    """Copy the DICOM files of a folder into the database.

    Returns:
        How many files were there to copy.

    Raises:
        CardioDiTProblem: No database is open, or it did not take them.
    """
    database = openDatabase()
    if database is None:
        raise CardioDiTProblem(whyNoDatabase() + ".")
    try:
        from DICOMLib import DICOMUtils

        taken = DICOMUtils.importDicom(folder, database, True)
    except Exception as error:  # whatever the database or its disk says
        raise CardioDiTProblem(_refused(str(error))) from error
    if taken is False:
        raise CardioDiTProblem(_refused(""))
    return sum(path.is_file() for path in Path(folder).rglob("*"))


def _refused(reason: str) -> Problem:
    return Problem(
        _("Slicer's DICOM database did not take the files."),
        _("Look into the module DICOM, and at the room on its disk."),
        reason,
    )
