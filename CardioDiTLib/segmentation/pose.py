"""Which way a heart lies in the picture: once the cavities are roughly known, the picture can be turned to help."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FEWEST_PIXELS = 20
"""A slice with less of either cavity says nothing."""

AGREEMENT = 0.5
"""Length of the mean unit vector, slices weighted by the right ventricle's area, below which there is no direction."""

FRAMES = 4
"""So many frames, evenly over the cycle, are enough to tell."""


def right_ventricle_direction(labels: NDArray[np.uint8], spacing_xy_mm: tuple[float, float]) -> float | None:
    """Angle of the direction from the left to the right cavity's centre, over all slices and frames.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        spacing_xy_mm: (x, y) mm.

    Returns:
        Radians in the picture, x to the right and y down: 0 to the right, pi to the left; None where slices do not
        agree, or none shows both cavities.
    """
    total, weights = np.zeros(2), 0.0
    for plane in labels.reshape(-1, *labels.shape[2:]):
        right, left = np.argwhere(plane == 1), np.argwhere(plane == 3)
        if min(len(right), len(left)) < FEWEST_PIXELS:
            continue
        way = (right.mean(axis=0) - left.mean(axis=0))[::-1] * spacing_xy_mm
        length = float(np.hypot(*way))
        if length > 0:
            total += len(right) * way / length
            weights += len(right)
    if weights == 0 or np.hypot(*total) < AGREEMENT * weights:
        return None
    return math.atan2(total[1], total[0])
