"""Removal of implausible labels: islands, holes, a cavity in two places, a right ventricle far from the septum.

Frames are cleaned one by one, so that none is biased towards its neighbours; only `TemporalLabelFilter` and
`remove_atrial_slices` compare frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.data.orientation import End
from CardioDiTLib.labels import LABEL_NAMES, LV, MYOCARDIUM, RV

MIN_FRAMES = 6
"""With fewer frames a heart may well be elsewhere from one to the next and back."""

_SMALLEST = 1e-4

Frame = tuple[NDArray[np.uint8], NDArray[np.float16]]

LINK_MM = 5.0
"""Parts closer than this in plane belong together: slices shift from one breath-hold to the next."""

PIECE_SHARE = 0.25
"""In one slice, a second piece of a ventricle has to be this large compared with the largest."""

RIM = 0.4
"""Muscle whose probability of being background is more than this share of that of being muscle is left out: an overlap
loss makes thin walls too thick where the outline is uncertain, compared with an expert's. Ten ACDC patients held out,
while the network looked at 228 mm: mass at ED +11 g without it, +2.5 g with it; Dice of the myocardium .890 and .896 at
ED, .902 and .909 at ES. With 192 mm: -3.2 g; 0.55 would give -0.3 g, and a wall to specks in images without a heart."""

_IN_PLANE = np.ones((3, 3), bool)
_THROUGH = np.zeros((3, 3, 3), bool)
_THROUGH[1] = True
_THROUGH[:, 1, 1] = True

LARGER_IN_SYSTOLE = 1.15
"""A cavity whose area at end-systole is so many times that at end-diastole does not belong to a ventricle."""

CONTRACTION = 0.93
"""The rest of the ventricle has to become smaller than this share of itself, or nothing can be told from areas."""

LARGEST_SHARE = 0.5
"""No more than this share of the labelled slices is taken away."""

REACH_MM = 12.0
"""Distance by which a right ventricle may leave the outline of its neighbour on the base's side (95 % of the slices of
ACDC that an expert labelled)."""

GROWTH = 1.2
"""From the widest slice on, its area is less than this many times that of a slice nearer to the base (99 %: 1.02)."""

NEAR_MM = 4.0
"""Where its area is larger than that, only the part within this distance of that neighbour is kept."""

BASAL_SHARE = 0.6
"""A right ventricle ends at its valve nearly at full width: a slice of its basal half is less than this share of the
area 10 mm further down in 1 of 70 ACDC patients at end-diastole and in 2 of 70 at end-systole (an expert's labels, of
patients that are not among those who measure the segmentation)."""

BASAL_MM, FARTHEST_MM = 10.0, 12.5
"""How far down the base is compared with, and the largest distance that a stack may make of it."""


class TemporalLabelFilter:
    """Finds labels that jump for a single frame; takes the frames of a cycle one by one.

    A voxel is tested where the frames before and after agree and the one between does not. The median over the three
    frames of each label's log-probability then decides: a frame of high probability keeps its label between frames of
    low probability. Only a few frames are held at a time.

    Where a ventricle is largest or smallest (`extreme_frames`), no voxel is given to it or taken from it: at
    end-systole the inner rim moves in for one frame and out again, and removing this as flicker would make the
    end-systolic volume too large. The myocardium is treated with the left ventricle.

    Args:
        n_frames: Frames T of the cycle.
    """

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self._first: list[Frame] = []
        self._last: list[Frame] = []
        self._changes: dict[int, tuple[NDArray[np.int64], NDArray[np.uint8]]] = {}
        self._count = 0

    def add(self, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> None:
        """Takes the next frame.

        Args:
            labels: (Z, Y, X), arg-max of the probabilities.
            probabilities: (Z, 4, Y, X).
        """
        if self._n_frames < MIN_FRAMES:
            return
        logs = np.log(np.maximum(probabilities, _SMALLEST)).astype(np.float16)
        frame = (labels, logs)
        if len(self._first) < 2:
            self._first.append(frame)
        if self._count >= 2:
            self._changes[self._count - 1] = _change(self._last[-2], self._last[-1], frame)
        self._last = [*self._last[-1:], frame]
        self._count += 1
        if self._count == self._n_frames:
            self._changes[self._n_frames - 1] = _change(self._last[0], self._last[1], self._first[0])
            self._changes[0] = _change(self._last[1], self._first[0], self._first[1])
            self._first, self._last = [], []

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels with the jumps undone.

        Args:
            labels: (T, Z, Y, X), the frames that were given.

        Returns:
            (T, Z, Y, X), a copy.
        """
        repaired = labels.copy()
        kept = {group: extreme_frames((labels == group[-1]).sum(axis=(1, 2, 3))) for group in ((RV,), (MYOCARDIUM, LV))}
        for frame, (places, values) in self._changes.items():
            flat = repaired[frame].reshape(-1)
            free = np.ones(len(places), bool)
            for group, frames in kept.items():
                if frame in frames:
                    free &= ~np.isin(flat[places], group) & ~np.isin(values, group)
            flat[places[free]] = values[free]
        return repaired


def _change(before: Frame, now: Frame, after: Frame) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    places = np.flatnonzero((before[0] == after[0]) & (now[0] != before[0]))
    if not len(places):
        return places, np.zeros(0, np.uint8)
    z, yx = np.divmod(places, now[0][0].size)
    logs = np.stack([frame[1].reshape(*frame[1].shape[:2], -1)[z, :, yx] for frame in (before, now, after)])
    return places, np.median(logs.astype(np.float32), axis=0).argmax(axis=1).astype(np.uint8)


def extreme_frames(curve: NDArray[np.integer]) -> set[int]:
    """Frames in which a ventricle is largest and smallest.

    They are looked for next to the extremes of the periodic median of three, so that a frame in which a piece is
    missing does not pass for end-systole.

    Args:
        curve: (T,) voxels of the ventricle, frame by frame.

    Returns:
        Frame numbers; nothing where there is no ventricle.
    """
    if not curve.any():
        return set()
    around = np.stack([np.roll(curve, 1), curve, np.roll(curve, -1)])
    calm = np.median(around, axis=0)
    found = set()
    for sign in (1, -1):
        middle = int(np.argmax(sign * calm))
        near = [(middle + shift) % len(curve) for shift in (0, -1, 1)]
        found.add(max(near, key=lambda frame: sign * int(curve[frame])))
    return found


def outside_the_wall(labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels at the outer rim of the myocardium that are more likely none than an overlap loss says.

    Args:
        labels: (Z, Y, X), the most likely label.
        probabilities: (Z, 4, Y, X), probabilities.

    Returns:
        (Z, Y, X), True for muscle that should be background.
    """
    return np.asarray((labels == MYOCARDIUM) & (probabilities[:, 0] > RIM * probabilities[:, MYOCARDIUM]))


def clean_labels(labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Plausible labels.

    * Left ventricle (cavity and myocardium): the one connected part with most cavity. Neighbouring slices connect where
      they lie within `LINK_MM` of each other, across one empty slice at most.
    * Cavity and right ventricle: small second pieces in a slice go.
    * Holes are filled: within the cavity by cavity (papillary muscles count as cavity, as in ACDC), elsewhere by
      myocardium; a ring of myocardium without any cavity is filled by cavity.
    * The slices with a cavity form one run, with one gap of a slice at most.
    * Right ventricle: the largest connected part next to the septum.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        spacing_mm: (x, y, z) mm.

    Returns:
        (T, Z, Y, X) uint8, a new array.
    """
    cleaned = np.zeros_like(labels)
    radius = tuple(max(1, round(LINK_MM / 2 / spacing)) for spacing in (spacing_mm[1], spacing_mm[0]))
    for frame, result in zip(labels, cleaned):
        rows, columns = frame.any(axis=(0, 2)).nonzero()[0], frame.any(axis=(0, 1)).nonzero()[0]
        if not len(rows):
            continue
        box = (
            slice(None),
            slice(max(rows[0] - 2 * radius[0] - 1, 0), rows[-1] + 2 * radius[0] + 2),
            slice(max(columns[0] - 2 * radius[1] - 1, 0), columns[-1] + 2 * radius[1] + 2),
        )
        result[box] = _clean_frame(frame[box].copy(), (radius[0], radius[1]))
    return cleaned


def _clean_frame(frame: NDArray[np.uint8], radius: tuple[int, int]) -> NDArray[np.uint8]:
    left = frame >= MYOCARDIUM
    left = _connected_part(left, radius, deciding=frame == LV if (frame == LV).any() else left)
    frame[(frame >= MYOCARDIUM) & ~left] = 0
    for plane in frame:
        _drop_small_pieces(plane, LV)
        _fill_left(plane)
    _keep_one_run(frame)
    left = frame >= MYOCARDIUM
    right = frame == RV
    if left.any():
        near = np.stack([_grown(plane, (2 * radius[0], 2 * radius[1])) for plane in left])
        # A slice above the left ventricle has no septum; what connects to a slice that has one stays.
        kept = _connected_part(right, radius, deciding=right & near, needed=True)
    else:
        kept = _connected_part(right, radius, deciding=right)
    frame[right & ~kept] = 0
    for plane in frame:
        _drop_small_pieces(plane, RV)
        plane[ndimage.binary_fill_holes(plane == RV) & (plane == 0)] = RV
    return frame


def _grown(plane: NDArray[np.bool_], radius: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius[0] : radius[0] + 1, -radius[1] : radius[1] + 1]
    disc = (y / (radius[0] + 0.5)) ** 2 + (x / (radius[1] + 0.5)) ** 2 <= 1
    return np.asarray(ndimage.binary_dilation(plane, disc))


def _connected_part(
    mask: NDArray[np.bool_], radius: tuple[int, int], deciding: NDArray[np.bool_], needed: bool = False
) -> NDArray[np.bool_]:
    """The part of a (Z, Y, X) mask with most deciding voxels; with `needed`, of those parts that have one the largest.

    Two parts of one slice, or of neighbouring slices, are one where they come within twice the radius.
    """
    if not mask.any():
        return mask
    grown = np.stack([_grown(plane, radius) for plane in mask])
    linked = grown.copy()
    linked[1:-1] |= grown[:-2] & grown[2:]
    parts, count = ndimage.label(linked, _THROUGH)
    votes = np.bincount(parts[deciding & mask], minlength=count + 1)
    if needed:
        votes = np.where(votes > 0, np.bincount(parts[mask], minlength=count + 1), 0)
    votes[0] = 0
    return np.asarray(mask & (parts == votes.argmax())) if votes.any() else np.zeros_like(mask)


def _drop_small_pieces(plane: NDArray[np.uint8], label: int) -> None:
    pieces, count = ndimage.label(plane == label, _IN_PLANE)
    if count < 2:
        return
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    small = sizes < PIECE_SHARE * sizes.max()
    small[0] = False
    plane[small[pieces]] = 0


def _fill_left(plane: NDArray[np.uint8]) -> None:
    cavity = plane == LV
    plane[ndimage.binary_fill_holes(cavity)] = LV
    left = plane >= MYOCARDIUM
    holes = ndimage.binary_fill_holes(left) & ~left
    if not holes.any():
        return
    if not cavity.any():
        plane[holes] = LV
        return
    pieces, count = ndimage.label(holes)
    for number in range(1, count + 1):
        piece = pieces == number
        rim = ndimage.binary_dilation(piece) & ~piece
        plane[piece] = LV if (plane[rim] == LV).mean() > 0.5 else MYOCARDIUM


def _keep_one_run(frame: NDArray[np.uint8]) -> None:
    areas = (frame == LV).sum(axis=(1, 2))
    used = areas.nonzero()[0]
    if not len(used):
        return
    runs = np.split(used, (np.diff(used) > 2).nonzero()[0] + 1)
    best = max(runs, key=lambda run: int(areas[run].sum()))
    for z in set(used.tolist()) - set(best.tolist()):
        frame[z][frame[z] >= MYOCARDIUM] = 0


def remove_atrial_slices(labels: NDArray[np.uint8], base: End | None) -> NDArray[np.uint8]:
    """Takes away the left ventricle from basal slices in which its cavity grows while the others shrink.

    Stacks that begin above the valve plane show the left atrium there, or the outflow tract into the aorta. Networks
    that learned from stacks which begin at the valve plane may name them ventricle. Both are round and bright, but they
    are widest at end-systole. From the base on, slice after slice is judged until one contracts.

    Args:
        labels: As in :func:`clean_labels`.
        base: Which end of the stack is the base; None where it is not known, then nothing is done.

    Returns:
        (T, Z, Y, X), the same array where there is nothing to do.
    """
    if base is None or len(labels) < 2:
        return labels
    areas = (labels == LV).sum(axis=(2, 3))
    if base == "last":
        areas = areas[:, ::-1]
    labelled = np.flatnonzero(areas.any(axis=0))
    if len(labelled) < 3:
        return labels
    for first in range(len(labelled)):
        rest = areas[:, labelled[first] :].sum(axis=1)
        diastole, systole = int(rest.argmax()), int(rest.argmin())
        below = areas[:, labelled[first] + 1 :].sum(axis=1)
        own = areas[:, labelled[first]]
        contracts = below[systole] < CONTRACTION * below[diastole]
        if not contracts or own[systole] <= LARGER_IN_SYSTOLE * own[diastole]:
            break
    if first == 0 or first > LARGEST_SHARE * len(labelled):
        return labels
    gone = labelled[:first]
    if base == "last":
        gone = labels.shape[1] - 1 - gone
    result = labels.copy()
    part = result[:, gone]
    part[(part == MYOCARDIUM) | (part == LV)] = 0
    result[:, gone] = part
    return result


def trim_rv_apex(
    labels: NDArray[np.uint8], base: End | None, spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Removes false right ventricle, frame by frame: stomach or fat beyond its apex, and slices without a left cavity.

    Args:
        labels, spacing_mm: As in :func:`clean_labels`.
        base: Which end of the stack is the base; None where it is not known, then only slices without a left cavity
            are cleared.

    Returns:
        (T, Z, Y, X), a new array.
    """
    result = labels.copy()
    order = range(labels.shape[1]) if base != "last" else range(labels.shape[1] - 1, -1, -1)
    sampling = (spacing_mm[1], spacing_mm[0])
    for frame in result:
        if not (frame == LV).any():
            continue
        for plane in frame:
            if not (plane == LV).any():
                plane[plane == RV] = 0
        if base is None:
            continue
        areas = [int((frame[z] == RV).sum()) for z in order]
        # The widest slice of the basal half: further down, what is widest can be liver or stomach.
        cavity = [place for place, z in enumerate(order) if (frame[z] == LV).any()]
        half = cavity[0] + (len(cavity) + 1) // 2
        widest = int(np.argmax(areas[:half])) if any(areas[:half]) else int(np.argmax(areas))
        smallest, neighbour = areas[widest], None
        for place, z in enumerate(order):
            own = frame[z] == RV
            if place > widest and own.any() and neighbour is not None:
                reach = NEAR_MM if own.sum() > GROWTH * smallest else REACH_MM
                far = ndimage.distance_transform_edt(~neighbour, sampling=sampling) > reach
                frame[z][own & far] = 0
                own = own & ~far
                smallest = min(smallest, int(own.sum())) or smallest
            if place >= widest and own.any():
                neighbour = own
    return result


def trim_rv_base(
    labels: NDArray[np.uint8], base: End | None, spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Removes right ventricle labelled beyond its valve: the atrium that a basal slice shows at end-systole.

    Frame by frame: where the ventricle is less than `BASAL_SHARE` of what it is 10 mm further down, that slice goes and
    all on the base's side of it. At least half of the slices with a right ventricle stay.

    Args:
        labels, spacing_mm: As in :func:`clean_labels`.
        base: As in :func:`remove_atrial_slices`.

    Returns:
        (T, Z, Y, X), a new array.
    """
    result = labels.copy()
    step = max(1, round(BASAL_MM / spacing_mm[2]))
    if base is None or step * spacing_mm[2] > FARTHEST_MM:
        return result
    for frame in result if base == "first" else result[:, ::-1]:
        areas = (frame == RV).sum(axis=(1, 2))
        used = np.flatnonzero(areas)
        narrow = [
            z for z in used[: len(used) // 2] if z + step < len(areas) and areas[z] < BASAL_SHARE * areas[z + step]
        ]
        if narrow:
            beyond = frame[: narrow[-1] + 1]
            beyond[beyond == RV] = 0
    return result


def dice_per_label(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Dice (twice the overlap over the sum of both sizes) of RV, myocardium and LV.

    Args:
        predicted: Labels, any shape.
        truth: Labels, the same shape.

    Returns:
        Label name -> 0 to 1; NaN where neither has the label.
    """
    scores = {}
    for label, name in LABEL_NAMES.items():
        if label == 0:
            continue
        a, b = predicted == label, truth == label
        both = int(a.sum()) + int(b.sum())
        scores[name] = 2.0 * int((a & b).sum()) / both if both else float("nan")
    return scores
