"""Frames of enhanced multi-frame MR as if each were a classic image.

Position, orientation, spacing, trigger time and rescaling of a frame stand in its functional groups (DICOM PS3.3
C.7.6.16), the shared ones where the frame has none of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

ENHANCED_MR = {f"1.2.840.10008.5.1.4.1.1.4.{last}" for last in (1, 4)}
"""SOP classes: enhanced MR, legacy converted enhanced MR."""

# (functional group, attribute in it, attribute of a classic image)
_TRANSLATED = (
    ("PixelMeasuresSequence", "PixelSpacing", "PixelSpacing"),
    ("PixelMeasuresSequence", "SliceThickness", "SliceThickness"),
    ("PixelMeasuresSequence", "SpacingBetweenSlices", "SpacingBetweenSlices"),
    ("PlanePositionSequence", "ImagePositionPatient", "ImagePositionPatient"),
    ("PlaneOrientationSequence", "ImageOrientationPatient", "ImageOrientationPatient"),
    ("PixelValueTransformationSequence", "RescaleSlope", "RescaleSlope"),
    ("PixelValueTransformationSequence", "RescaleIntercept", "RescaleIntercept"),
    ("CardiacSynchronizationSequence", "ActualCardiacTriggerDelayTime", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "RRIntervalTimeNominal", "NominalInterval"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    ("FrameContentSequence", "FrameReferenceDateTime", "FrameReferenceDateTime"),
    ("MRImageFrameTypeSequence", "FrameType", "ImageType"),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
)
_DROPPED = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "PixelData")


def has_frames(header: Dataset) -> bool:
    """Whether each frame says in functional groups where it is."""
    return bool(header.get("PerFrameFunctionalGroupsSequence"))


def is_multi_frame_file(path: Path) -> bool:
    """Whether a DICOM file holds several frames."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        try:
            header = pydicom.dcmread(path, specific_tags=["NumberOfFrames"], stop_before_pixels=True)
            return int(header.get("NumberOfFrames") or 1) > 1
        except Exception:  # whatever is wrong with it, it is none
            return False


def frame_headers(header: Dataset) -> Iterator[Dataset]:
    """A classic header for each frame of an enhanced multi-frame image."""
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    common = Dataset()
    for element in header:
        if element.keyword not in _DROPPED:
            common.add(element)
    for number, groups in enumerate(header.PerFrameFunctionalGroupsSequence, start=1):
        flat = Dataset()
        flat.update(common)
        for sequence, source, target in _TRANSLATED:
            for group in (shared, groups):  # what the frame itself says comes last, so it counts
                item = None if group is None else _first(group.get(sequence))
                value = None if item is None else item.get(source)
                if value is not None:
                    put(flat, target, value)
        if flat.get("NominalCardiacTriggerDelayTime") is not None:
            put(flat, "TriggerTime", flat.NominalCardiacTriggerDelayTime)
        put(flat, "InstanceNumber", number)
        yield flat


def frame_number(header: Dataset) -> int | None:
    """Number, from 1, of the frame that a header of :func:`frame_headers` is of; None for that of a classic image."""
    return int(header.InstanceNumber) if int(header.get("NumberOfFrames") or 1) > 1 else None


def put(dataset: Dataset, keyword: str, value: object) -> None:
    """Set an attribute as a new element: elements are shared between copies of a dataset."""
    tag = tag_for_keyword(keyword)
    if tag is not None:
        dataset.add_new(tag, dictionary_VR(tag), value)


def _first(sequence: object) -> Dataset | None:
    return sequence[0] if sequence else None  # type: ignore[index]
