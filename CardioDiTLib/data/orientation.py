"""Which way a short-axis stack runs through the chest.

The apex of the heart points to the patient's left, to the front and down; the base lies opposite. That tells which
end of a stack is the base, and gives made-up hearts a plausible place in the patient's coordinates.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Unit vector from base to apex in RAS: left, forward, down, as in the usual short-axis planning.
APEX_DIRECTION = np.array([-0.58, 0.52, -0.63]) / np.linalg.norm([-0.58, 0.52, -0.63])

End = Literal["first", "last"]


def base_end(affine: ArrayLike, labels: ArrayLike | None = None) -> End | None:
    """Which end of the stack is the base of the heart.

    Labels decide where there are any: the cavity tapers towards the apex. Otherwise the slice direction does. Planes
    that lie exactly along the patient's axes are no short-axis planes (the file lost its direction cosines), and
    slices nearly at right angles to the heart's long axis say nothing: then it cannot be told.

    Args:
        affine: (4, 4) index (x, y, z) to mm in RAS.
        labels: (T, Z, Y, X) labels 0-3, or None.

    Returns:
        "first" if slice 0 is at the base, "last" if slice Z - 1 is, None if it cannot be told.
    """
    if labels is not None:
        areas = (np.asarray(labels) == 3).sum(axis=(0, 2, 3)).astype(float)
        used = np.flatnonzero(areas)
        if len(used) >= 3:
            areas = areas[used[0] : used[-1] + 1]
            third = max(1, len(areas) // 3)
            first, last = areas[:third].mean(), areas[-third:].mean()
            if max(first, last) > 1.2 * min(first, last):
                return "first" if first > last else "last"
    directions = np.asarray(affine, dtype=np.float64)[:3, :3]
    directions = directions / np.linalg.norm(directions, axis=0)
    if np.allclose(np.abs(directions).max(axis=0), 1.0, atol=1e-3):
        return None
    cosine = float(directions[:, 2] @ APEX_DIRECTION)
    if abs(cosine) < 0.35:
        return None
    return "first" if cosine > 0 else "last"


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
