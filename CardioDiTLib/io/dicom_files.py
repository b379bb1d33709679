"""The DICOM images in a folder or a zip file, headers first, voxels when they are asked for."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from CardioDiTLib.errors import CardioDiTError

MAX_BYTES = 4 * 1024**3
"""Largest folder or unpacked zip that is read."""

_DAMAGED_HINT = "Copy or export the series again."
# SOP classes: enhanced MR, enhanced MR colour, legacy converted enhanced MR. A scanner may write a (stray) sequence of
# frames into a classic image too, so the presence of one says nothing.
_ENHANCED = {f"1.2.840.10008.5.1.4.1.1.4.{last}" for last in (1, 3, 4)}


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One two-dimensional image: where it lies, and how to get its voxels.

    Args:
        name: File name, for messages.
        header: Everything but the voxels.
        position: (3,) mm in LPS, centre of the first voxel.
        row: (3,) unit vector along a row (rising column index), LPS.
        column: (3,) unit vector along a column (rising row index), LPS.
        open: Opens the file.
    """

    name: str
    header: Dataset
    position: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    open: Callable[[], BinaryIO]

    @property
    def series(self) -> str:
        """Series instance UID."""
        return str(self.header.get("SeriesInstanceUID", ""))

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance (along a row, along a column) between voxel centres, in mm; DICOM stores the other order."""
        between_rows, between_columns = self.header.PixelSpacing
        return float(between_columns), float(between_rows)

    def number(self, keyword: str) -> float | None:
        """A header field as a number; None where it is absent, empty or not a number."""
        try:
            value = float(self.header.get(keyword))
        except (TypeError, ValueError):
            return None
        return value if np.isfinite(value) else None

    @property
    def rescale(self) -> tuple[float, float]:
        """(slope, intercept) from stored to real values."""
        slope, intercept = self.number("RescaleSlope"), self.number("RescaleIntercept")
        return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept

    def pixels(self) -> NDArray[Any]:
        """Stored values, (rows, columns), not rescaled.

        Raises:
            CardioDiTError: The voxels are missing, truncated, or compressed in a way that cannot be unpacked here.
        """
        try:
            with self.open() as stream:
                dataset = pydicom.dcmread(stream, force=True)
                dataset.file_meta.setdefault("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
                array = np.asarray(dataset.pixel_array)
        except Exception as error:  # pydicom, its decoders and zipfile raise whatever the damage leads to
            syntax = getattr(self.header.file_meta, "TransferSyntaxUID", None)
            if syntax is not None and syntax.is_compressed:
                raise CardioDiTError(
                    f"The voxels of '{self.name}' ({syntax.name}) could not be unpacked.",
                    "Export the series uncompressed, or install pylibjpeg with its plug-ins.",
                ) from error
            raise CardioDiTError(f"'{self.name}' is truncated or damaged.", _DAMAGED_HINT) from error
        if array.shape != (self.header.Rows, self.header.Columns):
            raise CardioDiTError(f"'{self.name}' has voxels of shape {array.shape}.", _DAMAGED_HINT)
        return array


@contextmanager
def dicom_images(path: Path) -> Iterator[list[DicomImage]]:
    """The two-dimensional grey images with a position in a folder (searched to the bottom) or a zip file.

    Other files are passed over. A zip is read in place, nothing is unpacked to disk; it is closed with the block, so
    voxels must be read inside it. Copies of one image are given once.

    Raises:
        CardioDiTError: Not a zip file, too large, a damaged DICOM file, or nothing but enhanced multi-frame DICOM.
    """
    with warnings.catch_warnings():
        # anonymised headers break small rules (identifiers with leading zeros), which is no concern of the user's
        warnings.filterwarnings("ignore", module="pydicom")
        if path.is_dir():
            yield _images(_folder_entries(path))
            return
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise CardioDiTError(
                f"'{path.name}' is not a zip file, or it is truncated or damaged.", "Copy or download the file again."
            ) from error
        with archive:
            yield _images(_zip_entries(archive))


_Entry = tuple[str, int, Callable[[], BinaryIO]]  # name, bytes, opener


def _folder_entries(folder: Path) -> Iterator[_Entry]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.name, file.stat().st_size, lambda file=file: file.open("rb")  # type: ignore[misc]


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for entry in archive.infolist():
        if not entry.is_dir():
            name = os.path.basename(entry.filename)
            yield name, entry.file_size, lambda entry=entry: archive.open(entry)  # type: ignore[misc]


def _images(entries: Iterator[_Entry]) -> list[DicomImage]:
    images: list[DicomImage] = []
    seen: set[str] = set()
    multi_frame = ""
    total = 0
    for name, size, opener in entries:
        if name.startswith("."):  # ._name, .DS_Store: left by file browsers
            continue
        total += size
        if total > MAX_BYTES:
            raise CardioDiTError(
                f"There is more than {MAX_BYTES // 1024**3} GB to read.", "Give the folder of one cine series only."
            )
        header = _header(name, opener)
        if header is None:
            continue
        uid = str(header.get("SOPInstanceUID", "")) or f"{name} {len(seen)}"
        if uid in seen:
            continue
        seen.add(uid)
        if header.get("SOPClassUID") in _ENHANCED or _frame_count(header) > 1:
            multi_frame = multi_frame or name
            continue
        image = _image(name, header, opener)
        if image is not None:
            images.append(image)
    if multi_frame and not images:
        raise CardioDiTError(
            f"'{multi_frame}' is an enhanced multi-frame DICOM image, which is not read here.",
            "Export the series as classic DICOM (one file an image), or convert it to NIfTI with dcm2niix.",
        )
    return images


def _frame_count(header: Dataset) -> int:
    try:
        return int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return 1


def _header(name: str, opener: Callable[[], BinaryIO]) -> Dataset | None:
    """Everything but the voxels; None where the file is not DICOM."""
    # files without the 128-byte preamble are tried too, if their name says DICOM
    named_so = name.lower().endswith((".dcm", ".ima"))
    try:
        with opener() as stream:
            return pydicom.dcmread(stream, stop_before_pixels=True, force=named_so)
    except InvalidDicomError:
        return None
    except Exception as error:  # zipfile and pydicom raise whatever the damage leads to
        raise CardioDiTError(f"'{name}' could not be read, it is truncated or damaged.", _DAMAGED_HINT) from error


def _image(name: str, header: Dataset, opener: Callable[[], BinaryIO]) -> DicomImage | None:
    """The image if it is one with a place in the patient and one grey value a voxel."""
    try:
        keywords = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
        if any(header.get(keyword) is None for keyword in keywords) or int(header.get("SamplesPerPixel") or 1) != 1:
            return None
        position = np.array(header.ImagePositionPatient, dtype=np.float64)
        orientation = np.array(header.ImageOrientationPatient, dtype=np.float64)
        spacing = np.array(header.PixelSpacing, dtype=np.float64)
        lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
        sound = position.shape == (3,) and spacing.shape == (2,) and bool((spacing > 0).all())
        if not (sound and np.isfinite(position).all() and np.allclose(lengths, 1.0, atol=1e-2)):
            raise ValueError("geometry")
        row, column = orientation.reshape(2, 3) / lengths[:, np.newaxis]
    except Exception as error:  # a header field that cannot be what it claims to be
        raise CardioDiTError(f"'{name}' has a damaged header.", _DAMAGED_HINT) from error
    return DicomImage(name, header, position, row, column, opener)
