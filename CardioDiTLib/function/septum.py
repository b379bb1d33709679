"""The septum, seen by the two right-ventricular insertion points, in the patient's space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data.orientation import APEX_DIRECTION, End
from CardioDiTLib.function.volumes import pixel_counts
from CardioDiTLib.labels import LV, RV

MOST_OFF_SLICES = 0.5
"""A point further from the middle of its slice than this, in slices, is nearer to another one."""

_PATIENT_LEFT = np.array([-1.0, 0.0, 0.0])


@dataclass(frozen=True)
class SeptalCurves:
    """Direction and length of the line between the insertion points.

    Attributes:
        angle_deg: (T,) within (-180, 180]; NaN where there is none.
        length_mm: (T,); NaN where there is none.
        angle_reason: Why there is no angle at all; empty where there is one.
        length_reason: The same for the length.
    """

    angle_deg: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    angle_reason: str
    length_reason: str


def slice_normal(segmentation: Segmentation) -> NDArray[np.float64]:
    """Unit normal of the slices in RAS, whatever the order of axes and slices of the array.

    Of the two it is the one that points to where the apex of a heart usually lies (left, forward, down).
    """
    normal = np.cross(segmentation.affine[:3, 0], segmentation.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    return np.asarray(normal if normal @ APEX_DIRECTION >= 0 else -normal)


def septal_curves(segmentation: Segmentation, landmarks: LandmarkTrack) -> SeptalCurves:
    """Angle and length of the line from the anterior to the inferior insertion point, frame by frame.

    The angle lies in the slice plane: from the patient's left (projected onto the plane) to the line, counter-clockwise
    as seen from the apex side, the usual view of a short axis. -90 degrees is a septum that runs straight down the
    usual picture. It is made of directions in the patient's space, so it does not depend on how the array is stored.

    Only slices that hold both points in every frame that has any point count, so that a slice that comes and goes does
    not make the curves jump; over them the angle is the circular mean and the length the mean.

    Args:
        segmentation: Geometry of the slices.
        landmarks: Points of the same frames and slices.

    Returns:
        The curves.
    """
    none = np.full(landmarks.n_frames, np.nan)
    both = np.asarray(landmarks.found.all(axis=2))
    frames = np.asarray(landmarks.found.any(axis=(1, 2)))
    if not frames.any():
        reason = "the landmarks hold no point"
        return SeptalCurves(none, none.copy(), reason, reason)
    slices = both[frames].all(axis=0)
    if not slices.any():
        reason = "no slice holds both insertion points in all frames that have any"
        return SeptalCurves(none, none.copy(), reason, reason)
    lines = landmarks.points[:, slices, 1] - landmarks.points[:, slices, 0]
    length = np.linalg.norm(lines, axis=-1).mean(axis=1)
    normal = slice_normal(segmentation)
    left = _PATIENT_LEFT - (_PATIENT_LEFT @ normal) * normal
    if np.linalg.norm(left) < 0.1:
        return SeptalCurves(none, length, "the slices face the patient's left, which leaves no zero for an angle", "")
    left /= np.linalg.norm(left)
    up = np.cross(normal, left)
    directions = np.exp(1j * np.arctan2(lines @ up, lines @ left)).sum(axis=1)
    angle = np.degrees(np.angle(directions))
    return SeptalCurves(np.where(angle <= -180.0, 180.0, angle), length, "", "")


def turning_axis(
    segmentation: Segmentation, landmarks: LandmarkTrack, base: End | None
) -> tuple[NDArray[np.float64] | None, str]:
    """Axis about which one turns, right-handed, from the anterior insertion point through the septum to the inferior.

    The septum is where the right ventricle is: in each slice the arc that holds the centre of the RV label tells, and
    the majority of slices decides. Without RV labels the heart's own handedness does: seen from the apex, the septum
    lies counter-clockwise from the anterior insertion. Neither depends on the order of the array.

    Args:
        segmentation: Labels.
        landmarks: Points of the same frames and slices.
        base: Which end of the stack is the base.

    Returns:
        Unit vector in RAS and a note; the vector is None, and the note the reason, where it cannot be told.
    """
    normal = slice_normal(segmentation)
    usable = landmarks.found.all(axis=2)
    for label in (LV, RV):
        usable &= pixel_counts(segmentation, label) > 0
    votes = 0
    for t, z in np.argwhere(usable):
        left, right = (label_centre(segmentation, t, z, label) for label in (LV, RV))
        inferior, rv = turn_angles(
            np.stack([landmarks.points[t, z, 1], right]), left, landmarks.points[t, z, 0], normal
        )
        votes += 1 if rv < inferior else -1
    by_anatomy = None
    if base is not None:
        sign = 1.0 if base == "first" else -1.0
        by_anatomy = sign * segmentation.affine[:3, 2] / np.linalg.norm(segmentation.affine[:3, 2])
    if votes:
        axis = normal if votes > 0 else -normal
        mirrored = by_anatomy is not None and axis @ by_anatomy < 0
        note = (
            "The right ventricle lies on the other side than in a normally placed heart: "
            "the anterior and inferior points are exchanged, or the file lost its orientation."
        )
        return axis, note if mirrored else ""
    if by_anatomy is not None:
        return by_anatomy, ""
    return None, "it cannot be told on which side of the insertion points the septum lies (no RV label, base not known)"


def misplaced_note(segmentation: Segmentation, landmarks: LandmarkTrack) -> str:
    """A sentence where most points lie beside the slices that they are named for, or beside the pictures: they belong
    to another cine, or to slices in another order. Empty where they fit.

    Args:
        segmentation: Geometry.
        landmarks: Points of as many frames and slices.
    """
    frames, slices, sides = np.nonzero(landmarks.found)
    if not len(frames):
        return ""
    x, y, z = segmentation.ras_to_index(landmarks.points[frames, slices, sides]).T
    off = np.abs(z - slices)
    rows, columns = segmentation.shape[2:]
    beside = (np.abs(x - (columns - 1) / 2) > columns / 2) | (np.abs(y - (rows - 1) / 2) > rows / 2)
    if np.median(off) <= MOST_OFF_SLICES and beside.mean() <= 0.5:
        return ""
    where = f"{np.median(off) * segmentation.spacing[2]:.0f} mm from their slices"
    if beside.mean() > 0.5:
        where = "beside the pictures"
    return (
        f"The insertion points lie {where}: they may be those of another cine, or of slices in another order; septum "
        "and segments rest on them."
    )


def label_centre(segmentation: Segmentation, frame: int, index: int, label: int) -> NDArray[np.float64]:
    """Centre of a label in one slice: (3,) mm RAS."""
    y, x = np.nonzero(segmentation.array[frame, index] == label)
    return segmentation.index_to_ras([x.mean(), y.mean(), index])


def turn_angles(
    points: NDArray[np.float64], centre: NDArray[np.float64], start: NDArray[np.float64], axis: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Angle about an axis from a starting direction to points.

    Args:
        points: (N, 3) mm RAS.
        centre: (3,) mm, the point that is turned about.
        start: (3,) mm, a point in the direction of angle 0.
        axis: (3,) unit vector; the turn is right-handed about it.

    Returns:
        (N,) radian from 0 to 2 pi.
    """
    first = start - centre
    first = first - (first @ axis) * axis
    second = np.cross(axis, first)
    offsets = points - centre
    return np.asarray(np.mod(np.arctan2(offsets @ second, offsets @ first), 2.0 * np.pi))
