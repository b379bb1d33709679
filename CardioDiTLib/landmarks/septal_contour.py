"""Insertion points of one slice, found by a walk around the left ventricle's outer border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data.header_check import check_slice_axis, header_doubts
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.label_convention import named_segmentation
from CardioDiTLib.labels import LV, MYOCARDIUM, RV
from CardioDiTLib.landmarks.handedness import first_is_anterior_log_odds, naming_note
from CardioDiTLib.landmarks.naming import name_points

# Neighbours of a pixel, clockwise on the screen (y runs down), from the left one.
_CLOCKWISE = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))

_PLACE = {step: place for place, step in enumerate(_CLOCKWISE)}
Point = tuple[float, float]

SMOOTHING_MM = 1.5
"""Standard deviation of the smoothing along the outline: staircases of pixels vanish, the corner stays."""

SHORTEST_SEPTUM_MM = 6.0
"""A shorter contact of the ventricles is taken for an accidental contact of labels, not for a septum."""

WIDEST_CLEFT_MM = 5.0
"""Stretches of the septum that lie closer together than this, along the outline, are one."""

WIDEST_GAP_MM = 4.0
"""Labels that do not touch still count as neighbours up to this distance, at half the confidence."""

SURE_SEPTUM_MM = 15.0
"""From this length on the length of the septum takes nothing from the confidence."""

_SMALLEST_PART = 0.1  # pieces of the RV below this share of the largest one are taken for noise


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 4-connected component of a mask; the first in raster order where several are as large.

    Args:
        mask: (Y, X).

    Returns:
        (Y, X), all False where the mask is empty.
    """
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask.copy()
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def pixel_contour(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Outer border pixels of the component that comes last in raster order, walked anti-clockwise on the screen.

    Border following after Suzuki and Abe (CVGIP 1985), outer borders only. The walk starts at the component's topmost,
    then leftmost pixel and passes a pixel as often as the border does. Components are 8-connected; one that lies in a
    hole of another does not count. "Last" is the first entry of the list that widely used libraries return.

    Args:
        mask: (Y, X).

    Returns:
        (N, 2) pixel indices (y, x) in walking order; N is 0 where the mask is empty.
    """
    filled = ndimage.binary_fill_holes(mask)
    labels, count = ndimage.label(filled, structure=np.ones((3, 3)))
    if not count:
        return np.zeros((0, 2), np.int64)
    region = np.pad(labels == count, 1)  # label() numbers components by their first pixel in raster order
    start = tuple(int(v) for v in np.argwhere(region)[0])

    def next_pixel(centre: tuple[int, int], place: int, turn: int) -> tuple[int, int] | None:
        """First pixel of the region around ``centre`` from ``place`` on; turn 1 is clockwise, -1 anti-clockwise."""
        for step in range(8):
            dy, dx = _CLOCKWISE[(place + turn * step) % 8]
            if region[centre[0] + dy, centre[1] + dx]:
                return centre[0] + dy, centre[1] + dx
        return None

    last = next_pixel((start[0], start[1]), 0, 1)
    walk = [(start[0], start[1])]
    if last is not None:
        before, here = last, walk[0]
        while True:
            place = _PLACE[before[0] - here[0], before[1] - here[1]]
            following = next_pixel(here, place - 1, -1)
            assert following is not None  # `before` itself is a neighbour in the region
            if following == walk[0] and here == last:
                break
            walk.append(following)
            before, here = here, following
    return np.asarray(walk, np.int64) - 1


def edge_contour(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outline of a region without holes along the edges of its pixels, anti-clockwise on the screen.

    Unlike a walk through pixel centres it is the same whatever way the array is turned or mirrored, and it lies where
    the region ends.

    Args:
        mask: (Y, X), one 4-connected component without holes.

    Returns:
        (N, 2) midpoints (y, x) of the edges in pixels, a closed walk, and (N, 2) the pixel (y, x) outside at each edge,
        which may lie one pixel beyond the array.
    """
    region = np.pad(mask, 1)
    # side: offset of the pixel outside, corners where the edge starts and ends (pixel i spans corners i and i + 1)
    sides = (
        ((0, -1), (0, 0), (1, 0)),
        ((1, 0), (1, 0), (1, 1)),
        ((0, 1), (1, 1), (0, 1)),
        ((-1, 0), (0, 1), (0, 0)),
    )
    leaving: dict[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]] = {}
    for (oy, ox), (sy, sx), (ey, ex) in sides:
        for y, x in np.argwhere(region & ~np.roll(region, (-oy, -ox), axis=(0, 1))).tolist():
            edge = ((y, x), (y + oy, x + ox), (y + ey, x + ex))
            leaving.setdefault((y + sy, x + sx), []).append(edge)
    if not leaving:
        return np.zeros((0, 2)), np.zeros((0, 2), np.int64)
    start = min(leaving)
    corner, pixel = start, leaving[start][0][0]
    middles, outside = [], []
    while True:
        options = leaving[corner]
        # where two pixels touch by a corner only, the walk stays with the pixel that it came along
        edge = next((option for option in options if option[0] == pixel), options[0])
        pixel, beyond, end = edge
        middles.append(((corner[0] + end[0]) / 2.0, (corner[1] + end[1]) / 2.0))
        outside.append(beyond)
        corner = end
        if corner == start:
            break
    # corner k of the padded array lies at pixel coordinate k - 1.5 of the given one
    return np.asarray(middles) - 1.5, np.asarray(outside, np.int64) - 1


@dataclass(frozen=True)
class SeptalContour:
    """Where the right ventricle is inserted in one slice.

    Attributes:
        first: (y, x) in pixels, where the septum begins when the outline of the left ventricle is walked anti-clockwise
            on the screen (x to the right, y down).
        second: (y, x) in pixels, where it ends.
        septum_mm: Length of the outline between them along which the ventricles touch.
        confidence: 0 to 1: the share that this contact has of all contact between the ventricles, less where it is
            shorter than :data:`SURE_SEPTUM_MM`, half where the labels do not touch.
    """

    first: Point
    second: Point
    septum_mm: float
    confidence: float


def trace_septal_contour(labels: ArrayLike, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> SeptalContour | None:
    """Insertion points of one slice.

    The left ventricle is the largest component of myocardium and cavity, holes filled. Its outline is walked along the
    pixel edges, as a circle without a beginning. An edge belongs to the septum where the pixel beyond it is right
    ventricle, or a pocket of background closed in between the ventricles. The longest stretch of such edges is the
    septum, its two ends are the insertion points: the corners where the right ventricle's wall meets the myocardium,
    on the myocardium's outer border. Outline and membership are smoothed along the walk
    (:data:`SMOOTHING_MM`), which makes the ends finer than a pixel. Where the two ventricles touch nowhere, an edge
    belongs to the septum if right ventricle lies within :data:`WIDEST_GAP_MM`; the points are then uncertain by as much
    along the outline.

    Args:
        labels: (Y, X); 1 right ventricle, 2 myocardium, 3 left cavity.
        spacing_mm: (y, x) mm.

    Returns:
        The points, or None: no right ventricle or no myocardium, no contact of at least :data:`SHORTEST_SEPTUM_MM`, or
        contact all around.

    Raises:
        CardioDiTError: The labels are not two-dimensional.
    """
    plane = _plane(labels)
    if not ((plane == RV).any() and (plane == MYOCARDIUM).any()):
        return None
    rows, columns = np.nonzero(plane)
    y0, x0 = int(rows.min()), int(columns.min())
    plane = np.pad(plane[y0 : rows.max() + 1, x0 : columns.max() + 1], 2)  # room for what lies beyond the outline
    left = ndimage.binary_fill_holes(largest_component((plane == MYOCARDIUM) | (plane == LV)))
    if not (left & (plane == MYOCARDIUM)).any():
        return None
    right = _large_parts((plane == RV) & ~left)
    parts, _ = ndimage.label(~(left | right))
    middles, outside = edge_contour(left)
    septal = parts[outside[:, 0], outside[:, 1]] != parts[0, 0]
    sureness = 1.0
    if not septal.any():
        distance = ndimage.distance_transform_edt(~right, sampling=spacing_mm)
        septal = distance[outside[:, 0], outside[:, 1]] <= WIDEST_GAP_MM
        sureness = 0.5

    edges = np.where(middles[:, 0] % 1.0 == 0.0, spacing_mm[0], spacing_mm[1])  # an edge between columns is upright
    sigma = SMOOTHING_MM / float(edges.mean())
    smooth = np.stack([ndimage.gaussian_filter1d(middles[:, axis], sigma, mode="wrap") for axis in (0, 1)], axis=1)
    steps = (np.roll(smooth, -1, axis=0) - np.roll(smooth, 1, axis=0)) * spacing_mm
    lengths = np.hypot(steps[:, 0], steps[:, 1]) / 2.0  # along the smooth outline: a staircase is longer
    member = ndimage.gaussian_filter1d(_bridged(septal, lengths).astype(np.float64), sigma, mode="wrap")
    run = _longest_run(member >= 0.5, lengths)
    if run is None:
        return None
    start, count = run
    septum = float(np.take(lengths, range(start, start + count), mode="wrap").sum())
    if septum < SHORTEST_SEPTUM_MM:
        return None
    ends = [_crossing(member, smooth, start - 1), _crossing(member, smooth, start + count - 1)]
    share = min(1.0, septum / float(lengths[member >= 0.5].sum()))
    confidence = sureness * share * min(1.0, septum / SURE_SEPTUM_MM)
    first, second = ((y + y0 - 2.0, x + x0 - 2.0) for y, x in ends)
    return SeptalContour(first, second, septum, confidence)


def rvip_points_of_slice(labels: ArrayLike) -> tuple[Point | None, Point | None]:
    """Insertion points as the published evaluation derives them from ventricle labels, quirks included.

    The outer contour of the myocardium is walked through its pixels; a pixel that is also on the outer contour of all
    three labels together is "border", any other "septum". The first point is the last border pixel before the first
    stretch of septum, the second one the first border pixel after it. Kept for comparison with published numbers:

    * of several components the one lowest in the image is taken, however small, for either contour;
    * the first stretch of septum counts, not the longest;
    * the walk has a beginning: where that is the second point itself, no second point is found;
    * with points named first = anterior, second = inferior a mirrored image swaps the names.

    Args:
        labels: (Y, X); 1 right ventricle, 2 myocardium, 3 left cavity.

    Returns:
        Two pixels (y, x), None for one that is not found. (The published code returns (x, y) where one is missing.)

    Raises:
        CardioDiTError: The labels are not two-dimensional.
    """
    plane = _plane(labels)
    if not ((plane == RV).any() and (plane == MYOCARDIUM).any()):
        return None, None
    around = {(y, x) for y, x in pixel_contour(np.isin(plane, (RV, MYOCARDIUM, LV))).tolist()}
    first: Point | None = None
    second: Point | None = None
    last: Point | None = None
    in_septum = False
    for y, x in pixel_contour(plane == MYOCARDIUM).tolist():
        if (y, x) in around:
            if in_septum and second is None:
                second = (float(y), float(x))
                if first is not None:
                    return first, second
            last, in_septum = (float(y), float(x)), False
        else:
            if first is None and second is None:
                first = last
            in_septum = True
    if first is None and second is not None:  # the walk began inside the septum
        first = last
    return first, second


def _plane(labels: ArrayLike) -> NDArray[np.generic]:
    plane = np.asarray(labels)
    if plane.ndim != 2:
        raise CardioDiTError(
            f"The labels of a slice have two dimensions (Y, X), these have {plane.ndim}: {plane.shape}.",
            "Give one slice of one frame.",
        )
    return plane


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest component and those of at least a tenth of its size."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= _SMALLEST_PART * sizes.max())[labels])


def _runs(member: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches of True in a circular array as (start, count); none where all values are the same."""
    starts = np.flatnonzero(member & ~np.roll(member, 1))
    ends = np.flatnonzero(~member & np.roll(member, 1))
    if not len(starts):
        return []
    return [(int(start), int(((ends - start) % len(member)).min())) for start in starts]


def _bridged(member: NDArray[np.bool_], lengths: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Fill clefts of at most :data:`WIDEST_CLEFT_MM` between stretches that are themselves longer than the cleft."""
    filled = member.copy()
    stretches = _runs(member)
    if len(stretches) < 2:
        return filled

    def millimetres(start: int, count: int) -> float:
        return float(np.take(lengths, range(start, start + count), mode="wrap").sum())

    n = len(member)
    for (start, count), (following, following_count) in zip(stretches, stretches[1:] + stretches[:1]):
        gap_start = start + count
        gap = (following - gap_start) % n
        width = millimetres(gap_start, gap)
        if width <= min(WIDEST_CLEFT_MM, millimetres(start, count), millimetres(following, following_count)):
            filled[np.arange(gap_start, gap_start + gap) % n] = True
    return filled


def _longest_run(member: NDArray[np.bool_], lengths: NDArray[np.float64]) -> tuple[int, int] | None:
    runs = _runs(member)
    if not runs:
        return None
    return max(runs, key=lambda run: float(np.take(lengths, range(run[0], run[0] + run[1]), mode="wrap").sum()))


def _crossing(member: NDArray[np.float64], points: NDArray[np.float64], before: int) -> Point:
    """Where the membership passes one half between sample ``before`` and the next one."""
    n = len(member)
    a, b = before % n, (before + 1) % n
    share = (0.5 - member[a]) / (member[b] - member[a])
    y, x = (1.0 - share) * points[a] + share * points[b]
    return float(y), float(x)


def landmarks_from_segmentation(
    segmentation: Segmentation, *, swap: bool = False, label_map: Mapping[int, int] | str | None = None
) -> LandmarkTrack:
    """Right-ventricular insertion points from labels of the ventricles.

    In every slice the ends of the septum are found (:func:`trace_septal_contour`); which is the anterior one is decided
    once for all slices and frames, in the patient's coordinates (:func:`~CardioDiTLib.landmarks.naming.name_points`).
    The same heart gives the same points, whichever way its array is turned, mirrored or sorted, as long as the affine
    says so.

    Args:
        segmentation: (T, Z, Y, X), 1 right ventricle, 2 myocardium, 3 left cavity.
        swap: Exchange the names: for images that are mirrored but do not say so.
        label_map: From its labels to 0 background, 1 RV, 2 myocardium, 3 LV, or the name of a convention; None to
            take them as said above unless the anatomy contradicts (:func:`~CardioDiTLib.io.label_convention`).

    Returns:
        Points (T, Z, 2, 3) mm RAS, anterior then inferior, on the myocardium's outer border and in the slice's plane;
        NaN where a slice has no septum. Confidence (T, Z, 2): see :class:`SeptalContour`; 0 where there is no point.
        The meta says under "landmarks" how the points were named.

    Raises:
        CardioDiTError: The labels cannot be told, or the planes are none of a short axis.

    Examples:
        >>> track = landmarks_from_segmentation(load_segmentation("heart.nii.gz"))  # doctest: +SKIP
        >>> anterior_mm = track.points[0, 4, 0]  # doctest: +SKIP
    """
    segmentation, note = named_segmentation(segmentation, label_map)
    frames, slices = segmentation.n_frames, segmentation.n_slices
    spacing = segmentation.spacing
    check_slice_axis(spacing, slices)
    walks: dict[tuple[int, int], SeptalContour] = {}
    for frame in range(frames):
        for level in range(slices):
            walk = trace_septal_contour(segmentation.array[frame, level], (spacing[1], spacing[0]))
            if walk is not None:
                walks[frame, level] = walk
    pixels = np.array(
        [[(p[1], p[0], level) for p in (walk.first, walk.second)] for (_, level), walk in walks.items()]
    ).reshape(-1, 2, 3)
    ras = segmentation.index_to_ras(pixels)
    septum_mm = np.array([walk.septum_mm for walk in walks.values()])
    naming = name_points(segmentation.affine, segmentation.meta, ras[:, 0], ras[:, 1], septum_mm)
    if naming.first_is_anterior == swap:
        ras = ras[:, ::-1]

    points = np.full((frames, slices, 2, 3), np.nan)
    confidence = np.zeros((frames, slices, 2))
    for (place, walk), pair in zip(walks.items(), ras):
        points[place], confidence[place] = pair, walk.confidence
    about: dict[str, Any] = {"source": "segmentation", "named_by": naming.rule, "swapped": swap}
    if np.isfinite(naming.agreement):
        about["agreement"] = naming.agreement
    odds = first_is_anterior_log_odds(segmentation, list(walks), pixels[..., :2], septum_mm)
    doubt = naming_note(
        odds,
        naming.first_is_anterior != swap,
        naming.note,
        header_doubts(segmentation.affine, segmentation.array),
    )
    if doubt:
        about["naming_note"] = doubt
    if note:
        about["label_note"] = note
    return LandmarkTrack(points, confidence, segmentation.frame_times, {**segmentation.meta, "landmarks": about})
