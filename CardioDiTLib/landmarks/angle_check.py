"""Pairs of insertion points whose direction differs from that of the heart's other pairs: doubted, or left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack

LARGEST_TURN_DEG = 20.0
"""Lines may differ by this from the median of their neighbours: the septum turns gradually from base to apex."""

LOW = 0.3
"""Confidence is cut down to this where they turn farther."""

TURNED_END_DEG = 25.0
"""In systole, a line in the first or last slice that turns farther is left out: beyond the valve and at the tip what
looks like a septum seldom is one. Five ACDC patients held out, as recorded and with five changes of contrast, noise and
sharpness: precision at end-systole .851 without, .907 with it, recall .768 and .759. At end-diastole, where the same
rule leaves out true pairs (recall .98 and .92 in five others), nothing is left out."""

SYSTOLE = 0.95
"""A frame counts as one of systole where its mean line is shorter than this share of the longest one of all frames, or
where it has fewer slices with both points than another frame."""

FEWEST = 3
"""Lines with fewer neighbours are not judged."""


def doubted_angles(track: LandmarkTrack) -> LandmarkTrack:
    """Cuts down the confidence of pairs of points whose line does not fit the others of the heart.

    A line is compared with the median direction of those up to two slices away in the same frame and of those of the
    same slice in other frames. Points stay where they are. The meta counts what was cut down ("doubted_angles").

    Args:
        track: Points of a cine.

    Returns:
        The track, the same object where every line fits.
    """
    doubted = turned_pairs(track.points)
    if not doubted.any():
        return track
    confidence = np.where(doubted[..., None], np.minimum(track.confidence, LOW), track.confidence)
    about = {**track.meta.get("landmarks", {}), "doubted_angles": int(doubted.sum())}
    return LandmarkTrack(track.points, confidence, track.frame_times, {**track.meta, "landmarks": about})


def turned_pairs(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(T, Z), True where a pair's line turns from its neighbours' by more than `LARGEST_TURN_DEG`.

    Args:
        points: (T, Z, 2, 3), NaN where there is none.
    """
    both, directions = _lines(points)
    turned = np.zeros(both.shape, bool)
    if both.sum() > FEWEST:
        for t, z in np.argwhere(both):
            turned[t, z] = _turn_deg(directions, both, int(t), int(z)) > LARGEST_TURN_DEG
    return turned


def without_turned_ends(track: LandmarkTrack) -> LandmarkTrack:
    """Leaves out pairs in the first and last slice of a frame of systole whose line turns by more than
    `TURNED_END_DEG`.

    Lines are compared as in `doubted_angles`; frames with fewer than four pairs stay as they are. The meta counts what
    was left out ("turned_ends").

    Args:
        track: Points of a cine.

    Returns:
        The track, the same object where nothing goes.
    """
    both, directions = _lines(track.points)
    gone = np.zeros(both.shape, bool)
    length = np.where(both, np.linalg.norm(np.nan_to_num(track.points[:, :, 1] - track.points[:, :, 0]), axis=-1), 0.0)
    count = both.sum(axis=1)
    mean = length.sum(axis=1) / np.maximum(count, 1)
    for t, row in enumerate(both):
        levels = np.flatnonzero(row)
        if len(levels) <= FEWEST or (mean[t] >= SYSTOLE * mean.max() and count[t] == count.max()):
            continue
        for z in (levels[0], levels[-1]):
            gone[t, z] = _turn_deg(directions, both, t, int(z)) > TURNED_END_DEG
    if not gone.any():
        return track
    points = np.where(gone[..., None, None], np.nan, track.points)
    confidence = np.where(gone[..., None], 0.0, track.confidence)
    about = {**track.meta.get("landmarks", {}), "turned_ends": int(gone.sum())}
    return LandmarkTrack(points, confidence, track.frame_times, {**track.meta, "landmarks": about})


def _lines(points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(T, Z) slices with both points; (T, Z, 3) unit vectors from the anterior to the inferior one, 0 elsewhere."""
    both = np.asarray(~np.isnan(points[..., 0]).any(axis=-1))
    lines = np.where(both[..., None], points[:, :, 1] - points[:, :, 0], 0.0)
    return both, lines / np.maximum(np.linalg.norm(lines, axis=-1, keepdims=True), 1e-9)


def _turn_deg(directions: NDArray[np.float64], both: NDArray[np.bool_], frame: int, level: int) -> float:
    """Angle of a line to the median of its neighbours' directions; 0 where there are too few."""
    near = np.zeros(both.shape, bool)
    near[frame, max(level - 2, 0) : level + 3] = True
    near[:, level] = True
    near[frame, level] = False
    others = directions[near & both]
    if len(others) < FEWEST:
        others = directions[
            both & ~((np.arange(both.shape[0])[:, None] == frame) & (np.arange(both.shape[1]) == level))
        ]
    if len(others) < FEWEST:
        return 0.0
    middle = np.median(others, axis=0)
    size = float(np.linalg.norm(middle))
    if size < 1e-6:
        return 180.0
    return float(np.degrees(np.arccos(np.clip(directions[frame, level] @ middle / size, -1, 1))))
