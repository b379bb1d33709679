"""One two-dimensional DICOM image: a file of its own, or a frame of a multi-frame file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.memory import check_size

_DAMAGED_HINT = "Copy or export the series again."


class VoxelFile:
    """The voxels of one DICOM file, decoded when they are first asked for.

    pydicom decodes what needs no further package; other compressions (JPEG lossless, JPEG 2000, JPEG-LS) are decoded by
    GDCM, which comes with SimpleITK and gives rescaled values.

    Args:
        name: File name, for messages.
        open: Opens the file.
        header: Everything but the voxels.
    """

    def __init__(self, name: str, open: Callable[[], BinaryIO], header: Dataset) -> None:
        self.name, self._open, self._header = name, open, header
        self._kept: tuple[NDArray[Any], bool] | None = None

    def frames(self, keep: bool) -> tuple[NDArray[Any], bool]:
        """(frames, rows, columns), and whether values are rescaled already.

        Args:
            keep: Keep them for the next call.

        Raises:
            CardioDiTError: The voxels are missing, truncated, or compressed in a way that cannot be unpacked here.
        """
        if self._kept is not None:
            return self._kept
        found = self._decoded()
        if keep:
            self._kept = found
        return found

    def _decoded(self) -> tuple[NDArray[Any], bool]:
        rows, columns = int(self._header.Rows), int(self._header.Columns)
        count = max(1, int(self._header.get("NumberOfFrames") or 1))
        check_size(self.name, (columns, rows, count), max(1, int(self._header.get("BitsAllocated") or 16) // 8))
        syntax = getattr(getattr(self._header, "file_meta", None), "TransferSyntaxUID", None)
        rescaled = False
        try:
            with self._open() as stream:
                dataset = pydicom.dcmread(stream, force=True)
                dataset.file_meta.setdefault("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
                array = np.asarray(dataset.pixel_array)
        except Exception as error:  # pydicom, its decoders and zipfile raise whatever the damage leads to
            if syntax is None or not _is_compressed(syntax):
                raise CardioDiTError(f"'{self.name}' is truncated or damaged.", _DAMAGED_HINT) from error
            array, rescaled = self._by_gdcm(str(syntax.name)), True
        if array.size != count * rows * columns:
            raise CardioDiTError(f"'{self.name}' has voxels of shape {array.shape}.", _DAMAGED_HINT)
        return array.reshape(count, rows, columns), rescaled

    def _by_gdcm(self, syntax: str) -> NDArray[Any]:
        import SimpleITK

        with tempfile.TemporaryDirectory(prefix="cardiodit-") as folder:
            copy = Path(folder, "image.dcm")
            with self._open() as stream:
                copy.write_bytes(stream.read())
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
            try:
                reader = SimpleITK.ImageFileReader()
                reader.SetImageIO("GDCMImageIO")
                reader.SetFileName(str(copy))
                return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute()))
            except RuntimeError as error:
                raise CardioDiTError(
                    f"The voxels of '{self.name}' ({syntax}) could not be unpacked; they are damaged, or compressed in "
                    "a way that is not read here.",
                    "Export the series again, uncompressed.",
                ) from error


def _is_compressed(syntax: Any) -> bool:
    try:
        return bool(syntax is not None and syntax.is_compressed)
    except ValueError:  # an identifier that is no transfer syntax
        return False


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One two-dimensional image: where it lies, and how to get its voxels.

    Args:
        name: File name, for messages.
        header: Everything but the voxels, as a classic image has it (of a frame: what its functional groups say).
        position: (3,) mm in LPS, centre of the first voxel.
        row: (3,) unit vector along a row (rising column index), LPS.
        column: (3,) unit vector along a column (rising row index), LPS.
        voxels: Of the file.
        frame: Number of the frame in a multi-frame file, from 0; None for a classic image.
    """

    name: str
    header: Dataset
    position: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    voxels: VoxelFile
    frame: int | None = None

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
        return number_of(self.header, keyword)

    @property
    def rescale(self) -> tuple[float, float]:
        """(slope, intercept) from stored to real values."""
        slope, intercept = self.number("RescaleSlope"), self.number("RescaleIntercept")
        return slope or 1.0, 0.0 if intercept is None else intercept

    def values(self) -> NDArray[Any]:
        """Real values, (rows, columns): bright is large, whatever the photometric interpretation.

        Where the smallest stored value is white (MONOCHROME1), stored values are turned over the range of the stored
        bits before they are rescaled, as GDCM does it.
        """
        frames, rescaled = self.voxels.frames(keep=self.frame is not None)
        stored = frames[self.frame or 0]
        if rescaled:
            return stored
        slope, intercept = self.rescale
        whole = slope.is_integer() and intercept.is_integer()
        if str(self.header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1":
            stored = self._turned(stored)
        if (slope, intercept) == (1.0, 0.0):
            return stored
        return stored.astype(np.int64) * int(slope) + int(intercept) if whole else stored * slope + intercept

    def _turned(self, stored: NDArray[Any]) -> NDArray[Any]:
        bits = int(self.number("BitsStored") or 16)
        signed = bool(self.number("PixelRepresentation"))
        # lowest plus highest stored value: -1 for signed ones
        return np.asarray((-1 if signed else 2**bits - 1) - stored.astype(np.int64))


def number_of(header: Dataset, keyword: str) -> float | None:
    """A header field as a number; None where it is absent, empty or not a number."""
    try:
        value = float(header.get(keyword))
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None
