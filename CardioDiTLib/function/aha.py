"""The segments of the left ventricle of the American Heart Association.

Cerqueira et al., Circulation 105, 539-542, 2002: basal and mid-cavity thirds of six segments each, an apical third of
four, and the apical cap. Here the six are placed by the two right-ventricular insertion points instead of fixed steps
of 60 degrees, which are the special case of a septum of 120 degrees:

* the septum, from the anterior to the inferior insertion, holds two equal segments: anteroseptal, inferoseptal;
* the rest of the ring holds four equal ones: inferior, inferolateral, anterolateral, anterior;
* the four apical ones span 90 degrees each, the septal one about the middle of the septum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data.orientation import End
from CardioDiTLib.function.septum import turn_angles
from CardioDiTLib.function.wall_thickness import RingThickness, around
from CardioDiTLib.labels import LV, MYOCARDIUM, MYOCARDIUM_G_PER_ML

SEGMENT_NAMES: tuple[str, ...] = (
    *("basal anterior", "basal anteroseptal", "basal inferoseptal"),
    *("basal inferior", "basal inferolateral", "basal anterolateral"),
    *("mid anterior", "mid anteroseptal", "mid inferoseptal"),
    *("mid inferior", "mid inferolateral", "mid anterolateral"),
    *("apical anterior", "apical septal", "apical inferior", "apical lateral"),
    "apex",
)
"""Names of segments 1 to 17."""

SEPTUM_DEG = (60.0, 200.0)
"""Arcs of the septum, seen from the cavity, that can bound two segments of about 60 degrees.

Near the apex only a corner of the right ventricle is left and the points draw together; elsewhere such arcs are
misplaced points. Neither says where the septum is.
"""

CAP_REASON = "the thickness of the apical cap lies along the long axis and is not measured in short-axis slices"

_BASAL, _MID, _APICAL = 0, 1, 2


@dataclass(frozen=True)
class SegmentLayout:
    """Where the segments are in one frame.

    Attributes:
        frame: Index of the frame.
        axis: (3,) unit vector RAS, the turn from the anterior through the septum to the inferior point.
        levels: Slice to 0 basal, 1 mid, 2 apical.
        cap: Slices of the apical cap: muscle without a cavity, beyond the last ring.
        starts: Slice to (3,) mm RAS offset from the cavity's centre towards the anterior insertion.
        septa: Slice to the arc of the septum, radian.
    """

    frame: int
    axis: NDArray[np.float64]
    levels: dict[int, int]
    cap: tuple[int, ...]
    starts: dict[int, NDArray[np.float64]]
    septa: dict[int, float]


def level_of_slices(rings: list[int], base: End) -> dict[int, int]:
    """Divide the slices with a closed ring into thirds from base to apex.

    Each slice belongs to the third that its middle lies in: 7 slices give 2, 3, 2 and 8 give 3, 2, 3.

    Args:
        rings: Indices of the slices, rising.
        base: Which end of the stack is the base.

    Returns:
        Slice to 0 basal, 1 mid, 2 apical.
    """
    ordered = rings if base == "first" else rings[::-1]
    return {z: int(3 * (k + 0.5) / len(ordered)) for k, z in enumerate(ordered)}


def segment_layout(
    segmentation: Segmentation,
    landmarks: LandmarkTrack,
    frame: int,
    rings: dict[int, RingThickness],
    base: End | None,
    axis: NDArray[np.float64],
) -> SegmentLayout | str:
    """Place the segments in one frame.

    A slice without both points, or whose points span no possible septum (:data:`SEPTUM_DEG`), takes the directions of
    the nearest slice that has them, of two equally near ones the more basal.

    Args:
        segmentation: Labels.
        landmarks: Points of the same frames and slices.
        frame: Index of the frame.
        rings: Slice to its wall, for all slices with a closed ring in that frame.
        base: Which end of the stack is the base.
        axis: See :func:`CardioDiTLib.function.septum.turning_axis`.

    Returns:
        The layout, or the reason why there is none.
    """
    if base is None:
        return "it cannot be told which end of the stack is the base"
    if len(rings) < 3:
        return f"only {len(rings)} slices show a closed ring of myocardium, three are needed"
    levels = level_of_slices(sorted(rings), base)
    low, high = np.radians(SEPTUM_DEG)
    own: dict[int, tuple[NDArray[np.float64], float]] = {}
    for z in rings:
        anterior, inferior = landmarks.points[frame, z]
        if landmarks.found[frame, z].all():
            centre = _centre(segmentation, z, rings[z])
            arc = float(turn_angles(inferior[None], centre, anterior, axis)[0])
            if low <= arc <= high:
                own[z] = (anterior - centre, arc)
    if not own:
        return "no slice with a closed ring holds two insertion points that can bound a septum"
    toward_apex = 1 if base == "first" else -1
    nearest = {z: min(own, key=lambda o: (abs(o - z), toward_apex * o)) for z in rings}
    last = max(rings, key=lambda z: toward_apex * z)
    plane = segmentation.array[frame]
    cap = tuple(
        z
        for z in range(segmentation.n_slices)
        if toward_apex * (z - last) > 0 and (plane[z] == MYOCARDIUM).any() and not (plane[z] == LV).any()
    )
    return SegmentLayout(
        frame, axis, levels, cap, {z: own[n][0] for z, n in nearest.items()}, {z: own[n][1] for z, n in nearest.items()}
    )


def segment_of_angle(angles: NDArray[np.float64], septum: float, level: int) -> NDArray[np.int64]:
    """Number of the segment at an angle.

    Args:
        angles: (N,) radian from the anterior insertion through the septum to the inferior one and on.
        septum: Arc of the septum, radian.
        level: 0 basal, 1 mid, 2 apical.

    Returns:
        (N,) 1 to 16.
    """
    # A hair further, so that rounding does not decide where pixels on a border go, however the array is stored.
    turned = np.mod(angles + 1e-9, 2.0 * np.pi)
    if level == _APICAL:
        quarter = np.floor(np.mod(turned - septum / 2.0 + np.pi / 4.0, 2.0 * np.pi) / (np.pi / 2.0)).astype(np.int64)
        return np.array([14, 15, 16, 13])[np.minimum(quarter, 3)]
    rest = (2.0 * np.pi - septum) / 4.0
    edges = np.array([septum / 2.0, septum, septum + rest, septum + 2 * rest, septum + 3 * rest])
    return np.array([2, 3, 4, 5, 6, 1])[np.searchsorted(edges, turned, side="right")] + 6 * level


def segment_thickness_mm(
    segmentation: Segmentation, layout: SegmentLayout, rings: dict[int, RingThickness]
) -> NDArray[np.float64]:
    """Mean wall thickness in each segment, every degree and every slice of the segment counting the same.

    Args:
        segmentation: Geometry.
        layout: Where the segments are.
        rings: Slice to its wall.

    Returns:
        (17,) mm; NaN where no slice belongs to the segment, and for the apical cap (:data:`CAP_REASON`).
    """
    even = np.asarray((np.arange(360) + 0.5) * (2.0 * np.pi / 360), dtype=np.float64)
    sums, counts = np.zeros(18), np.zeros(18)
    for z, ring in rings.items():
        index = np.column_stack([ring.points, np.full(len(ring.points), z)])
        centre = _centre(segmentation, z, ring)
        angles = turn_angles(segmentation.index_to_ras(index), centre, centre + layout.starts[z], layout.axis)
        numbers = segment_of_angle(even, layout.septa[z], layout.levels[z])
        np.add.at(sums, numbers, around(angles, ring.thickness_mm))
        np.add.at(counts, numbers, 1)
    return np.divide(sums, counts, out=np.full(18, np.nan), where=counts > 0)[1:]


def segment_labels(
    segmentation: Segmentation, layout: SegmentLayout, rings: dict[int, RingThickness]
) -> NDArray[np.uint8]:
    """Number of the segment in every pixel of myocardium of one frame.

    Args:
        segmentation: Labels.
        layout: Where the segments are.
        rings: Slice to its wall.

    Returns:
        (Z, Y, X), 1 to 17, 0 elsewhere; muscle in slices without a closed ring on the side of the base is 0.
    """
    labels = segmentation.array[layout.frame]
    result = np.zeros(labels.shape, np.uint8)
    for z, ring in rings.items():
        y, x = np.nonzero(labels[z] == MYOCARDIUM)
        centre = _centre(segmentation, z, ring)
        points = segmentation.index_to_ras(np.column_stack([x, y, np.full(len(x), z)]))
        angles = turn_angles(points, centre, centre + layout.starts[z], layout.axis)
        result[z, y, x] = segment_of_angle(angles, layout.septa[z], layout.levels[z])
    for z in layout.cap:
        result[z][labels[z] == MYOCARDIUM] = 17
    return result


def segment_mass_g(segmentation: Segmentation, numbers: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mass of the muscle of each segment: (17,) g, NaN where a segment has no pixel; numbers are (Z, Y, X)."""
    counts = np.bincount(numbers.ravel(), minlength=18)[1:18]
    return np.where(counts > 0, counts * segmentation.voxel_volume_ml * MYOCARDIUM_G_PER_ML, np.nan)


def _centre(segmentation: Segmentation, index: int, ring: RingThickness) -> NDArray[np.float64]:
    return segmentation.index_to_ras([*ring.centre, index])
