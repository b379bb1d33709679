"""Stacks of parallel DICOM images: which images belong together, whatever series they came in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.dicom_image import DicomImage, number_of
from CardioDiTLib.io.frame_times import add_note

_SAME_POSITION_MM = 1.0
"""Images of a slice may drift by this from one to the next; less where slices are thin."""
_SAME_DIRECTION = 2e-3
NEARLY_PARALLEL = 0.05
"""Difference of direction cosines up to which images seem to be meant as parallel."""
_MIN_GATHERED = 5
_SERIES_HINT = "Choose a series with series_uid, or give a folder that holds one stack of short-axis cine images only."


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel images of one size: ``slices[z]`` holds the images at one position, in no order yet.

    ``gathered`` is the number of series it was gathered from where each holds one image a slice, else 0.
    """

    slices: list[list[DicomImage]]
    gathered: int = 0

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


def refuse_or_note(problem: str, count: int, allowed: bool, meta: dict[str, Any]) -> None:
    """Refuse a cine that would lose slices, or say so where the user allowed it.

    Args:
        problem: What is wrong, without the full stop.
        count: How many files or images it is wrong with.
        allowed: Whether incomplete stacks may be read.
        meta: Gets the note.
    """
    others = f" ({count - 1} more like it)" if count > 1 else ""
    if not allowed:
        raise CardioDiTError(
            f"{problem}{others}, so slices may be missing.",
            "Give all files, or load with allow_incomplete=True to do without them.",
        )
    add_note(meta, f"{problem}{others}; it was done without.")


def wanted_images(
    images: list[DicomImage], series_uid: str | Sequence[str] | None, meta: dict[str, Any]
) -> list[DicomImage]:
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


def chosen_stack(
    images: list[DicomImage], series_uid: str | Sequence[str] | None, allowed: bool, meta: dict[str, Any]
) -> Stack:
    """The stack with most images; says in ``meta`` what else there was."""
    stacks = [stack for group in _parallel_groups(images) for stack in _stacks(group)]
    if not stacks:
        raise CardioDiTError(*_no_stack(images))
    stacks.sort(key=lambda stack: len(stack.images), reverse=True)
    best, rest = stacks[0], stacks[1:]
    if rest and len(rest[0].images) == len(best.images):
        raise CardioDiTError(
            f"Two cines of the same size were found: {best.describe()}, {rest[0].describe()}.", _SERIES_HINT
        )
    for other in rest:
        if series_uid is None and _continues(best, other):
            refuse_or_note(
                f"Beside the cine there are {len(other.slices)} slices that seem to belong to it but differ in matrix, "
                f"pixel size, direction or number of frames (series {other.series[0]})",
                1,
                allowed,
                meta,
            )
        add_note(meta, f"Another cine was left out: {len(other.slices)} slices, {len(other.images)} images.")
    if best.gathered:
        add_note(meta, f"The frames were gathered from {best.gathered} series, each with one image a slice.")
    used = len(best.images) + sum(len(other.images) for other in rest)
    if used < len(images):
        add_note(meta, f"{len(images) - used} images that are not part of a cine were left out.")
    return best


def _no_stack(images: list[DicomImage]) -> tuple[str, str]:
    series = len({image.series for image in images})
    hint = "Give a cine series, with images of the whole cardiac cycle."
    if series > 1:
        return (
            f"None of the {series} series has more than one image a slice, and nothing says that they are the phases "
            "of one cycle (different trigger times, one protocol).",
            hint,
        )
    return "Every slice has one frame only; a cine needs at least 2 frames.", hint


def _continues(best: Stack, other: Stack) -> bool:
    """Whether another stack lies beside or between the slices of the best one, in the same direction and study."""
    one, two = best.slices[0][0], other.slices[0][0]
    if one.header.get("StudyInstanceUID") != two.header.get("StudyInstanceUID"):
        return False
    if not (
        np.allclose(one.row, two.row, atol=NEARLY_PARALLEL)
        and np.allclose(one.column, two.column, atol=NEARLY_PARALLEL)
    ):
        return False
    normal = np.cross(one.row, one.column)
    heights = np.sort([float(normal @ images[0].position) for images in best.slices])
    own = np.array([float(normal @ images[0].position) for images in other.slices])
    distances = np.abs(own[:, np.newaxis] - heights)
    step = float(np.median(np.diff(heights))) if len(heights) > 1 else 10.0
    # a repeated slice lies where one is already; another region lies far away
    return bool((distances.min(axis=1) > 0.5 * step).any() and distances.min() < 1.5 * step)


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


def _stacks(group: list[DicomImage]) -> list[Stack]:
    """Pack the series of parallel images into stacks in which no position is taken twice.

    The largest series comes first and takes others along whose positions are free and which have about as many frames,
    so slices may be spread over series in any way. What remains (a repeated slice: the later series is kept) forms
    further stacks.
    """
    normal = np.cross(group[0].row, group[0].column)
    by_series: dict[str, dict[int, list[DicomImage]]] = defaultdict(lambda: defaultdict(list))
    heights = [float(normal @ image.position) for image in group]
    for image, place in zip(group, _places(heights, _closest(group)), strict=True):
        by_series[image.series][place].append(image)
    series = [places for places in by_series.values() if max(map(len, places.values())) > 1]
    flat = [places for places in by_series.values() if max(map(len, places.values())) == 1]
    gathered = _gathered(flat) if not series else []
    counts = {id(places): count for places, count in gathered}
    series += [places for places, _ in gathered]

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
        stacks.append(Stack([taken[place] for place in sorted(taken)], counts.get(id(waiting[0]), 0)))
        waiting = left
    return stacks


def _gathered(flat: list[dict[int, list[DicomImage]]]) -> list[tuple[dict[int, list[DicomImage]], int]]:
    """Series with one image a slice that are phases of one cycle, put together; each with their number.

    They must be of one protocol, and each image of a slice must have a trigger time of its own; without trigger times
    there must be several series that cover the same slices.
    """
    protocols: dict[tuple[str, ...], list[dict[int, list[DicomImage]]]] = defaultdict(list)
    for places in flat:
        protocols[_protocol(next(iter(places.values()))[0])].append(places)
    found = []
    for members in protocols.values():
        together: dict[int, list[DicomImage]] = defaultdict(list)
        for places in members:
            for place, images in places.items():
                together[place] += images
        if max(map(len, together.values())) < 2:
            continue
        times = {place: [_trigger(image) for image in images] for place, images in together.items()}
        timed = all(None not in row and len(set(row)) == len(row) for row in times.values())
        untimed = all(time is None for row in times.values() for time in row)
        alike = len(members) >= _MIN_GATHERED and len({tuple(sorted(places)) for places in members}) == 1
        if timed or (untimed and alike):
            found.append((dict(together), len(members)))
    return found


def _protocol(image: DicomImage) -> tuple[str, ...]:
    keywords = ("ScanningSequence", "SequenceName", "EchoTime", "FlipAngle", "InversionTime", "ImageType")
    return tuple(str(image.header.get(keyword, "")) for keyword in keywords)


def _trigger(image: DicomImage) -> float | None:
    for keyword in ("TriggerTime", "NominalCardiacTriggerDelayTime", "TemporalPositionIdentifier"):
        value = image.number(keyword)
        if value is not None:
            return value
    return None


def _closest(group: list[DicomImage]) -> float:
    """Distance in mm up to which neighbouring positions are one: half of the slices' own distance, 1 mm at most."""
    closest = _SAME_POSITION_MM
    for image in group:
        distance = number_of(image.header, "SpacingBetweenSlices") or number_of(image.header, "SliceThickness")
        if distance:
            closest = min(closest, abs(distance) / 2.0)
    return closest


def _places(distances: list[float], closest: float) -> list[int]:
    """Number the positions along the normal, rising; neighbours nearer than ``closest`` mm get one number."""
    order = np.argsort(distances, kind="stable")
    places = [0] * len(distances)
    for before, here in pairwise(order):
        places[here] = places[before] + int(distances[here] - distances[before] > closest)
    return places


def _usual_count(slices: list[list[DicomImage]]) -> int:
    """The commonest number of frames, the larger one of equally common ones."""
    counts = Counter(len(images) for images in slices)
    return max(counts, key=lambda count: (counts[count], count))


def complete_stack(stack: Stack, allow_incomplete: bool, meta: dict[str, Any]) -> Stack:
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
    return Stack([images for images in stack.slices if len(images) == usual])
