"""The DICOM images in a folder or a zip file, headers first, voxels when they are asked for."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.dicom_entries import Entry, entries_of
from CardioDiTLib.io.dicom_frames import ENHANCED_MR, frame_headers, has_frames
from CardioDiTLib.io.dicom_image import DicomImage, VoxelFile

_DAMAGED_HINT = "Copy or export the series again."
_NO_IMAGE = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.1.3.10"}  # segmentations, DICOMDIR
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_DEFLATED = 1024**2
_NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"),
    *("BitsAllocated", "BitsStored", "RescaleSlope", "RescaleIntercept", "ImageType", "Modality", "SyntheticData"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices"),
    *("TriggerTime", "NominalCardiacTriggerDelayTime", "TemporalPositionIdentifier", "ContentTime", "AcquisitionTime"),
    *("InstanceNumber", "NominalInterval", "HeartRate", "Manufacturer", "ManufacturerModelName", "EchoTime"),
    *("MagneticFieldStrength", "RepetitionTime", "FlipAngle", "InversionTime", "ScanningSequence", "SequenceName"),
    *("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
)
_VRS = "AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT"


@dataclass(frozen=True, eq=False)
class Unplaced:
    """An image that cannot be put into a stack.

    Args:
        name: Of its file.
        reason: Why, to follow "images": "without PixelSpacing".
        header: All but the voxels.
    """

    name: str
    reason: str
    header: Dataset


@dataclass(eq=False)
class FoundImages:
    """What is in a folder or a zip file.

    Args:
        images: Images with a place in the patient.
        unplaced: Images without.
        seen: Number of files.
        others: Number of files that are no images, by kind.
        unreadable: A sentence for each file or folder that could not be read.
        copies: Number of images that are there more than once, the first not counted.
        same_uid: Number of images that share their SOP instance UID with a different image.
    """

    images: list[DicomImage] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    seen: int = 0
    others: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    copies: int = 0
    same_uid: int = 0


@contextmanager
def dicom_images(path: Path) -> Iterator[FoundImages]:
    """The images in a folder (searched to the bottom), a zip file, or a single file.

    A zip is read in place, nothing is unpacked to disk; it is closed with the block, so voxels must be read inside it.
    Copies of one image are given once; images that only share its identifier are given each.

    Raises:
        CardioDiTError: Not a zip file, encrypted, too large, or a damaged DICOM file.
    """
    with warnings.catch_warnings():
        # anonymised headers break small rules (identifiers with leading zeros), which is no concern of the user's
        warnings.filterwarnings("ignore", module="pydicom")
        found = FoundImages()
        with entries_of(path, found.unreadable) as entries:
            _collect(entries, found)
            yield found


def _collect(entries: Iterator[Entry], found: FoundImages) -> None:
    seen: dict[str, list[tuple[str, Entry]]] = {}
    for entry in entries:
        found.seen += 1
        try:
            header = _header(entry)
        except PermissionError as error:
            found.unreadable.append(f"'{entry.name}' could not be read: {error.strerror or error}.")
            continue
        if header is None:
            found.others["not DICOM"] += 1
            continue
        _look_at_values(header, entry.name)
        if str(header.get("SOPClassUID", "")) in _NO_IMAGE or header.get("Rows") is None:
            found.others["DICOM without an image"] += 1
            continue
        if _is_copy(header, entry, seen, found):
            continue
        _add(header, entry, found)


def _look_at_values(header: Dataset, name: str) -> None:
    """Have the values converted that will be needed: pydicom does so late, and raises whatever damage leads to."""
    for keyword in _NEEDED:
        try:
            header.get(keyword)
        except Exception as error:
            raise CardioDiTError(f"'{name}' has a damaged header ({keyword}).", _DAMAGED_HINT) from error


def _is_copy(header: Dataset, entry: Entry, seen: dict[str, list[tuple[str, Entry]]], found: FoundImages) -> bool:
    """Whether this very image was met before; a repeated identifier alone does not say so."""
    uid = str(header.get("SOPInstanceUID", ""))
    if not uid:
        return False
    known = seen.setdefault(uid, [])
    says = "|".join(
        str(header.get(keyword, ""))
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "TriggerTime", "InstanceNumber")
    )
    if any(says == other and _digest(entry) == _digest(file) for other, file in known):
        found.copies += 1
        return True
    if known:
        found.same_uid += 1
    known.append((says, entry))
    return False


def _digest(entry: Entry) -> bytes:
    """Of the voxels where they can be told from the header, else of the file."""
    with entry.open() as stream:
        try:
            content = pydicom.dcmread(stream, force=True).PixelData
        except Exception:  # damaged: whoever reads the voxels says so
            stream.seek(0)
            content = stream.read()
    return hashlib.sha256(content).digest()


def _header(entry: Entry) -> Dataset | None:
    """Everything but the voxels; None where the file is not DICOM."""
    named_so = entry.name.lower().endswith((".dcm", ".ima"))
    try:
        with entry.open() as stream:
            beginning = stream.read(1024)
            start = beginning[:132]
            if start[128:] != b"DICM" and not named_so and not _looks_bare(start):
                return None
            # the whole of such a file is unpacked to read its header, a thousandfold at most
            if _DEFLATED in beginning and entry.size > _MOST_DEFLATED:
                raise CardioDiTError(f"'{entry.name}' is deflated DICOM of more than 1 MB.", "Export it uncompressed.")
            stream.seek(0)
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    except InvalidDicomError:
        return None
    except (PermissionError, CardioDiTError):
        raise
    except (OSError, zipfile.BadZipFile) as error:
        raise CardioDiTError(
            f"'{entry.name}' could not be read, it is truncated or damaged ({str(error)[:80]}).",
            _DAMAGED_HINT,
        ) from error
    except Exception as error:  # zipfile and pydicom raise whatever the damage leads to
        raise CardioDiTError(f"'{entry.name}' could not be read, it is truncated or damaged.", _DAMAGED_HINT) from error
    if start[128:] != b"DICM" and header.get("Rows") is None and header.get("SOPClassUID") is None:
        return None
    return header


def _looks_bare(start: bytes) -> bool:
    """Whether a file begins with a DICOM element, as files without the 128-byte preamble do."""
    if len(start) < 16:
        return False
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    explicit = start[4:6].isalpha() and start[4:6].decode("ascii", "replace") in _VRS.split()
    return explicit or int.from_bytes(start[4:8], "little") <= 1024


def _add(header: Dataset, entry: Entry, found: FoundImages) -> None:
    voxels = VoxelFile(entry.name, entry.open, header)
    try:
        count = int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        count = 1
    if has_frames(header) and (count > 1 or str(header.get("SOPClassUID", "")) in ENHANCED_MR):
        try:
            frames = list(frame_headers(header))
        except Exception as error:  # pydicom looks at values when they are asked for, and raises what it finds
            raise CardioDiTError(f"'{entry.name}' has a damaged header.", _DAMAGED_HINT) from error
        if len(frames) != count:
            raise CardioDiTError(f"'{entry.name}' has {count} frames and describes {len(frames)}.", _DAMAGED_HINT)
        for number, frame in enumerate(frames):
            _place(frame, entry.name, voxels, number, found)
        return
    if count > 1 or str(header.get("SOPClassUID", "")) in ENHANCED_MR:
        found.unplaced.append(Unplaced(entry.name, "of an enhanced multi-frame kind without functional groups", header))
        return
    _place(header, entry.name, voxels, None, found)


def _place(header: Dataset, name: str, voxels: VoxelFile, frame: int | None, found: FoundImages) -> None:
    """Add the image if it is one with a place in the patient and one grey value a voxel."""
    try:
        if int(header.get("SamplesPerPixel") or 1) != 1:
            found.unplaced.append(Unplaced(name, "in colour", header))
            return
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if not header.get(keyword):
                found.unplaced.append(Unplaced(name, f"without {keyword}", header))
                return
        for keyword in ("Rows", "Columns", "BitsAllocated", "NumberOfFrames"):
            if int(header.get(keyword) or 1) < 1:
                raise ValueError(keyword)
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
    found.images.append(DicomImage(name, header, position, row, column, voxels, frame))


def study_of(file: Path) -> str | None:
    """Study instance UID of a DICOM image; None for any other file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        try:
            header = _header(Entry(file.name, 0, lambda: file.open("rb")))
            if header is None or header.get("Rows") is None:
                return None
            return str(header.get("StudyInstanceUID", ""))
        except Exception:  # whatever is wrong with it, whoever reads it says so
            return None
