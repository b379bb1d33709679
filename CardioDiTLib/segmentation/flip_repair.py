"""Labels that jump for a single frame and back, undone without touching end-diastole and end-systole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_FRAMES = 6
"""With fewer frames a heart may well be elsewhere from one to the next and back."""

_SMALLEST = 1e-4
RV, MYOCARDIUM, LV = 1, 2, 3

Frame = tuple[NDArray[np.uint8], NDArray[np.float16]]


class FlipRepair:
    """Takes the frames of a cycle one by one and keeps only what it would change.

    A voxel is looked at where the frames before and after agree and the one between does not. The median over the three
    frames of each label's log-probability then decides; a frame that is sure stays where its neighbours are not. Only a
    few frames are held at a time.

    Where a ventricle is largest or smallest (`extreme_frames`), no voxel goes to it or comes from it: at end-systole
    the inner rim moves in for one frame and out again, and a filter that takes this for a flicker makes the
    end-systolic volume too large. The myocardium goes with the left ventricle.

    Args:
        n_frames: Frames T of the cycle.
    """

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self._first: list[Frame] = []
        self._last: list[Frame] = []
        self._changes: dict[int, tuple[NDArray[np.int64], NDArray[np.uint8]]] = {}
        self._count = 0

    def add(self, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> None:
        """Takes the next frame.

        Args:
            labels: (Z, Y, X), arg-max of the probabilities.
            probabilities: (Z, 4, Y, X).
        """
        if self._n_frames < MIN_FRAMES:
            return
        logs = np.log(np.maximum(probabilities, _SMALLEST)).astype(np.float16)
        frame = (labels, logs)
        if len(self._first) < 2:
            self._first.append(frame)
        if self._count >= 2:
            self._changes[self._count - 1] = _change(self._last[-2], self._last[-1], frame)
        self._last = [*self._last[-1:], frame]
        self._count += 1
        if self._count == self._n_frames:
            self._changes[self._n_frames - 1] = _change(self._last[0], self._last[1], self._first[0])
            self._changes[0] = _change(self._last[1], self._first[0], self._first[1])
            self._first, self._last = [], []

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels with the jumps undone.

        Args:
            labels: (T, Z, Y, X), the frames that were given.

        Returns:
            (T, Z, Y, X), a copy.
        """
        repaired = labels.copy()
        kept = {group: extreme_frames((labels == group[-1]).sum(axis=(1, 2, 3))) for group in ((RV,), (MYOCARDIUM, LV))}
        for frame, (places, values) in self._changes.items():
            flat = repaired[frame].reshape(-1)
            free = np.ones(len(places), bool)
            for group, frames in kept.items():
                if frame in frames:
                    free &= ~np.isin(flat[places], group) & ~np.isin(values, group)
            flat[places[free]] = values[free]
        return repaired


def _change(before: Frame, now: Frame, after: Frame) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    places = np.flatnonzero((before[0] == after[0]) & (now[0] != before[0]))
    if not len(places):
        return places, np.zeros(0, np.uint8)
    z, yx = np.divmod(places, now[0][0].size)
    logs = np.stack([frame[1].reshape(*frame[1].shape[:2], -1)[z, :, yx] for frame in (before, now, after)])
    return places, np.median(logs.astype(np.float32), axis=0).argmax(axis=1).astype(np.uint8)


def extreme_frames(curve: NDArray[np.integer]) -> set[int]:
    """Frames in which a ventricle is largest and smallest.

    They are looked for next to the extremes of the periodic median of three, so that a frame in which a piece is
    missing does not pass for end-systole.

    Args:
        curve: (T,) voxels of the ventricle, frame by frame.

    Returns:
        Frame numbers; nothing where there is no ventricle.
    """
    if not curve.any():
        return set()
    around = np.stack([np.roll(curve, 1), curve, np.roll(curve, -1)])
    calm = np.median(around, axis=0)
    found = set()
    for sign in (1, -1):
        middle = int(np.argmax(sign * calm))
        near = [(middle + shift) % len(curve) for shift in (0, -1, 1)]
        found.add(max(near, key=lambda frame: sign * int(curve[frame])))
    return found
