"""Which number stands for which part of the heart.

Here 1 is the right ventricle, 2 the myocardium and 3 the cavity of the left ventricle, as in ACDC. Where a file numbers
otherwise, anatomy tells: of all labels only the left cavity is ringed by another one, the myocardium, and the right
ventricle lies beside that ring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.cine import Segmentation, whole_labels
from CardioDiTLib.errors import CardioDiTError

RIGHT, MUSCLE, LEFT = 1, 2, 3
NAMES = {0: "background", RIGHT: "right ventricle", MUSCLE: "myocardium", LEFT: "left ventricle"}

CONVENTIONS: dict[str, dict[int, int]] = {
    "acdc": {1: RIGHT, 2: MUSCLE, 3: LEFT},
    "mnms": {1: LEFT, 2: MUSCLE, 3: RIGHT},
    "monai": {1: LEFT, 2: MUSCLE, 3: RIGHT},
    "ukbb": {1: LEFT, 2: MUSCLE, 3: RIGHT},
    "mscmr": {200: MUSCLE, 500: LEFT, 600: RIGHT},
    "mmwhs": {205: MUSCLE, 500: LEFT, 600: RIGHT},
}
"""ACDC; M&Ms and M&Ms-2; the MONAI model zoo's short-axis bundle; UK Biobank; MS-CMRSeg; MM-WHS (the rest of its heart
becomes background)."""

KNOWN_NUMBERS = {0, 420, 550, 820, 850, *(number for known in CONVENTIONS.values() for number in known)}
"""All numbers of these conventions: atria, aorta and pulmonary artery of MM-WHS, and background, included."""

RINGED = 0.75
"""A label whose outline touches one other label by so much is ringed by it: the left cavity by myocardium."""

OPEN = 0.6
"""The outline of a right ventricle touches the myocardium by less than this (in ACDC by 0.45 at most)."""

ROUND = 0.72
"""A lone cavity whose second moments differ by no more than this ratio (minor to major axis) is a left one."""

ROUNDER = 0.1
"""Of two cavities without a wall the left one is the rounder, by more than this ratio (never the other one in ACDC)."""

RING_FULL, CAVITY_FULL = 0.75, 0.85
"""Share of the ellipse of its axes that a label fills: a ring of muscle less, a cavity more (ACDC: left ones 0.97 and
more, muscle 0.81 and less)."""

FEWEST_PIXELS = 12
"""Smaller parts of a slice say nothing."""

LARGEST_USUAL = 5
"""Labels of a heart that are numbered one by one: the three here, atria, papillary muscles."""

MOST_LABELS = 12
"""A file with more different values is no segmentation."""

_HINT = "Give label_map, as '1:LV,2:MYO,3:RV', or the name of a convention: " + ", ".join(CONVENTIONS) + "."

_WORDS = {
    "bg": 0,
    "background": 0,
    "rv": RIGHT,
    "myo": MUSCLE,
    "myocardium": MUSCLE,
    "lv": LEFT,
    **{str(number): number for number in NAMES},
}


@dataclass(frozen=True)
class Recognised:
    """What labels mean.

    Attributes:
        map: From labels to 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle.
        note: What the reader should know of it; empty where the labels are as they should be.
    """

    map: dict[int, int]
    note: str = ""


def parse_label_map(text: str) -> dict[int, int]:
    """Reads ``1:LV,2:MYO,3:RV`` (numbers 0 to 3 in place of names are fine), or the name of a convention.

    Args:
        text: The text.

    Returns:
        From labels to 0, 1, 2, 3.

    Raises:
        CardioDiTError: It is neither.

    Examples:
        >>> parse_label_map("1:LV, 2:MYO, 3:RV") == CONVENTIONS["mnms"]
        True
    """
    name = text.strip().lower().replace("&", "n").replace("-", "").replace("_", "")
    if name in CONVENTIONS:
        return dict(CONVENTIONS[name])
    result: dict[int, int] = {}
    for part in text.split(","):
        number, _, word = part.partition(":")
        meaning = _WORDS.get(word.strip().lower())
        if not number.strip().isdigit() or meaning is None or int(number) in result:
            raise CardioDiTError(f"The label map '{text}' cannot be understood at '{part.strip()}'.", _HINT)
        result[int(number)] = meaning
    return result


def check_label_map(label_map: Mapping[int, int] | str) -> dict[int, int]:
    """A label map as plain numbers.

    Raises:
        CardioDiTError: It is a text that cannot be read, or leads to something else than 0, 1, 2, 3.
    """
    if isinstance(label_map, str):
        return parse_label_map(label_map)
    result = {int(label): int(meaning) for label, meaning in label_map.items()}
    if not result or not set(result.values()) <= set(NAMES):
        raise CardioDiTError(f"The label map {result} does not lead to 0, 1, 2 or 3.", _HINT)
    return result


def are_labels(array: NDArray[Any]) -> bool:
    """Whether voxels are labels: a few whole numbers, small ones or those of a known convention, or a mask (0 and one
    other whole number); not all 0.

    A grey picture is known by its first part, so that this takes no time for one.

    Args:
        array: Of any shape and type; an empty picture is neither, it is told as a cine.
    """
    if array.dtype.kind not in "biuf" or not array.size:
        return False
    there: set[float] = set()
    for part in array:
        there.update(np.unique(part).tolist())
        if len(there) > MOST_LABELS:
            return False
    values = np.array(sorted(there), float)
    whole = whole_labels(values)
    if not np.isfinite(values).all() or (whole != np.rint(whole)).any() or whole[0] < 0 or whole[-1] < 1:
        return False
    mask = len(whole) == 2 and whole[0] == 0
    return mask or bool(whole[-1] <= LARGEST_USUAL) or set(whole.tolist()) <= KNOWN_NUMBERS


def recognise_labels(array: NDArray[Any]) -> Recognised:
    """Tells by anatomy which label is which.

    The left cavity is the label whose outline touches one other label nearly all around; that other one is the
    myocardium; the right ventricle is what else touches the myocardium most. Labels 0 to 3 are only doubted where this
    contradicts them. A lone cavity is a left one where it is round.

    Args:
        array: (T, Z, Y, X) whole numbers.

    Returns:
        The meaning of every label, and what to say about it.

    Raises:
        CardioDiTError: Labels beyond 0 to 3 of which anatomy does not tell enough.
    """
    labels = [int(label) for label in np.unique(array) if label != 0]
    plain = {label: label for label in labels if label in NAMES}
    usual = len(plain) == len(labels)
    if not labels:
        return Recognised({})
    if len(labels) > MOST_LABELS or labels[0] < 0:
        raise CardioDiTError(
            f"There are {len(labels)} different values from {labels[0]} to {labels[-1]}: this is no segmentation.",
            "Give a file of labels.",
        )
    planes = _telling_planes(array)
    if len(labels) == 1:
        return _lone(labels[0], planes)
    touch = _contacts(planes, labels)
    best = max(((touch[a, b], a, b) for a in labels for b in labels if a != b), default=(0.0, 0, 0))
    share, left, muscle = best
    if share < RINGED:
        return _without_ring(labels, planes, plain)
    if usual and (left, muscle) == (LEFT, MUSCLE):
        return Recognised(plain)
    # In small or cut hearts a right ventricle can look ringed too: labels 0 to 3 are believed while nothing speaks
    # against the left one.
    if usual and touch.get((LEFT, MUSCLE), 0.0) > OPEN:
        return Recognised(plain)
    result = {label: 0 for label in labels} | {left: LEFT, muscle: MUSCLE}
    rest = sorted(((touch[label, muscle], label) for label in labels if label not in (left, muscle)), reverse=True)
    if rest and rest[0][0] > 0:
        result[rest[0][1]] = RIGHT
    return Recognised(result, _taken_note(result, f"label {left} is ringed by label {muscle}"))


def _without_ring(labels: list[int], planes: list[NDArray[Any]], plain: dict[int, int]) -> Recognised:
    """Labels of which none is ringed: two cavities by their shapes, then numbers that all conventions read alike."""
    usual = len(plain) == len(labels)
    shapes = {label: shape for label in labels if (shape := _shape(planes, label)) is not None}
    if len(labels) == 2 == len(shapes) and not any(_is_ring(shape) for shape in shapes.values()):
        right, left = sorted(labels, key=lambda label: shapes[label])
        found = {right: RIGHT, left: LEFT}
        if shapes[left][0] - shapes[right][0] > ROUNDER and shapes[left][1] > CAVITY_FULL:
            if found == plain:
                return Recognised(plain)
            return Recognised(found, _taken_note(found, f"there is no wall, and label {left} is the rounder one"))
    if usual:
        return Recognised(plain)
    known = {label: {names[label] for names in CONVENTIONS.values() if label in names} for label in labels}
    if all(len(meanings) == 1 for meanings in known.values()):
        found = {label: meaning for label, (meaning,) in known.items()}
        return Recognised(found, _taken_note(found, "so their numbers are used"))
    raise CardioDiTError(
        f"Which of the labels {', '.join(map(str, labels))} is the left ventricle cannot be told: "
        "none is ringed by another one.",
        _HINT,
    )


def _taken_note(found: Mapping[int, int], why: str) -> str:
    named = ", ".join(f"{label} {NAMES[meaning]}" for label, meaning in found.items() if meaning)
    return f"The labels were taken for {named}: {why}. Give a label map if they mean something else."


def named_segmentation(
    segmentation: Segmentation, label_map: Mapping[int, int] | str | None = None
) -> tuple[Segmentation, str]:
    """A segmentation whose labels mean what they should here.

    Args:
        segmentation: Labels 0 to 3 in any order.
        label_map: See `named_labels`.

    Returns:
        The segmentation (the same object where nothing changes), and a note or an empty text.

    Raises:
        CardioDiTError: See `named_labels`; or a map is given for labels that got their meaning when they were read.
    """
    before = dict(segmentation.meta.get("labels") or {}).get("map")
    if label_map is not None and before:
        if check_label_map(label_map) == {int(label): meaning for label, meaning in before.items()}:
            return named_segmentation(segmentation)
        told = ", ".join(f"{label} {NAMES[meaning]}" for label, meaning in before.items() if meaning)
        raise CardioDiTError(
            f"The labels got their meaning already when they were read: {told}.",
            "Give label_map to load_segmentation, or to this function with the path of the file.",
        )
    array, meta, note = named_labels(segmentation.array, segmentation.meta, label_map)
    if array is segmentation.array:
        return segmentation, note
    return segmentation.with_array(array, meta), note


def named_labels(
    array: NDArray[Any], meta: Mapping[str, Any], label_map: Mapping[int, int] | str | None = None
) -> tuple[NDArray[Any], dict[str, Any], str]:
    """Labels in the numbering 1 RV, 2 myocardium, 3 LV.

    Args:
        array: (T, Z, Y, X), any numbers.
        meta: Provenance; labels that the network made, or that were named before, are not doubted.
        label_map: From the labels to 0 background, 1 RV, 2 myocardium, 3 LV, those not named to background; the name of
            a convention; or None to tell by anatomy.

    Returns:
        The labels (the same array where nothing changes), the provenance with what was done, and a note on it or an
        empty text.

    Raises:
        CardioDiTError: The map cannot be read or names none of the labels; without it, the labels cannot be told.
    """
    stored = whole_labels(array)
    if stored.dtype.kind == "f" and not (np.isfinite(stored).all() and (stored == np.rint(stored)).all()):
        return array, dict(meta), ""  # no labels at all: whoever makes a segmentation of it says so
    if label_map is None and (meta.get("segmentation") or meta.get("labels")):
        return array, dict(meta), str(dict(meta.get("labels") or {}).get("note", ""))
    there = [int(label) for label in np.unique(stored) if label]
    if label_map is None:
        found = recognise_labels(stored)
    else:
        found = Recognised(check_label_map(label_map))
        if there and not any(found.map.get(label) for label in there):
            raise CardioDiTError(f"The label map names none of the labels {', '.join(map(str, there))}.", "Name those.")
        told = recognise_labels(mapped(stored, found.map)).note
        if told and len(set(found.map.values()) - {0}) > 1:
            found = Recognised(found.map, f"The label map contradicts the anatomy. {told}")
    if all(found.map.get(label, 0) == label for label in there) and not found.note:
        # what somebody said is not doubted later
        return array, dict(meta) if label_map is None else {**meta, "labels": about_labels(found)}, ""
    return mapped(stored, found.map), {**meta, "labels": about_labels(found)}, found.note


def about_labels(found: Recognised) -> dict[str, Any]:
    """Plain values for the provenance."""
    return {"map": {str(label): meaning for label, meaning in found.map.items()}, "note": found.note}


def mapped(array: NDArray[Any], label_map: Mapping[int, int]) -> NDArray[np.uint8]:
    """Labels replaced by their meaning, what is not named by 0."""
    result = np.zeros(array.shape, np.uint8)
    for label, meaning in label_map.items():
        if meaning:
            result[array == label] = meaning
    return result


def label_contacts(array: NDArray[Any]) -> dict[tuple[int, int], float]:
    """Share of the in-plane outline of the first label that touches the second, in a few frames.

    Args:
        array: (T, Z, Y, X), whole numbers.
    """
    return _contacts(_telling_planes(array), [int(label) for label in np.unique(array) if label])


def _telling_planes(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Slices of a few frames, evenly over the cycle: enough to tell."""
    frames = np.unique(np.linspace(0, len(array), min(len(array), 6), endpoint=False).astype(int))
    return [plane for t in frames for plane in array[t] if plane.any()]


def _contacts(planes: list[NDArray[Any]], labels: list[int]) -> dict[tuple[int, int], float]:
    """Share of the outline of the first label that touches the second, all slices together."""
    totals = dict.fromkeys(labels, 0)
    shared = {(a, b): 0 for a in labels for b in labels if a != b}
    for whole in planes:
        plane = _about_labels(whole)
        for label in labels:
            own = plane == label
            if own.sum() < FEWEST_PIXELS:
                continue
            # Papillary muscles that are not cavity make no outline.
            filled = ndimage.binary_fill_holes(own)
            rim = plane[ndimage.binary_dilation(filled) & ~filled]
            totals[label] += rim.size
            for other in labels:
                if other != label:
                    shared[label, other] += int((rim == other).sum())
    return {(a, b): shared[a, b] / max(totals[a], 1) for a, b in shared}


def _about_labels(plane: NDArray[Any]) -> NDArray[Any]:
    """What is labelled of a plane, with a pixel around it: outlines are the same, and found sooner."""
    rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    return plane[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]


def _lone(label: int, planes: list[NDArray[Any]]) -> Recognised:
    """One label only: a left cavity where it is round."""
    if label == LEFT:
        return Recognised({label: LEFT})
    shape = _shape(planes, label)
    if shape is not None:
        ratio, full = shape
        if _is_ring(shape):
            return Recognised({label: MUSCLE}, _lone_note(label, MUSCLE, "it is a ring"))
        if ratio > ROUND and full > CAVITY_FULL:
            return Recognised({label: LEFT}, _lone_note(label, LEFT, "it is round"))
    if label in NAMES:
        return Recognised({label: label}, _lone_note(label, label, "its number says so"))
    raise CardioDiTError(f"What the only label, {label}, stands for cannot be told from its shape.", _HINT)


def _lone_note(label: int, meaning: int, why: str) -> str:
    return (
        f"The only label, {label}, was taken for the {NAMES[meaning]}: {why}. "
        "Give a label map if it means something else."
    )


def _is_ring(shape: tuple[float, float]) -> bool:
    return shape[1] < RING_FULL and shape[0] > ROUND


def _shape(planes: list[NDArray[Any]], label: int) -> tuple[float, float] | None:
    """Minor to major axis, and the share that is filled of an ellipse with these axes (a ring or a crescent has less);
    means over slices by area; None where no slice has enough of the label."""
    areas, ratios, full = [], [], []
    for plane in planes:
        places = np.argwhere(plane == label).astype(float)
        if len(places) < FEWEST_PIXELS:
            continue
        spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(places.T)), 1e-9))
        areas.append(len(places))
        ratios.append(float(spread[0] / spread[1]))
        full.append(len(places) / (4 * np.pi * spread[0] * spread[1]))
    if not areas:
        return None
    return float(np.average(ratios, weights=areas)), float(np.average(full, weights=areas))
