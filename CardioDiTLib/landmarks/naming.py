"""Which of two insertion points is the anterior one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.orientation import ANTERIOR_DIRECTION, APEX_DIRECTION, SMALLEST_COSINE, has_directions

_NO_ORIENTATION = "gives no orientation"  # what the readers note where a file's header has none

Rule = Literal["patient", "long axis", "picture", "none"]


@dataclass(frozen=True)
class Naming:
    """How the two points were named.

    Attributes:
        first_is_anterior: Whether the point that a walk anti-clockwise on the screen meets first is the anterior one.
        rule: What decided: "patient" directions, the heart's "long axis", the "picture" as it is usually shown, or
            "none" where there are no points.
        agreement: Share of the septum's length, over slices and frames, in slices that by themselves give the same
            names; NaN where the picture decided.
        note: Evidence against the decision; empty where there is none.
    """

    first_is_anterior: bool
    rule: Rule
    agreement: float
    note: str = ""


CONTRADICTION = (
    "The header of the file and the anatomy disagree on which insertion point is the anterior one: the picture may "
    "have been turned or mirrored without its header. Look at the points; 'swap' exchanges their names."
)


def name_points(
    affine: NDArray[np.float64],
    meta: Mapping[str, Any],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    septum_mm: NDArray[np.float64],
) -> Naming:
    """Decide once for a whole segmentation which end of the septum is anterior.

    A walk around the left ventricle that always turns the same way meets the two points in the same order in every
    slice and frame, so one decision holds for all of them:

    1. *patient*: the vectors from the second to the first point, weighted by the length of the septum and added up, are
       compared with the patient's anterior-superior direction in the slice plane; the anterior point lies that way.
    2. *long axis*, where that is nearly at right angles to the septum: seen from the apex, the anterior insertion
       comes before the inferior one when walking anti-clockwise from the free wall; the apex lies towards the patient's
       left, front and feet.
    3. *picture*, where the planes lie exactly along the patient's axes, so that the file has lost its orientation: the
       slice is taken to be seen from the apex as usual, as it is displayed with x to the right and y down (right
       ventricle to the left, front wall up, but turned any way). It is judged in the file's own coordinates, so that
       mirroring an array together with its affine changes nothing. A picture that was mirrored without a trace gives
       swapped names; the shape of the heart may tell (`landmarks.handedness`).

    Where the header has directions, both the direction from point to point (1) and the sense of the walk as seen from
    the apex (2) can be computed from it; they agree only if the image is oriented as its header says. Where they differ
    the first still names the points, and the note says so.

    Args:
        affine: (4, 4) index (x, y, z) to mm in RAS.
        meta: Provenance; tells whether the file had an orientation.
        first: (N, 3) mm RAS, where the septum begins on the walk.
        second: (N, 3) mm RAS, where it ends.
        septum_mm: (N,) its length.

    Returns:
        The decision.
    """
    if not len(first):
        return Naming(True, "none", float("nan"))
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    facing = np.cross(axes[:, 0], axes[:, 1])  # away from who looks at the picture, x to the right and y down
    if not has_directions(affine):
        through = int(np.argmax(np.abs(facing)))
        # a reader that knows no orientation mirrors x, which must be taken back
        mirrored = any(_NO_ORIENTATION in str(note) for note in meta.get("notes", []))
        return Naming(bool((facing[through] > 0) != mirrored), "picture", float("nan"))

    towards = ANTERIOR_DIRECTION - (ANTERIOR_DIRECTION @ facing) * facing
    vectors = first - second
    weights = np.asarray(septum_mm, dtype=np.float64)
    total = weights @ (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
    scale = float(np.linalg.norm(total) * np.linalg.norm(towards))
    cosine = float(total @ towards) / scale if scale > 0 else 0.0
    seen_from_apex = float(facing @ -APEX_DIRECTION)
    if np.linalg.norm(towards) >= SMALLEST_COSINE and abs(cosine) >= SMALLEST_COSINE:
        anterior = cosine > 0
        same = ((vectors @ towards) > 0) == anterior
        contradicted = abs(seen_from_apex) >= SMALLEST_COSINE and bool(seen_from_apex > 0) != bool(anterior)
        note = CONTRADICTION if contradicted else ""
        return Naming(bool(anterior), "patient", float(weights[same].sum() / weights.sum()), note)
    return Naming(seen_from_apex > 0, "long axis", float("nan"))
