"""Which way a short-axis stack runs through the chest.

The apex of the heart points to the patient's left, to the front and down; the base lies opposite. This decides which
end of a stack is the base, and gives synthetic hearts a plausible place in the patient's coordinates.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Unit vector from base to apex in RAS: left, forward, down, as in the usual short-axis planning.
APEX_DIRECTION = np.array([-0.58, 0.52, -0.63]) / np.linalg.norm([-0.58, 0.52, -0.63])

ANTERIOR_DIRECTION = np.array([0.0, 1.0, 1.0]) / np.sqrt(2.0)
"""In RAS: forward and up, which is where the anterior insertion lies from the inferior one."""

SMALLEST_COSINE = 0.35
"""A direction that agrees less than this (about 70 degrees off) decides nothing."""

End = Literal["first", "last"]

ENOUGH_EVIDENCE = 1.0
"""Log odds, below which no end is named the base."""

LEFT_WEIGHT, RIGHT_WEIGHT = 2.4, 1.1
"""Log odds for each unit of the logarithm of the ratio of areas, first third of the labelled slices to the last."""

HEADER_WEIGHT = 3.0
"""Log odds of a slice direction that is exactly that of the heart's long axis."""

TELLING = 2.0
"""Log odds of labels that are believed against a header: experts' labels of 70 ACDC patients have 1.8 to 8, and none
has them for the wrong end, where a header may be that of other images."""


def base_end(affine: ArrayLike, labels: ArrayLike | None = None) -> End | None:
    """Which end of the stack is the base of the heart.

    The evidence, as log odds, is added up: in labels the left cavity tapers towards the apex, and the right ventricle
    lies at the base and ends before the left one does; and the slice direction, where the file has kept it. Planes that
    lie exactly along the patient's axes are no short-axis planes (the file lost its direction cosines), and slices
    nearly at right angles to the heart's long axis count nothing. Where the sum is small, the result is None. Where
    labels that tell clearly contradict the slice direction, they are believed alone.

    The weights were fitted to stacks of ACDC, whole and cut to some slices of theirs (3 or more); of such stacks of
    other patients labels alone name the right end in 87 %, the wrong one in 0.3 %, and none in the rest.

    Args:
        affine: (4, 4) index (x, y, z) to mm in RAS.
        labels: (T, Z, Y, X) labels 0-3, or None.

    Returns:
        "first" if slice 0 is at the base, "last" if slice Z - 1 is, None if it cannot be told.
    """
    evidence = header_evidence(affine)
    if labels is not None:
        told = label_evidence(np.asarray(labels))
        evidence = told if contradict(evidence, told) else evidence + told
    if abs(evidence) < ENOUGH_EVIDENCE:
        return None
    return "first" if evidence > 0 else "last"


def contradict(header: float, labels: float) -> bool:
    """Whether labels that tell clearly put the base at the other end than the header does; log odds of both."""
    return header * labels < 0 and abs(labels) >= TELLING


def has_directions(affine: ArrayLike) -> bool:
    """Whether a header kept the directions of a short axis: its planes do not lie exactly along the patient's axes."""
    directions = np.asarray(affine, dtype=np.float64)[:3, :3]
    directions = directions / np.linalg.norm(directions, axis=0)
    return not np.allclose(np.abs(directions).max(axis=0), 1.0, atol=1e-3)


def header_evidence(affine: ArrayLike) -> float:
    """Log odds, positive where the slice direction puts slice 0 at the base; 0 where it decides nothing."""
    if not has_directions(affine):
        return 0.0
    through = np.asarray(affine, dtype=np.float64)[:3, 2]
    cosine = float(through @ APEX_DIRECTION / np.linalg.norm(through))
    return HEADER_WEIGHT * cosine if abs(cosine) >= SMALLEST_COSINE else 0.0


def label_evidence(labels: NDArray[np.generic]) -> float:
    """Log odds, positive where the labels put slice 0 at the base; 0 where too few slices are labelled."""
    left, right = ((labels == label).sum(axis=(0, 2, 3)).astype(float) for label in (3, 1))
    used = np.flatnonzero(left)
    if len(used) < 3:
        return 0.0
    part, least = slice(used[0], used[-1] + 1), 0.03 * left.max()
    third = max(1, (used[-1] + 1 - used[0]) // 3)

    def first_to_last(areas: NDArray[np.float64]) -> float:
        return float(np.log((areas[part][:third].mean() + least) / (areas[part][-third:].mean() + least)))

    return LEFT_WEIGHT * first_to_last(left) + RIGHT_WEIGHT * first_to_last(right)


def short_axis_affine(
    shape_zyx: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    base_first: bool = True,
    centre_ras_mm: tuple[float, float, float] = (-30.0, 20.0, -20.0),
) -> NDArray[np.float64]:
    """A plausible oblique short-axis affine for a heart that has none of its own.

    Columns run to the patient's left (so that the right ventricle is on the left of the picture), rows run backward
    (the front wall is on top), slices along the long axis.

    Args:
        shape_zyx: (Z, Y, X).
        spacing_mm: (x, y, z) mm.
        base_first: Slice 0 at the base; the affine is then left-handed, as the in-plane picture stays what it is.
        centre_ras_mm: Where the middle of the stack lies, mm RAS.

    Returns:
        (4, 4) index (x, y, z) to mm in RAS.
    """
    slice_direction = APEX_DIRECTION if base_first else -APEX_DIRECTION
    x = np.array([-0.80, -0.10, 0.60])
    x -= (x @ APEX_DIRECTION) * APEX_DIRECTION
    x /= np.linalg.norm(x)
    y = np.cross(-APEX_DIRECTION, x)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([x, y, slice_direction]) * np.asarray(spacing_mm, dtype=np.float64)
    middle = (np.asarray(shape_zyx[::-1], dtype=np.float64) - 1.0) / 2.0
    affine[:3, 3] = np.asarray(centre_ras_mm) - affine[:3, :3] @ middle
    return affine
