"""A cine out of DICOM images, classic or enhanced multi-frame: slices found by position, frames by trigger time.

Nothing is taken from file names, from the order of files, or from how images are shared out over series: a series a
slice, a phase or an image, one for all slices and mixtures are read alike. Names and identifiers of patients are never
kept. Images that cannot be used are counted, and where the stack would lose slices for it, it is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.dicom_files import FoundImages, Unplaced, dicom_images
from CardioDiTLib.io.dicom_image import DicomImage
from CardioDiTLib.io.dicom_order import frame_times_of, heart_period_s, sorted_frames
from CardioDiTLib.io.dicom_stacks import (
    NEARLY_PARALLEL,
    Stack,
    chosen_stack,
    complete_stack,
    refuse_or_note,
    wanted_images,
)
from CardioDiTLib.io.dicom_write import read_provenance, slices_go_down
from CardioDiTLib.io.frame_times import LPS_TO_RAS, RawFrames, add_note, given_times
from CardioDiTLib.io.memory import check_size

_DRIFT_MM = 0.1
"""Drift within a slice that is told."""
_UNEVEN_SPACING = 0.1  # of the usual distance between slices
_SHIFTED_SLICE_MM = 1.0


def read_dicom(
    path: Path,
    *,
    frame_interval_s: float | None = None,
    series_uid: str | Sequence[str] | None = None,
    allow_incomplete: bool = False,
) -> RawFrames:
    """Read a short-axis cine from a folder, a zip file or a multi-frame file of DICOM images.

    Images that are parallel, of one size and of one study form stacks; no position is taken twice in a stack. The stack
    with most images is read, ``meta["notes"]`` names what was left out, ``meta["files"]`` counts what was seen, used
    and passed over. Frames are sorted by trigger time, and where that is not given by the next of: nominal trigger
    delay, temporal position, content time, acquisition time, instance number. z rises along (row direction) x (column
    direction), so that the axes are right-handed.

    The time of a frame is the mean over the slices of its time after the slice's first frame: each slice is a
    breath-hold of its own with its own heart rate, and the mean keeps the cine's cycle at their mean.

    Args:
        path: Folder (searched to the bottom), zip file, or one multi-frame file.
        frame_interval_s: Seconds between frames, whatever the headers say.
        series_uid: Read only this series, or these.
        allow_incomplete: Leave slices out that have another number of frames than most, or that cannot be placed.

    Raises:
        CardioDiTError: No images, no cine, two stacks of equal size, slices with different numbers of frames, slices
            that would be lost, unevenly spaced or shifted slices, damaged or unreadable files.
    """
    with dicom_images(path) as found:
        if not found.images:
            raise CardioDiTError(*_nothing_found(path, found))
        meta: dict[str, Any] = {"source_format": "dicom"}
        if found.unreadable:
            refuse_or_note(found.unreadable[0].rstrip("."), len(found.unreadable), allow_incomplete, meta)
        stack = chosen_stack(wanted_images(found.images, series_uid, meta), series_uid, allow_incomplete, meta)
        _judge_unplaced(found.unplaced, stack, series_uid, allow_incomplete, meta)
        stack = complete_stack(stack, allow_incomplete, meta)
        meta["files"] = _counted(found, stack)
        order = sorted_frames(stack, meta)
        affine = _affine(order, meta)
        if frame_interval_s is None:
            times = frame_times_of(order, meta)
            _describe(order, meta)
        else:
            _describe(order, meta)  # first: what our own files say of their times is not said of those given
            times = given_times(frame_interval_s, len(order[0]), meta)
        array = _voxels(order)
        if slices_go_down(order[0][0].header):  # our own file: as it was written
            array = np.ascontiguousarray(array[:, ::-1])
            affine[:3, 3] += affine[:3, 2] * (len(order) - 1)
            affine[:3, 2] *= -1.0
    return RawFrames(array, affine, times, meta)


def dicom_headers(
    path: Path, *, series_uid: str | Sequence[str] | None = None, allow_incomplete: bool = False
) -> list[list[Dataset]]:
    """``[z][t]``: headers of the images that :func:`read_dicom` would read, in its order, identity included.

    Args:
        path: As for :func:`read_dicom`.
        series_uid: As for :func:`read_dicom`.
        allow_incomplete: As for :func:`read_dicom`.

    Raises:
        CardioDiTError: As for :func:`read_dicom`.
    """
    with dicom_images(path) as found:
        if not found.images:
            raise CardioDiTError(*_nothing_found(path, found))
        meta: dict[str, Any] = {}
        stack = chosen_stack(wanted_images(found.images, series_uid, meta), series_uid, allow_incomplete, meta)
        order = sorted_frames(complete_stack(stack, allow_incomplete, meta), meta)
        if slices_go_down(order[0][0].header):
            order = order[::-1]
        return [[image.header for image in frames] for frames in order]


# ---------------------------------------------------------------------------------------------- what was there


def _nothing_found(path: Path, found: FoundImages) -> tuple[str, str]:
    """Sentence and hint where no image has a place."""
    if found.unreadable:
        return f"{found.unreadable[0].rstrip('.')}, and '{path.name}' holds no other images.", "Check its permissions."
    if found.unplaced:
        reasons = Counter(one.reason for one in found.unplaced)
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        return (
            f"'{path.name}' holds {len(found.unplaced)} images, none of which can be placed in space: {said}.",
            "Export the series again from the scanner or the archive, or convert it to NIfTI with dcm2niix.",
        )
    return (
        f"'{path.name}' holds no DICOM images with a position ({found.seen} files were looked at).",
        "Give a folder or zip of a cine MRI series.",
    )


def _judge_unplaced(
    unplaced: list[Unplaced],
    stack: Stack,
    series_uid: str | Sequence[str] | None,
    allowed: bool,
    meta: dict[str, Any],
) -> None:
    """Images without a place: refuse where they belong to the stack, else say that they are there."""
    series = set(stack.series)
    lost = [one for one in unplaced if _belongs(one.header, stack, series, series_uid is not None)]
    if lost:
        reasons = Counter(one.reason for one in lost)
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        refuse_or_note(f"Images of this cine cannot be placed in space: {said} ('{lost[0].name}')", 1, allowed, meta)
    rest = Counter(one.reason for one in unplaced if not any(one is other for other in lost))
    for reason, count in rest.items():
        add_note(meta, f"{count} image{'s' * (count > 1)} {reason} {'were' if count > 1 else 'was'} left out.")


def _belongs(header: Dataset, stack: Stack, series: set[str], series_asked: bool) -> bool:
    """Whether an image without a place is likely one of the stack's."""
    if str(header.get("SeriesInstanceUID", "")) in series:
        return True
    first = stack.slices[0][0]
    if series_asked or header.get("StudyInstanceUID") != first.header.get("StudyInstanceUID"):
        return False
    orientation = header.get("ImageOrientationPatient")
    if orientation is not None and len(orientation) == 6:
        row, column = np.array(orientation, dtype=np.float64).reshape(2, 3)
        return bool(
            np.allclose(row, first.row, atol=NEARLY_PARALLEL)
            and np.allclose(column, first.column, atol=NEARLY_PARALLEL)
        )
    return bool(
        header.get("SeriesDescription")
        and header.get("SeriesDescription") == first.header.get("SeriesDescription")
        and (header.get("Rows"), header.get("Columns")) == (first.header.Rows, first.header.Columns)
    )


def _counted(found: FoundImages, stack: Stack) -> dict[str, Any]:
    """How many files and images were seen, used and passed over, and why."""
    used = {id(image) for image in stack.images}
    passed: Counter[str] = Counter(found.others)
    passed.update(f"image {one.reason}" for one in found.unplaced)
    passed["image of another stack, or of no cine"] += sum(id(image) not in used for image in found.images)
    passed["copy of an image"] += found.copies
    passed["could not be read"] += len(found.unreadable)
    return {
        "seen": found.seen,
        "images": len(found.images) + len(found.unplaced) + found.copies,
        "used": len(used),
        "passed_over": {reason: count for reason, count in sorted(passed.items()) if count},
    }


# ---------------------------------------------------------------------------------------------- geometry, voxels


def _affine(order: list[list[DicomImage]], meta: dict[str, Any]) -> NDArray[np.float64]:
    """4x4, voxel (x, y, z) to mm in RAS."""
    axes = Stack(order).axes
    positions = np.array([np.mean([image.position for image in frames], axis=0) for frames in order])
    in_axes = (positions - positions[0]) @ axes
    drift = max(
        float(np.abs(image.position - place).max()) for frames, place in zip(order, positions) for image in frames
    )
    if drift > _DRIFT_MM:
        add_note(meta, f"Images of one slice lie up to {drift:.2g} mm from their mean position, which was taken.")
    shift = float(np.abs(in_axes[:, :2]).max())
    if shift > _SHIFTED_SLICE_MM:
        raise CardioDiTError(
            f"The slices are shifted against each other by up to {shift:.1f} mm in their plane.",
            "Such a stack is not a box of voxels; choose the slices of one planning with series_uid.",
        )
    first = order[0][0]
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array([*first.spacing, _slice_spacing(in_axes[:, 2], first)])
    affine[:3, 3] = positions[0]
    return LPS_TO_RAS @ affine


def _slice_spacing(heights: NDArray[np.float64], image: DicomImage) -> float:
    """Millimetres between neighbouring slices, from their positions; from the header where there is one slice."""
    if len(heights) == 1:
        # the sign of SpacingBetweenSlices says along which way slices are counted, no more
        spacing = abs(image.number("SpacingBetweenSlices") or image.number("SliceThickness") or 0.0)
        if not spacing:
            raise CardioDiTError(
                "The only slice of the cine says nothing of its thickness.", "Export the series with SliceThickness."
            )
        return spacing
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) > _UNEVEN_SPACING * usual:
        raise CardioDiTError(
            f"Slices {worst + 1} and {worst + 2} are {gaps[worst]:.2f} mm apart, the others {usual:.2f} mm.",
            "A slice is missing or belongs to another stack; export the whole stack, or choose series with series_uid.",
        )
    return float(gaps.mean())


def _voxels(order: list[list[DicomImage]]) -> NDArray[Any]:
    """(T, Z, Y, X), rescaled; whole numbers stay whole."""
    rescales = {image.rescale for frames in order for image in frames}
    whole = all(slope.is_integer() and intercept.is_integer() for slope, intercept in rescales)
    header = order[0][0].header
    shape = (len(order[0]), len(order), int(header.Rows), int(header.Columns))
    check_size("The cine", shape[::-1], 4)
    array = np.zeros(shape, np.int32 if whole else np.float32)
    for z, frames in enumerate(order):
        for t, image in enumerate(frames):
            values = image.values()
            array[t, z] = np.rint(values) if whole and values.dtype.kind == "f" else values
    return array


def _describe(order: list[list[DicomImage]], meta: dict[str, Any]) -> None:
    """What the scanner was and how it measured; nothing about the patient."""
    first = order[0][0]
    own = read_provenance(first.header)
    for note in own.pop("notes", []):
        add_note(meta, str(note))
    meta.update({key: value for key, value in own.items() if key not in ("source_format", "files")})
    if set(own) - {"synthetic"}:  # one of our own files: what it was made of says more than its header
        return
    texts = {"modality": "Modality", "manufacturer": "Manufacturer", "scanner_model": "ManufacturerModelName"}
    for key, keyword in texts.items():
        if first.header.get(keyword):
            meta[key] = str(first.header.get(keyword))
    numbers = {
        "magnetic_field_t": "MagneticFieldStrength",
        "repetition_time_ms": "RepetitionTime",
        "echo_time_ms": "EchoTime",
        "flip_angle_deg": "FlipAngle",
        "slice_thickness_mm": "SliceThickness",
    }
    for key, keyword in numbers.items():
        value = first.number(keyword)
        if value is not None:
            meta[key] = value
    period = heart_period_s(order)
    if period is not None and not meta.get("synthetic"):
        meta["heart_rate_bpm"] = round(60.0 / period, 1)
