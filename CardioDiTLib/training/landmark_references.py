"""Reference points of a pack's cines: the ends of the septum of an expert's labels. They are not marked by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.packing import PackedCines
from ..landmarks.septal_walk import walk_septum


class PackReferences:
    """Points by cine, frame and slice, from `walk_septum` on the labels; each is made once, when it is asked for.

    In a pack of ED/ES pairs the labels of other frames were carried there by the motion, and so are their points.

    Args:
        labels: (N, T, Z, Y, X).
        spacing_mm: (x, y, z) mm.
    """

    def __init__(self, labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> None:
        self._labels, self._spacing = labels, (spacing_mm[1], spacing_mm[0])
        self._known: dict[tuple[int, int, int], tuple[NDArray[np.float64], float]] = {}

    @classmethod
    def of_pack(cls, data: PackedCines) -> PackReferences:
        """Those of a pack with labels."""
        assert data.labels is not None
        return cls(data.labels, data.spacing)

    def points(self, index: int, frame: int, level: int) -> tuple[NDArray[np.float64], float]:
        """The points of one slice.

        Returns:
            (2, 2) pixels (x, y), first and second of the walk, NaN where the slice has no septum; and the walk's
            confidence, 0 there.
        """
        place = (index, frame, level)
        if place not in self._known:
            walk = walk_septum(self._labels[place], self._spacing)
            if walk is None:
                self._known[place] = np.full((2, 2), np.nan), 0.0
            else:
                self._known[place] = np.array([walk.first[::-1], walk.second[::-1]]), walk.confidence
        return self._known[place]
