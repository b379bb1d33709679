"""Cines as DICOM: classic MR images, or one enhanced multi-frame image; synthetic ones cannot be mistaken for patients.

A synthetic cine says so where any program looks: the patient is called ``SYNTHETIC^NOT A PATIENT``, Synthetic Data
(0008,001C) is YES, Image Type holds DERIVED and SYNTHETIC, and the derivation names the model. Identifiers are made of
the content (2.25 and a hash, PS3.5 B.2), so that the same cine gives the same files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.io.frame_times import LPS_TO_RAS, decode_meta, encode_meta
from CardioDiTLib.schema import parse_json
from CardioDiTLib.version import __version__

CLASSIC_MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
PRIVATE_CREATOR = "CARDIODIT"
"""Of the private block (0071,xx00): element 01 holds the provenance, 02 the frame times in seconds, as JSON,
03 whether the affine was right- (1) or left-handed (-1)."""

_PRIVATE_GROUP = 0x0071
_SYNTHETIC_PATIENT = "SYNTHETIC^NOT A PATIENT"
_NO_NAME = "UNKNOWN^UNKNOWN"
_FILE_NAME = "IM{:05d}.dcm"


def write_dicom(cine: Cine, folder: Path) -> None:
    """Write a folder of classic MR images: one series, one instance for each slice and frame.

    Float values that are not whole numbers are stored in 16 bits with a rescale slope, (largest - smallest) / 65535.

    Args:
        cine: What to write.
        folder: Made; replaced only where all it holds are files of this kind.

    Raises:
        CardioDiTError: The folder holds other files, or cannot be written.
    """
    _write_folder(folder, ((_FILE_NAME.format(n), one) for n, one in enumerate(classic_images(cine), start=1)))


def write_enhanced_dicom(cine: Cine, path: Path) -> None:
    """Write one enhanced MR image with a frame for each slice and frame of the cine.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    image = enhanced_image(cine)
    with atomic_path(path) as temporary:
        image.save_as(temporary, enforce_file_format=True)


def classic_images(cine: Cine) -> Iterator[FileDataset]:
    """The images of :func:`write_dicom`, slice by slice, each with all frames."""
    stored, slope, intercept = _stored(cine)
    identity = _identity(cine)
    lps = LPS_TO_RAS @ cine.affine
    for z in range(cine.n_slices):
        for t in range(cine.n_frames):
            number = z * cine.n_frames + t + 1
            image = _file(CLASSIC_MR, f"{identity}.{number}")
            _common(image, cine, identity, stored.dtype)
            image.ImageType = _image_type(cine)
            image.InstanceNumber = number
            image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "RM", "NONE", "CG"
            image.MRAcquisitionType, image.EchoTrainLength = "2D", None
            image.RepetitionTime = _ds_or_none(cine.meta.get("repetition_time_ms"))
            image.EchoTime = _ds_or_none(cine.meta.get("echo_time_ms"))
            image.TriggerTime = _ds(1000.0 * cine.frame_times[t])
            image.NominalInterval = round(1000.0 * cine.cycle_s)
            image.CardiacNumberOfImages = cine.n_frames
            image.TemporalPositionIdentifier, image.NumberOfTemporalPositions = t + 1, cine.n_frames
            image.ImagePositionPatient = [_ds(value) for value in _position(lps, z)]
            image.ImageOrientationPatient = [_ds(value) for value in _orientation(lps, cine)]
            image.PixelSpacing = [_ds(cine.spacing[1]), _ds(cine.spacing[0])]
            image.SliceThickness = _ds(_thickness(cine))
            image.SpacingBetweenSlices = _ds(cine.spacing[2])
            if (slope, intercept) != (1.0, 0.0):
                image.RescaleIntercept, image.RescaleSlope, image.RescaleType = _ds(intercept), _ds(slope), "US"
            image.PixelData = np.ascontiguousarray(stored[t, z]).tobytes()
            add_provenance(image, cine)
            yield image


def enhanced_image(cine: Cine) -> FileDataset:
    """The image of :func:`write_enhanced_dicom`."""
    stored, slope, intercept = _stored(cine)
    identity = _identity(cine)
    lps = LPS_TO_RAS @ cine.affine
    image = _file(ENHANCED_MR, f"{identity}.enhanced")
    _common(image, cine, identity, stored.dtype)
    kind = ["DERIVED", "PRIMARY", "CINE" if not cine.meta.get("synthetic") else "SYNTHETIC", "NONE"]
    image.ImageType, image.InstanceNumber = kind, 1
    image.PixelPresentation, image.VolumetricProperties = "MONOCHROME", "VOLUME"
    image.VolumeBasedCalculationTechnique, image.ComplexImageComponent = "NONE", "MAGNITUDE"
    image.AcquisitionContrast, image.ContentQualification = "UNKNOWN", "RESEARCH"
    image.BurnedInAnnotation, image.LossyImageCompression, image.PresentationLUTShape = "NO", "00", "IDENTITY"
    image.AcquisitionContextSequence = []
    image.ContentDate, image.ContentTime = "19000101", "000000"
    image.InstanceNumber = 1
    image.NumberOfFrames = cine.n_slices * cine.n_frames
    dimension = uid_of(f"{identity}.dimensions")
    image.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=dimension)]
    image.DimensionIndexSequence = [
        _item(DimensionOrganizationUID=dimension, DimensionIndexPointer=pointer, FunctionalGroupPointer=0x00209111)
        for pointer in (0x00209057, 0x00209128)  # in-stack position, temporal position
    ]
    rescale = _item(RescaleIntercept=_ds(intercept), RescaleSlope=_ds(slope), RescaleType="US")
    image.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[
                _item(
                    PixelSpacing=[_ds(cine.spacing[1]), _ds(cine.spacing[0])],
                    SliceThickness=_ds(_thickness(cine)),
                    SpacingBetweenSlices=_ds(cine.spacing[2]),
                )
            ],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=[_ds(v) for v in _orientation(lps, cine)])],
            PixelValueTransformationSequence=[rescale],
            FrameAnatomySequence=[
                _item(
                    FrameLaterality="U",
                    AnatomicRegionSequence=[_code("80891009", "SCT", "Heart")],
                )
            ],
            MRImageFrameTypeSequence=[
                _item(
                    FrameType=kind,
                    PixelPresentation="MONOCHROME",
                    VolumetricProperties="VOLUME",
                    VolumeBasedCalculationTechnique="NONE",
                    ComplexImageComponent="MAGNITUDE",
                    AcquisitionContrast="UNKNOWN",
                )
            ],
        )
    ]
    frames = []
    for z in range(cine.n_slices):
        for t in range(cine.n_frames):
            frames.append(
                _item(
                    FrameContentSequence=[
                        _item(
                            StackID="1",
                            InStackPositionNumber=z + 1,
                            TemporalPositionIndex=t + 1,
                            DimensionIndexValues=[z + 1, t + 1],
                        )
                    ],
                    PlanePositionSequence=[_item(ImagePositionPatient=[_ds(v) for v in _position(lps, z)])],
                    CardiacSynchronizationSequence=[
                        _item(
                            NominalCardiacTriggerDelayTime=1000.0 * float(cine.frame_times[t]),
                            RRIntervalTimeNominal=1000.0 * cine.cycle_s,
                        )
                    ],
                )
            )
    image.PerFrameFunctionalGroupsSequence = frames
    image.CardiacSynchronizationTechnique, image.CardiacSignalSource = "RETROSPECTIVE", "ECG"
    image.PixelData = np.ascontiguousarray(np.moveaxis(stored, 1, 0)).tobytes()
    add_provenance(image, cine)
    return image


def read_provenance(header: Dataset) -> dict[str, Any]:
    """What :func:`write_dicom` left in a header, and whether any maker says that the image is synthetic."""
    meta: dict[str, Any] = {}
    try:
        block = header.private_block(_PRIVATE_GROUP, PRIVATE_CREATOR)
        value = block[0x01].value
        meta = decode_meta(value.decode("utf-8") if isinstance(value, bytes) else str(value))
    except (KeyError, UnicodeDecodeError, RecursionError):
        pass
    if str(header.get("SyntheticData", "")).strip().upper() == "YES":
        meta["synthetic"] = True
    return meta


def read_frame_times(header: Dataset) -> list[float]:
    """The exact frame times that :func:`add_provenance` left; empty where there are none."""
    try:
        value = header.private_block(_PRIVATE_GROUP, PRIVATE_CREATOR)[0x02].value
        times = parse_json(value.decode("ascii") if isinstance(value, bytes) else str(value))
    except (KeyError, ValueError):
        return []
    sound = isinstance(times, list) and all(isinstance(time, int | float) for time in times)
    return [float(time) for time in times] if sound else []


def slices_go_down(header: Dataset) -> bool:
    """Whether :func:`write_dicom` wrote a cine whose slices run against (row direction) x (column direction)."""
    try:
        return str(header.private_block(_PRIVATE_GROUP, PRIVATE_CREATOR)[0x03].value).strip() == "-1"
    except KeyError:
        return False


# ---------------------------------------------------------------------------------------------- parts


def _common(image: FileDataset, cine: Cine, identity: str, dtype: Any) -> None:
    """Patient, study, series, equipment, pixels."""
    synthetic = bool(cine.meta.get("synthetic"))
    short = hashlib.sha256(identity.encode()).hexdigest()[:12].upper()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.PatientName = _SYNTHETIC_PATIENT if synthetic else _NO_NAME
    image.PatientID = f"{'SYNTHETIC' if synthetic else 'UNKNOWN'}-{short}"
    image.PatientBirthDate = image.PatientSex = ""
    if synthetic:
        image.PatientComments = "Synthetic images made by a model. This is not a patient."
        image.SyntheticData = "YES"
    image.StudyInstanceUID, image.SeriesInstanceUID = uid_of(f"{identity}.study"), uid_of(f"{identity}.series")
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = uid_of(f"{identity}.frame"), ""
    image.StudyDate = image.StudyTime = image.StudyID = image.AccessionNumber = ""
    image.ReferringPhysicianName = ""
    image.StudyDescription = "SYNTHETIC cine, no patient" if synthetic else "Cine"
    image.SeriesDescription = "SYNTHETIC short-axis cine" if synthetic else "Short-axis cine"
    image.SeriesNumber, image.AcquisitionNumber, image.Modality = 1, None, "MR"
    image.BodyPartExamined, image.Laterality, image.PatientPosition = "HEART", "", "HFS"
    image.Manufacturer, image.ManufacturerModelName = "CardioDiT", "CardioDiT"
    image.DeviceSerialNumber, image.SoftwareVersions = "0", __version__
    image.BurnedInAnnotation = "NO"
    image.DerivationDescription = _derivation(cine)
    image.ContributingEquipmentSequence = [
        _item(
            PurposeOfReferenceCodeSequence=[_code("109102", "DCM", "Processing Equipment")],
            Manufacturer="CardioDiT",
            ManufacturerModelName=str(cine.meta.get("model") or "CardioDiT")[:64],
            SoftwareVersions=__version__,
            ContributionDescription=_derivation(cine)[:1024],
        )
    ]
    rate = 60.0 / cine.cycle_s
    if 20.0 <= rate <= 300.0 and not cine.meta.get("frame_times_assumed") and not synthetic:
        image.HeartRate = round(rate)
    image.Rows, image.Columns = cine.shape[2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = int(np.dtype(dtype).kind == "i")
    values = cine.array
    low, high = float(values.min()), float(values.max())
    image.WindowCenter, image.WindowWidth = _ds((low + high) / 2.0), _ds(max(high - low, 1.0))


def _image_type(cine: Cine) -> list[str]:
    return ["DERIVED", "SECONDARY", "OTHER", *(["SYNTHETIC"] if cine.meta.get("synthetic") else [])]


def _derivation(cine: Cine) -> str:
    if not cine.meta.get("synthetic"):
        return f"Converted by CardioDiT {__version__}."
    model = str(cine.meta.get("model") or "a model")
    return f"SYNTHETIC: made by {model} with CardioDiT {__version__}; no patient, frame times are nominal."


def add_provenance(image: Dataset, cine: Cine | Segmentation) -> None:
    """Add the private block of :data:`PRIVATE_CREATOR` to an object."""
    block = image.private_block(_PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "UT", encode_meta(cine.meta))
    block.add_new(0x02, "UT", json.dumps(cine.frame_times.tolist()))
    block.add_new(0x03, "SH", "-1" if np.linalg.det(cine.affine[:3, :3]) < 0 else "1")


def _stored(cine: Cine) -> tuple[NDArray[Any], float, float]:
    """16-bit values, slope and intercept."""
    array = cine.array
    if array.dtype == np.int16:
        return array.astype("<i2", copy=False), 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    if low >= -32768 and high <= 32767 and bool((array == np.rint(array)).all()):
        return array.astype("<i2"), 1.0, 0.0
    # what a header can hold is what is used
    slope = float(format_number_as_ds((high - low) / 65535.0))
    intercept = float(format_number_as_ds(low))
    stored = np.rint((array.astype(np.float64) - intercept) / slope).clip(0, 65535)
    return stored.astype("<u2"), slope, intercept


def _identity(cine: Cine) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(cine.array).tobytes())
    digest.update(cine.affine.tobytes() + cine.frame_times.tobytes() + encode_meta(cine.meta).encode("ascii"))
    return digest.hexdigest()


def uid_of(text: str) -> UID:
    """An identifier below 2.25 made of a text; the same text gives the same one."""
    return UID(f"2.25.{uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4).int}")


def _file(sop_class: str, identity: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = uid_of(identity)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid_of("CardioDiT")
    meta.ImplementationVersionName = "CARDIODIT"
    image = FileDataset("", {}, b"\0" * 128, meta)
    image.SOPClassUID, image.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    return image


def _item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters, as exact as these allow."""
    return format_number_as_ds(float(value) + 0.0)


def _ds_or_none(value: object) -> str | None:
    return _ds(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _position(lps: NDArray[np.float64], z: int) -> NDArray[np.float64]:
    return np.asarray(lps[:3, 2] * z + lps[:3, 3])


def _orientation(lps: NDArray[np.float64], cine: Cine) -> NDArray[np.float64]:
    directions = lps[:3, :3] / np.asarray(cine.spacing)
    return np.concatenate([directions[:, 0], directions[:, 1]])


def _thickness(cine: Cine) -> float:
    value = cine.meta.get("slice_thickness_mm")
    return float(value) if isinstance(value, int | float) and value > 0 else cine.spacing[2]


def _write_folder(folder: Path, files: Iterator[tuple[str, FileDataset]]) -> None:
    """The folder appears whole or not at all."""
    if folder.exists() and not _is_ours(folder):
        raise CardioDiTError(f"'{folder}' is there already and holds other files.", "Choose another name.")
    temporary = folder.with_name(f".cardiodit-{uuid.uuid4().hex[:12]}")
    old = folder.with_name(f".cardiodit-{uuid.uuid4().hex[:12]}")
    try:
        temporary.mkdir(parents=True)
        for name, image in files:
            image.save_as(temporary / name, enforce_file_format=True)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise CardioDiTError(
            f"'{folder}' could not be written: {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty, or all that it holds has the names that are written here."""
    return folder.is_dir() and all(
        path.is_file() and path.name.startswith("IM") and path.suffix == ".dcm" and path.stem[2:].isdigit()
        for path in folder.iterdir()
    )
