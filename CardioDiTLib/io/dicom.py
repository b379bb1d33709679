"""A cine out of classic DICOM images (one file an image): slices found by position, frames by trigger time.

Nothing is taken from file names, from the order of files, or from how images are shared out over series: a series a
slice, a series for all slices and mixtures are read alike. Names and identifiers of patients are never kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.dicom_files import DicomImage, dicom_images
from CardioDiTLib.io.frame_times import add_note, assumed_times, given_times
from CardioDiTLib.io.geometry import LPS_TO_RAS
from CardioDiTLib.io.raw_frames import RawFrames

_SAME_POSITION_MM = 0.1
_SAME_DIRECTION = 1e-3
_UNEVEN_SPACING = 0.1  # of the usual distance between slices
_SHIFTED_SLICE_MM = 1.0
_SERIES_HINT = "Choose a series with series_uid, or give a folder that holds one stack of short-axis cine images only."


@dataclass(frozen=True, eq=False)
class _Stack:
    """Parallel images of one size: ``slices[z]`` holds the images at one position, in no order yet."""

    slices: list[list[DicomImage]]

    @property
    def images(self) -> list[DicomImage]:
        return [image for images in self.slices for image in images]

    @property
    def series(self) -> list[str]:
        return sorted({image.series for image in self.images})

    @property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3) with the unit vectors of x, y, z in LPS as columns, at right angles."""
        row = np.mean([image.row for image in self.images], axis=0)
        row /= np.linalg.norm(row)
        column = np.mean([image.column for image in self.images], axis=0)
        if abs(row @ column) > np.linalg.norm(column) * 1e-2:
            raise CardioDiTError(
                "Rows and columns of the DICOM images are not at right angles.", "Export the series again."
            )
        column -= (row @ column) * row  # headers give six decimals, so the angle is right to that only
        column /= np.linalg.norm(column)
        return np.stack([row, column, np.cross(row, column)], axis=1)

    def describe(self) -> str:
        counts = sorted({len(images) for images in self.slices})
        frames = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return f"{len(self.slices)} slice{'s' * (len(self.slices) > 1)} of {frames} frames (series {self.series[0]})"


def read_dicom(
    path: Path,
    *,
    frame_interval_s: float | None = None,
    series_uid: str | Sequence[str] | None = None,
    allow_incomplete: bool = False,
) -> RawFrames:
    """Read a short-axis cine from a folder or a zip file of classic DICOM images.

    Images that are parallel, of one size and of one study form stacks; no position is taken twice in a stack. The stack
    with most images is read, ``meta["notes"]`` names what was left out. Frames are sorted by trigger time, and where
    that is not given by the next of: nominal trigger delay, temporal position, content time, acquisition time, instance
    number. z rises along (row direction) x (column direction), so that the axes are right-handed.

    The time of a frame is the mean over the slices of its time after the slice's first frame: each slice is a
    breath-hold of its own with its own heart rate, and the mean keeps the cine's cycle at their mean.

    Args:
        path: Folder (searched to the bottom) or zip file.
        frame_interval_s: Seconds between frames, whatever the headers say.
        series_uid: Read only this series, or these.
        allow_incomplete: Leave slices out that have another number of frames than most.

    Raises:
        CardioDiTError: No images, no cine, two stacks of equal size, slices with different numbers of frames, unevenly
            spaced or shifted slices, damaged files, enhanced multi-frame files.
    """
    with dicom_images(path) as images:
        if not images:
            raise CardioDiTError(
                f"'{path.name}' holds no DICOM images with a position.", "Give a folder or zip of a cine MRI series."
            )
        meta: dict[str, Any] = {"source_format": "dicom"}
        stack = _chosen_stack(_wanted(images, series_uid, meta), meta)
        stack = _complete(stack, allow_incomplete, meta)
        order = _sorted_frames(stack, meta)
        affine = _affine(order)
        if frame_interval_s is not None:
            meta["frame_times_from"] = "given"
            times = given_times(frame_interval_s, len(order[0]), meta)
        else:
            times = _frame_times(order, meta)
        _describe(order, meta)
        array = _voxels(order)
    return RawFrames(array, affine, times, meta)


# ---------------------------------------------------------------------------------------------- which images


def _wanted(images: list[DicomImage], series_uid: str | Sequence[str] | None, meta: dict[str, Any]) -> list[DicomImage]:
    """The images of the asked series, and magnitude rather than phase where both are there."""
    if series_uid is not None:
        asked = {series_uid} if isinstance(series_uid, str) else set(series_uid)
        missing = asked - {image.series for image in images}
        if missing:
            known = ", ".join(sorted({image.series for image in images})[:20])
            raise CardioDiTError(f"There is no series {sorted(missing)[0]}.", f"The series here are: {known}.")
        images = [image for image in images if image.series in asked]
    magnitude = [image for image in images if not _is_phase(image)]
    if magnitude and len(magnitude) < len(images):
        add_note(meta, f"{len(images) - len(magnitude)} phase images were left out.")
        return magnitude
    return images


def _is_phase(image: DicomImage) -> bool:
    return any(str(word).upper() in ("P", "PHASE", "PHASE MAP") for word in (image.header.get("ImageType") or [])[2:])


def _chosen_stack(images: list[DicomImage], meta: dict[str, Any]) -> _Stack:
    """The stack with most images; says in ``meta`` what else there was."""
    stacks = [stack for group in _parallel_groups(images) for stack in _stacks(group)]
    if not stacks:
        raise CardioDiTError(
            "Every slice has one frame only; a cine needs at least 2 frames.",
            "Give a cine series, with images of the whole cardiac cycle.",
        )
    stacks.sort(key=lambda stack: len(stack.images), reverse=True)
    best, rest = stacks[0], stacks[1:]
    if rest and len(rest[0].images) == len(best.images):
        raise CardioDiTError(
            f"Two cines of the same size were found: {best.describe()}, {rest[0].describe()}.", _SERIES_HINT
        )
    for other in rest:
        add_note(meta, f"Another cine was left out: {len(other.slices)} slices, {len(other.images)} images.")
    used = len(best.images) + sum(len(other.images) for other in rest)
    if used < len(images):
        add_note(meta, f"{len(images) - used} images that are not part of a cine were left out.")
    return best


def _parallel_groups(images: list[DicomImage]) -> list[list[DicomImage]]:
    """Images of one study, size, spacing and orientation together."""
    groups: list[list[DicomImage]] = []
    for image in images:
        for group in groups:
            if _same_kind(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
    return groups


def _same_kind(one: DicomImage, other: DicomImage) -> bool:
    return (
        (one.header.Rows, one.header.Columns) == (other.header.Rows, other.header.Columns)
        and one.header.get("StudyInstanceUID") == other.header.get("StudyInstanceUID")
        and np.allclose(one.spacing, other.spacing, atol=1e-3)
        and np.allclose(one.row, other.row, atol=_SAME_DIRECTION)
        and np.allclose(one.column, other.column, atol=_SAME_DIRECTION)
    )


def _stacks(group: list[DicomImage]) -> list[_Stack]:
    """Pack the series of parallel images into stacks in which no position is taken twice.

    The largest series comes first and takes others along whose positions are free and which have about as many frames,
    so slices may be spread over series in any way. What remains (a repeated slice: the later series is kept) forms
    further stacks.
    """
    normal = np.cross(group[0].row, group[0].column)
    by_series: dict[str, dict[int, list[DicomImage]]] = defaultdict(lambda: defaultdict(list))
    for image, place in zip(group, _places([float(normal @ image.position) for image in group]), strict=True):
        by_series[image.series][place].append(image)
    series = [places for places in by_series.values() if max(map(len, places.values())) > 1]

    def rank(places: dict[int, list[DicomImage]]) -> tuple[int, float]:
        first = next(iter(places.values()))[0]
        return -sum(map(len, places.values())), -(first.number("SeriesNumber") or 0.0)

    waiting = sorted(series, key=rank)
    stacks = []
    while waiting:
        taken = dict(waiting[0])
        frames = _usual_count(list(taken.values()))
        left = []
        for places in waiting[1:]:
            alike = 0.5 <= _usual_count(list(places.values())) / frames <= 2.0
            if alike and not taken.keys() & places.keys():
                taken.update(places)
            else:
                left.append(places)
        stacks.append(_Stack([taken[place] for place in sorted(taken)]))
        waiting = left
    return stacks


def _places(distances: list[float]) -> list[int]:
    """Number the positions along the normal, those closer than 0.1 mm getting one number, rising with distance."""
    order = np.argsort(distances, kind="stable")
    places = [0] * len(distances)
    for before, here in pairwise(order):
        places[here] = places[before] + int(distances[here] - distances[before] > _SAME_POSITION_MM)
    return places


def _usual_count(slices: list[list[DicomImage]]) -> int:
    """The commonest number of frames, the larger one of equally common ones."""
    counts = Counter(len(images) for images in slices)
    return max(counts, key=lambda count: (counts[count], count))


def _complete(stack: _Stack, allow_incomplete: bool, meta: dict[str, Any]) -> _Stack:
    """The stack with one number of frames in all slices."""
    usual = _usual_count(stack.slices)
    odd = [number for number, images in enumerate(stack.slices) if len(images) != usual]
    if not odd:
        return stack
    number = odd[0]
    first = stack.slices[number][0]
    where = ", ".join(f"{coordinate:.1f}" for coordinate in first.position)
    if not allow_incomplete:
        raise CardioDiTError(
            f"Slice {number + 1} of {len(stack.slices)} (position {where} mm, series {first.series}) has "
            f"{len(stack.slices[number])} frames, most slices have {usual}.",
            "Export the missing images, or load with allow_incomplete=True to leave such slices out.",
        )
    add_note(meta, f"{len(odd)} of {len(stack.slices)} slices were left out, their number of frames was not {usual}.")
    return _Stack([images for images in stack.slices if len(images) == usual])


# ---------------------------------------------------------------------------------------------- order and time


def _clock_seconds(image: DicomImage, keyword: str) -> float | None:
    """A time of day (HHMMSS.ffffff) in seconds."""
    text = str(image.header.get(keyword) or "").replace(":", "")
    try:
        return int(text[0:2]) * 3600 + int(text[2:4] or 0) * 60 + float(text[4:] or 0)
    except ValueError:
        return None


_Key = Callable[[DicomImage], float | None]
_MILLISECONDS: dict[str, _Key] = {
    "TriggerTime": lambda image: image.number("TriggerTime"),
    "NominalCardiacTriggerDelayTime": lambda image: image.number("NominalCardiacTriggerDelayTime"),
}
_ORDER_KEYS: dict[str, _Key] = {
    **_MILLISECONDS,
    "TemporalPositionIdentifier": lambda image: image.number("TemporalPositionIdentifier"),
    "ContentTime": lambda image: _clock_seconds(image, "ContentTime"),
    "AcquisitionTime": lambda image: _clock_seconds(image, "AcquisitionTime"),
    "InstanceNumber": lambda image: image.number("InstanceNumber"),
}


def _sorted_frames(stack: _Stack, meta: dict[str, Any]) -> list[list[DicomImage]]:
    """``[z][t]``, sorted by the first key that tells all frames of every slice apart."""
    for name, key in _ORDER_KEYS.items():
        values = [[key(image) for image in images] for images in stack.slices]
        if all(None not in row and len(set(row)) == len(row) for row in values):
            meta["frame_order_from"] = name
            return [sorted(images, key=lambda image: key(image) or 0.0) for images in stack.slices]
    raise CardioDiTError(
        "The DICOM images do not say in which order the frames come (no trigger time, no instance number).",
        "Check that the folder holds one cine, or choose it with series_uid.",
    )


def _frame_times(order: list[list[DicomImage]], meta: dict[str, Any]) -> NDArray[np.float64]:
    """(T,) seconds from trigger times, else from the heart period, else assumed."""
    n_frames = len(order[0])
    key = _MILLISECONDS.get(meta["frame_order_from"])
    if key is not None:
        triggers = np.array([[key(image) for image in frames] for frames in order], dtype=np.float64) / 1000.0
        after_first = triggers - triggers[:, :1]
        intervals = np.median(np.diff(after_first, axis=1), axis=1)
        meta["frame_times_from"] = meta["frame_order_from"]
        meta["slice_frame_interval_range_s"] = [round(float(bound), 6) for bound in (intervals.min(), intervals.max())]
        return after_first.mean(axis=0)
    period = _heart_period_s(order)
    if period is not None:
        meta["frame_times_from"] = "heart period"
        return np.arange(n_frames, dtype=np.float64) * (period / n_frames)
    meta["frame_times_from"] = "assumed"
    return assumed_times(n_frames, meta)


def _mean_number(order: list[list[DicomImage]], keyword: str) -> float | None:
    values = [value for frames in order for image in frames if (value := image.number(keyword)) is not None]
    return float(np.mean(values)) if values else None


def _heart_period_s(order: list[list[DicomImage]]) -> float | None:
    """Time from beat to beat, mean over the images; None where it is not given or nonsense."""
    interval = _mean_number(order, "NominalInterval")
    rate = _mean_number(order, "HeartRate")
    if interval and 200.0 <= interval <= 3000.0:
        return interval / 1000.0
    if rate and 20.0 <= rate <= 300.0:
        return 60.0 / rate
    return None


# ---------------------------------------------------------------------------------------------- geometry, voxels


def _affine(order: list[list[DicomImage]]) -> NDArray[np.float64]:
    """4x4, voxel (x, y, z) to mm in RAS."""
    axes = _Stack(order).axes
    positions = np.array([np.mean([image.position for image in frames], axis=0) for frames in order])
    in_axes = (positions - positions[0]) @ axes
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
        spacing = image.number("SpacingBetweenSlices") or image.number("SliceThickness")
        if not spacing or spacing <= 0:
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
    array = np.empty(
        (len(order[0]), len(order), int(header.Rows), int(header.Columns)), np.int64 if whole else np.float32
    )
    for z, frames in enumerate(order):
        for t, image in enumerate(frames):
            slope, intercept = image.rescale
            pixels = image.pixels()
            array[t, z] = pixels.astype(np.int64) * int(slope) + int(intercept) if whole else pixels * slope + intercept
    return array


def _describe(order: list[list[DicomImage]], meta: dict[str, Any]) -> None:
    """What the scanner was and how it measured; nothing about the patient."""
    first = order[0][0]
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
    period = _heart_period_s(order)
    if period is not None:
        meta["heart_rate_bpm"] = round(60.0 / period, 1)
