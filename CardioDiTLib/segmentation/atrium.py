"""Slices above the valve plane that were taken for ventricle: an atrium fills while the ventricle empties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.orientation import End

MYOCARDIUM, LV = 2, 3

LARGER_IN_SYSTOLE = 1.15
"""A cavity whose area at end-systole is so many times that at end-diastole does not belong to a ventricle."""

CONTRACTION = 0.93
"""The rest of the ventricle has to become smaller than this share of itself, or nothing can be told from areas."""

LARGEST_SHARE = 0.5
"""No more than this share of the labelled slices is taken away."""


def without_atrium(labels: NDArray[np.uint8], base: End | None) -> NDArray[np.uint8]:
    """Takes away the left ventricle from basal slices in which its cavity grows while the others shrink.

    Stacks that begin above the valve plane show the left atrium there, or the outflow tract into the aorta. Networks
    that learned from stacks which begin at the valve plane may name them ventricle. Both are round and bright, but they
    are widest at end-systole. From the base on, slice after slice is judged until one contracts.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        base: Which end of the stack is the base; None where it is not known, then nothing is done.

    Returns:
        (T, Z, Y, X), the same array where there is nothing to do.
    """
    if base is None or len(labels) < 2:
        return labels
    areas = (labels == LV).sum(axis=(2, 3))
    if base == "last":
        areas = areas[:, ::-1]
    labelled = np.flatnonzero(areas.any(axis=0))
    if len(labelled) < 3:
        return labels
    for first in range(len(labelled)):
        rest = areas[:, labelled[first] :].sum(axis=1)
        diastole, systole = int(rest.argmax()), int(rest.argmin())
        below = areas[:, labelled[first] + 1 :].sum(axis=1)
        own = areas[:, labelled[first]]
        contracts = below[systole] < CONTRACTION * below[diastole]
        if not contracts or own[systole] <= LARGER_IN_SYSTOLE * own[diastole]:
            break
    if first == 0 or first > LARGEST_SHARE * len(labelled):
        return labels
    gone = labelled[:first]
    if base == "last":
        gone = labels.shape[1] - 1 - gone
    result = labels.copy()
    part = result[:, gone]
    part[(part == MYOCARDIUM) | (part == LV)] = 0
    result[:, gone] = part
    return result
