"""A stand-in for Slicer's DICOM database and the part of DICOMLib that fills it."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pydicom


class DicomDatabase:
    """As `ctkDICOMDatabase`: open or not, and what it was given, copied and sorted by patient, study and series.

    Args:
        folder: Where it keeps its files.
    """

    def __init__(self, folder: Path) -> None:
        self.databaseDirectory, self.isOpen, self.refuses = str(folder), True, ""
        folder.mkdir(parents=True)

    def files(self) -> list[Path]:
        return sorted(path for path in Path(self.databaseDirectory).rglob("*") if path.is_file())

    def addFolder(self, folder: str) -> None:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                header = pydicom.dcmread(path, stop_before_pixels=True)
                place = Path(self.databaseDirectory) / header.StudyInstanceUID / header.SeriesInstanceUID
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place / header.SOPInstanceUID)


def install(monkeypatch: Any, folder: Path) -> DicomDatabase:
    """Give the application a database for the time of a test."""
    import slicer

    database = DicomDatabase(folder)

    def importDicom(dicomDataDir: str, dicomDatabase: Any = None, copyFiles: bool = False) -> bool:
        assert copyFiles, "the folder is a temporary one"
        if database.refuses == "raise":
            raise OSError("disk full")
        if database.refuses:
            return False
        (dicomDatabase or database).addFolder(dicomDataDir)
        return True

    library, utils = types.ModuleType("DICOMLib"), types.ModuleType("DICOMLib.DICOMUtils")
    utils.importDicom, library.DICOMUtils = importDicom, utils
    monkeypatch.setitem(sys.modules, "DICOMLib", library)
    monkeypatch.setitem(sys.modules, "DICOMLib.DICOMUtils", utils)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return database
