"""A right ventricle becomes smaller towards the apex, and lies beside a left one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.data.orientation import End

RV, LV = 1, 3

REACH_MM = 12.0
"""A right ventricle leaves the outline of its neighbour on the base's side by no more than this (in 95 % of the slices
of ACDC that an expert labelled)."""

GROWTH = 1.2
"""Nor is its area, from the widest slice on, ever so many times that of a slice nearer to the base (99 %: 1.02)."""

NEAR_MM = 4.0
"""Where it is, only what lies so near to that neighbour is believed."""


def tapering_right_ventricle(
    labels: NDArray[np.uint8], base: End | None, spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Takes away what no right ventricle can be: stomach or fat beyond its apex, and slices without a left cavity.

    Everything is decided frame by frame.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        base: Which end of the stack is the base; None where it is not known, then only the left cavity is asked for.
        spacing_mm: (x, y, z) mm.

    Returns:
        (T, Z, Y, X), a new array.
    """
    result = labels.copy()
    order = range(labels.shape[1]) if base != "last" else range(labels.shape[1] - 1, -1, -1)
    sampling = (spacing_mm[1], spacing_mm[0])
    for frame in result:
        if not (frame == LV).any():
            continue
        for plane in frame:
            if not (plane == LV).any():
                plane[plane == RV] = 0
        if base is None:
            continue
        areas = [int((frame[z] == RV).sum()) for z in order]
        # The widest slice of the basal half: further down, what is widest can be liver or stomach.
        cavity = [place for place, z in enumerate(order) if (frame[z] == LV).any()]
        half = cavity[0] + (len(cavity) + 1) // 2
        widest = int(np.argmax(areas[:half])) if any(areas[:half]) else int(np.argmax(areas))
        smallest, neighbour = areas[widest], None
        for place, z in enumerate(order):
            own = frame[z] == RV
            if place > widest and own.any() and neighbour is not None:
                reach = NEAR_MM if own.sum() > GROWTH * smallest else REACH_MM
                far = ndimage.distance_transform_edt(~neighbour, sampling=sampling) > reach
                frame[z][own & far] = 0
                own = own & ~far
                smallest = min(smallest, int(own.sum())) or smallest
            if place >= widest and own.any():
                neighbour = own
    return result
