"""Does the header of a file fit the heart in it? Where the ventricles and the base lie, compared with the patient's
directions that the header gives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.data.orientation import (
    ANTERIOR_DIRECTION,
    APEX_DIRECTION,
    SMALLEST_COSINE,
    contradict,
    has_directions,
    header_evidence,
    label_evidence,
)
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LV, RV

FEWEST_PIXELS = 20
"""A slice with less of either cavity is not used for the direction."""

AGREEMENT = 0.5
"""Length of the mean unit vector, slices weighted by the right ventricle's area, below which there is no direction."""

USUAL_DEG, FARTHEST_DEG = 75.0, 70.0
"""Seen from the apex, the right ventricle lies so far from the anterior direction, towards the patient's right: 46 to
88 degrees in eight recorded cines of three scanners. Farther from it by more than the second number lies none."""

MOST_OBLONG = 2.5
"""Ratio of the sides of a pixel beyond which a plane is none of a short axis."""

LONGEST_MM = 800.0
"""No stack across a heart is longer."""

_TELLING_FRAMES = 6


def right_ventricle_direction(labels: NDArray[np.uint8], spacing_xy_mm: tuple[float, float]) -> float | None:
    """Angle of the direction from the left to the right cavity's centre, over all slices and frames.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        spacing_xy_mm: (x, y) mm.

    Returns:
        Radians in the image, x to the right and y down: 0 to the right, pi to the left; None where slices do not
        agree, or none shows both cavities.
    """
    total, weights = np.zeros(2), 0.0
    for plane in labels.reshape(-1, *labels.shape[2:]):
        right, left = np.argwhere(plane == RV), np.argwhere(plane == LV)
        if min(len(right), len(left)) < FEWEST_PIXELS:
            continue
        way = (right.mean(axis=0) - left.mean(axis=0))[::-1] * spacing_xy_mm
        length = float(np.hypot(*way))
        if length > 0:
            total += len(right) * way / length
            weights += len(right)
    if weights == 0 or np.hypot(*total) < AGREEMENT * weights:
        return None
    return math.atan2(total[1], total[0])


def check_slice_axis(spacing_mm: tuple[float, float, float], slices: int) -> None:
    """See that planes are planes of a short axis: pixels nearly as high as they are wide, unless planes lie farther
    apart than either; a stack no longer than a chest.

    Args:
        spacing_mm: (x, y, z) mm.
        slices: Z.

    Raises:
        CardioDiTError: They are not, as where a file stores the slices along its first or second axis.
    """
    x, y, z = spacing_mm
    hint = "Store them along the third axis, x and y in plane, with a header that says so."
    if slices * z > LONGEST_MM:
        raise CardioDiTError(
            f"The {slices} slices, {z:.3g} mm apart, make a stack of {slices * z:.0f} mm, so the slices seem to lie "
            "along another axis of the file.",
            hint,
        )
    if max(x, y) <= MOST_OBLONG * min(x, y) or z >= max(x, y):
        return
    raise CardioDiTError(
        f"The planes have pixels of {x:.3g} x {y:.3g} mm and are {z:.3g} mm apart, so the slices seem to lie along the "
        f"{'first' if x > y else 'second'} axis of the file.",
        hint,
    )


def header_doubts(affine: ArrayLike, labels: NDArray[np.uint8]) -> tuple[str, ...]:
    """What in the labels of a heart contradicts the header of its file.

    Two things are compared: the end of the stack at which the base lies (`data.orientation.base_end`, by the labels and
    by the slice direction), and the side on which the right ventricle lies. A header without directions of its own
    (planes exactly along the patient's axes) is not judged.

    Args:
        affine: (4, 4) index (x, y, z) to mm in RAS.
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.

    Returns:
        A sentence for each; none where all fits or nothing can be told.
    """
    if not has_directions(affine):
        return ()
    told = telling_frames(labels)
    return tuple(sentence for sentence in (_reversed(affine, told), _turned(affine, told)) if sentence)


def telling_frames(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A few frames, evenly over the cycle."""
    return labels[np.unique(np.linspace(0, len(labels), _TELLING_FRAMES, endpoint=False).astype(int))]


def _reversed(affine: ArrayLike, labels: NDArray[np.uint8]) -> str:
    header, anatomy = header_evidence(affine), label_evidence(labels)
    if not contradict(header, anatomy):
        return ""
    return (
        f"By the labels the base of the heart lies at the {'first' if anatomy > 0 else 'last'} slice, by the header of "
        "the file at the other end: the slices may have been put in another order without their header."
    )


def _turned(affine: ArrayLike, labels: NDArray[np.uint8]) -> str:
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    axes = matrix / spacing
    across = np.cross(axes[:, 0], axes[:, 1])
    to_apex = float(across @ APEX_DIRECTION)
    anterior = ANTERIOR_DIRECTION - (ANTERIOR_DIRECTION @ across) * across
    angle = right_ventricle_direction(labels, (float(spacing[0]), float(spacing[1])))
    if angle is None or abs(to_apex) < SMALLEST_COSINE or np.linalg.norm(anterior) < SMALLEST_COSINE:
        return ""
    towards_rv = math.cos(angle) * axes[:, 0] + math.sin(angle) * axes[:, 1]
    anterior = anterior / np.linalg.norm(anterior)
    right = np.cross(anterior, across if to_apex < 0 else -across)
    seen = math.degrees(math.atan2(float(towards_rv @ right), float(towards_rv @ anterior)))
    off = abs((seen - USUAL_DEG + 180.0) % 360.0 - 180.0)
    if off <= FARTHEST_DEG:
        return ""
    return (
        f"By the header of the file the right ventricle lies {off:.0f} degrees away from where it lies in a patient, "
        "seen from the apex: the images may have been turned or mirrored without their header."
    )
