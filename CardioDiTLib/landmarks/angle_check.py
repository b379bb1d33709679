"""Lower confidence for pairs of insertion points whose direction differs from that of the heart's other pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack

LARGEST_TURN_DEG = 20.0
"""Lines may differ by this from the median of their neighbours: the septum turns gradually from base to apex."""

LOW = 0.3
"""Confidence is cut down to this where they turn farther."""

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
    both = np.asarray(track.found.all(axis=-1))
    if both.sum() <= FEWEST:
        return track
    lines = np.where(both[..., None], track.points[:, :, 1] - track.points[:, :, 0], 0.0)
    directions = lines / np.maximum(np.linalg.norm(lines, axis=-1, keepdims=True), 1e-9)
    doubted = np.zeros(both.shape, bool)
    for t, z in np.argwhere(both):
        doubted[t, z] = _turn_deg(directions, both, int(t), int(z)) > LARGEST_TURN_DEG
    if not doubted.any():
        return track
    confidence = np.where(doubted[..., None], np.minimum(track.confidence, LOW), track.confidence)
    about = {**track.meta.get("landmarks", {}), "doubted_angles": int(doubted.sum())}
    return LandmarkTrack(track.points, confidence, track.frame_times, {**track.meta, "landmarks": about})


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
