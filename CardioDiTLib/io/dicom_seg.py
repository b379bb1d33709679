"""Segmentations of cines as DICOM SEG: one frame for each label, slice and phase, each naming the image it belongs to.

highdicom builds the objects of single phases; it refuses positions that come again with every phase, so the phases are
brought together here, with the temporal position as one more dimension (DICOM PS3.3 A.51, C.7.6.17). Frames of an
enhanced multi-frame image are handed to it as if each were an image, and named by instance and frame number afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.io.dicom_frames import frame_headers, frame_number, put
from CardioDiTLib.io.dicom_image import number_of
from CardioDiTLib.io.dicom_write import (
    CLASSIC_MR,
    add_provenance,
    read_frame_times,
    read_provenance,
    slices_go_down,
    uid_of,
)
from CardioDiTLib.io.frame_times import LPS_TO_RAS, RawFrames, assumed_times, encode_meta, given_times
from CardioDiTLib.io.memory import check_size
from CardioDiTLib.version import __version__

if TYPE_CHECKING:
    import highdicom

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
_TEMPORAL_POSITION_INDEX = 0x00209128
_FRAME_CONTENT = 0x00209111

SEGMENTS: dict[int, tuple[str, str, str]] = {
    1: ("RV cavity", "53085002", "Right ventricle"),
    2: ("LV myocardium", "74281007", "Myocardium"),
    3: ("LV cavity", "87878005", "Left ventricle"),
}
"""Name, and the code and meaning in SNOMED CT, of each label."""


def highdicom_or_hint() -> Any:
    """The package highdicom.

    Raises:
        CardioDiTError: It is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise CardioDiTError(
            "DICOM segmentations and reports need the package highdicom.", "Run: pip install CardioDiTLib[dicom]"
        ) from error
    return highdicom


def segmentation_dataset(segmentation: Segmentation, images: Sequence[Sequence[Dataset]]) -> Dataset:
    """A SEG object of a segmentation.

    Args:
        segmentation: (T, Z, Y, X).
        images: ``[z][t]``, the headers of the images that were segmented, or of the frames of multi-frame ones
            (`io.dicom.dicom_headers`), in the segmentation's order.

    Returns:
        The object, of type BINARY.

    Raises:
        CardioDiTError: Another number of slices, frames or pixels, or highdicom is missing.
    """
    hd = highdicom_or_hint()
    check_images(segmentation.shape, images)
    parts = [_phase(hd, segmentation, [frames[t] for frames in images], t) for t in range(segmentation.n_frames)]
    whole = parts[0]
    frames, voxels = [], []
    multi_frame = {_frame_uid(one): one for sources in images for one in sources if frame_number(one) is not None}
    for t, part in enumerate(parts):
        # the bits of a phase may end within a byte, so frames are unpacked and packed again
        voxels.append(np.asarray(part.pixel_array).reshape(-1, *segmentation.shape[2:]))
        for frame in part.PerFrameFunctionalGroupsSequence:
            content = frame.FrameContentSequence[0]
            content.TemporalPositionIndex = t + 1
            content.DimensionIndexValues = [*content.DimensionIndexValues, t + 1]
            for derivation in frame.DerivationImageSequence if multi_frame else ():
                for source in derivation.SourceImageSequence:
                    if "ReferencedFrameNumber" in source:  # frames of several labels share the item
                        continue
                    _name_frame(source, multi_frame[str(source.ReferencedSOPInstanceUID)])
            frames.append(frame)
    temporal = Dataset()
    temporal.DimensionOrganizationUID = whole.DimensionIndexSequence[0].DimensionOrganizationUID
    temporal.DimensionIndexPointer = _TEMPORAL_POSITION_INDEX
    temporal.FunctionalGroupPointer = _FRAME_CONTENT
    temporal.DimensionDescriptionLabel = "Temporal Position Index"
    whole.DimensionIndexSequence.append(temporal)
    whole.PerFrameFunctionalGroupsSequence = frames
    whole.NumberOfFrames = len(frames)
    whole.ReferencedSeriesSequence = _referenced(image for sources in images for image in sources)
    bits = np.packbits(np.concatenate(voxels).astype(np.uint8).ravel(), bitorder="little").tobytes()
    whole.PixelData = bits + b"\0" * (len(bits) % 2)
    if "DimensionOrganizationType" in whole:
        del whole.DimensionOrganizationType
    if segmentation.meta.get("synthetic"):
        whole.SyntheticData = "YES"
    add_provenance(whole, segmentation)
    return whole


def write_segmentation_dicom(segmentation: Segmentation, images: Sequence[Sequence[Dataset]], path: Path) -> None:
    """Write :func:`segmentation_dataset` to a file."""
    dataset = segmentation_dataset(segmentation, images)
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def check_images(shape: tuple[int, int, int, int], images: Sequence[Sequence[Dataset]]) -> None:
    """Refuse images that are not those of an array (T, Z, Y, X)."""
    t, z, y, x = shape
    sizes = {(int(image.Rows), int(image.Columns)) for frames in images for image in frames}
    if len(images) != z or {len(frames) for frames in images} != {t} or sizes != {(y, x)}:
        raise CardioDiTError(
            f"The labels have {z} slices, {t} frames and {y} x {x} pixels, the DICOM images are others.",
            "Give the DICOM folder that the cine was read from.",
        )
    if len({(str(image.SOPInstanceUID), frame_number(image)) for frames in images for image in frames}) != t * z:
        raise CardioDiTError(
            "The DICOM images share their identifiers, so that none can be referred to.",
            "Export the series again from the scanner or the archive.",
        )


def _phase(hd: Any, segmentation: Segmentation, sources: list[Dataset], t: int) -> highdicom.seg.Segmentation:
    from pydicom.sr.coding import Code

    algorithm = hd.AlgorithmIdentificationSequence(
        name="CardioDiT segmentation",
        family=Code("123109", "DCM", "Artificial Intelligence"),
        version=__version__,
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=label,
            segment_label=name,
            segmented_property_category=Code("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=Code(code, "SCT", meaning),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for label, (name, code, meaning) in SEGMENTS.items()
    ]
    identity = f"{sources[0].get('SOPInstanceUID')}{encode_meta(segmentation.meta)}{segmentation.array.tobytes()!r}"
    return hd.seg.Segmentation(
        source_images=[_in_one_series(source, sources[0]) for source in sources],
        pixel_array=np.ascontiguousarray(segmentation.array[t]),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=uid_of(f"{identity}.seg.series"),
        series_number=900,
        sop_instance_uid=uid_of(f"{identity}.seg"),
        instance_number=1,
        manufacturer="CardioDiT",
        manufacturer_model_name="CardioDiT",
        software_versions=__version__,
        device_serial_number="0",
        omit_empty_frames=False,
        series_description="Ventricles and myocardium",
        content_label="HEART",
    )


def completed(source: Dataset) -> Dataset:
    """A header with the attributes of patient and study that every object must have, empty where it lacks them."""
    copy = Dataset()
    copy.update(source)
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
        *("StudyDate", "StudyTime", "ReferringPhysicianName"),
    ):
        if keyword not in copy:
            setattr(copy, keyword, "")
    return copy


def _in_one_series(source: Dataset, first: Dataset) -> Dataset:
    """A header as of one series and frame of reference, which highdicom asks for; a cine may have a series a slice."""
    copy = completed(source)
    put(copy, "SeriesInstanceUID", first.SeriesInstanceUID)
    put(copy, "FrameOfReferenceUID", first.get("FrameOfReferenceUID") or uid_of(f"{first.StudyInstanceUID}.frame"))
    if frame_number(source) is not None:
        put(copy, "SOPInstanceUID", _frame_uid(source))
        put(copy, "SOPClassUID", CLASSIC_MR)
        del copy.NumberOfFrames
    return copy


def _frame_uid(frame: Dataset) -> str:
    """What a frame of a multi-frame image is called while highdicom takes it for an image."""
    return str(uid_of(f"{frame.SOPInstanceUID}.{frame_number(frame)}"))


def _name_frame(reference: Dataset, frame: Dataset) -> None:
    """Let a reference name a frame of a multi-frame image (DICOM PS3.3 10.3)."""
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = frame.SOPClassUID, frame.SOPInstanceUID
    reference.ReferencedFrameNumber = frame_number(frame)


def _referenced(images: Iterable[Dataset]) -> list[Dataset]:
    """The images by series, each once."""
    series: dict[str, Dataset] = {}
    for image in {str(image.SOPInstanceUID): image for image in images}.values():
        uid = str(image.SeriesInstanceUID)
        if uid not in series:
            series[uid] = Dataset()
            series[uid].SeriesInstanceUID, series[uid].ReferencedInstanceSequence = uid, []
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        series[uid].ReferencedInstanceSequence.append(item)
    return list(series.values())


# ---------------------------------------------------------------------------------------------- reading


def is_segmentation_file(path: Path) -> bool:
    """Whether a file is a DICOM SEG object."""
    try:
        header = pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        return str(header.get("SOPClassUID", "")) == SEG_CLASS
    except Exception:  # whatever is wrong with it, it is none
        return False


def read_segmentation_dicom(path: Path, *, frame_interval_s: float | None = None) -> RawFrames:
    """Read a DICOM SEG object of a heart: its segments are known by their codes, else by their numbers.

    Frames are placed by position and temporal position; pixels that lie in two segments belong to the later one.

    Args:
        path: The file.
        frame_interval_s: Seconds between frames, whatever the file says.

    Raises:
        CardioDiTError: Damaged, fractional, or its frames do not make a stack.
    """
    damaged = CardioDiTError(f"'{path.name}' is truncated or damaged.", "Copy or export the file again.")
    try:
        data = pydicom.dcmread(path)
        if data.SegmentationType != "BINARY":
            raise CardioDiTError(f"'{path.name}' is a fractional segmentation.", "Export it as a binary one.")
        count = int(data.NumberOfFrames)
        check_size(path.name, (int(data.Columns), int(data.Rows), count), 1)
        pixels = np.asarray(data.pixel_array).reshape(count, int(data.Rows), int(data.Columns))
        headers = list(frame_headers(data))
        numbers = [
            int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            for groups in data.PerFrameFunctionalGroupsSequence
        ]
        if len(numbers) != count:
            raise damaged
        meanings = {int(item.SegmentNumber): _label_of(item) for item in data.SegmentSequence}
        positions = np.array([header.ImagePositionPatient for header in headers], dtype=np.float64)
        orientation = np.array(headers[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        between_rows, between_columns = (float(value) for value in headers[0].PixelSpacing)
        times = [int(header.get("TemporalPositionIdentifier") or 1) for header in headers]
    except CardioDiTError:
        raise
    except Exception as error:  # pydicom raises whatever the damage leads to
        raise damaged from error
    normal = np.cross(*orientation)
    heights = np.round(positions @ normal, 2)
    levels, slices = np.unique(heights, return_inverse=True)
    moments, frames = np.unique(times, return_inverse=True)
    array = np.zeros((len(moments), len(levels), *pixels.shape[1:]), np.uint8)
    for mask, number, z, t in zip(pixels, numbers, slices, frames, strict=True):
        array[t, z][mask > 0] = meanings.get(number, 0)
    gaps = np.diff(levels)
    if len(gaps) and np.abs(gaps - np.median(gaps)).max() > 0.1 * np.median(gaps):
        raise CardioDiTError(f"The slices of '{path.name}' are not evenly spaced.", "Export the whole segmentation.")
    step = float(gaps.mean()) if len(gaps) else abs(number_of(headers[0], "SpacingBetweenSlices") or 0.0)
    step = step or abs(number_of(headers[0], "SliceThickness") or 0.0)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([orientation[0] * between_columns, orientation[1] * between_rows, normal * step], axis=1)
    affine[:3, 3] = positions[int(heights.argmin())]
    affine = LPS_TO_RAS @ affine
    meta = read_provenance(data)
    meta["source_format"] = "dicom"
    if slices_go_down(data):
        array = np.ascontiguousarray(array[:, ::-1])
        affine[:3, 3] += affine[:3, 2] * (len(levels) - 1)
        affine[:3, 2] *= -1.0
    if frame_interval_s is not None:
        return RawFrames(array, affine, given_times(frame_interval_s, len(moments), meta), meta)
    own = read_frame_times(data)
    if len(own) == len(moments):
        return RawFrames(array, affine, np.asarray(own), meta)
    return RawFrames(array, affine, assumed_times(len(moments), meta), meta)


def _label_of(segment: Dataset) -> int:
    codes = [item.get("CodeValue") for item in segment.get("SegmentedPropertyTypeCodeSequence", [])]
    for label, (_, code, _) in SEGMENTS.items():
        if code in codes:
            return label
    number = int(segment.SegmentNumber)
    return number if number in SEGMENTS else 0
