"""Whether labels show a heart, or a network's false labels in images without one.

A network labels pixels of any image. In noise, in images of other objects and of other parts of the body its labels are
small, without a wall around the cavity, and of low probability. Images like those of
Testing/test_segmentation_heart_check.py (white or smoothed noise, a photograph, a chest on CT) gave a cavity of 6 mL at
most, walled by 37 % of its rim at most, and a myocardium whose expected Dice was 0.38 at most. Seven real cines (one of
a pig) gave cavities walled by 74 to 100 % of their rim and an expected Dice of 0.82 to 0.92 (`pytest -m slow -rP` of
that file prints both); the limits lie between.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.labels import LV, MYOCARDIUM

LEAST_WALLED = 0.5
"""Mean share of the rim of a cavity that is myocardium, below which it is no ventricle."""
LEAST_SURE = 0.6
"""Mean expected Dice of the myocardium, below which there is none."""
LEAST_CAVITY_MM2 = 60.0
"""Smaller cavities in a slice are not looked at: tips, and specks."""


def why_no_heart(segmentation: Segmentation) -> str:
    """Reason why labels are not those of a heart.

    Args:
        segmentation: As `segment` gives it; labels from elsewhere are judged by their shape alone.

    Returns:
        A part of a sentence; empty where nothing speaks against a heart.
    """
    if not (segmentation.array == LV).any():
        return "no left ventricle was found"
    walled = walled_share(segmentation)
    if np.isnan(walled):
        return f"no slice shows a left ventricle of {LEAST_CAVITY_MM2:g} mm2 or more"
    if walled < LEAST_WALLED:
        return f"what looks like a left ventricle has a wall around {100 * walled:.0f} % of its rim only"
    sure = _mean_sureness(segmentation, "myocardium")
    if sure < LEAST_SURE:
        return f"the network is not sure of any heart muscle (expected Dice {sure:.2f})"
    return ""


def walled_share(segmentation: Segmentation) -> float:
    """Mean share of the rim of the left cavity that is myocardium, over slices and frames; NaN without any cavity."""
    sx, sy, _ = segmentation.spacing
    shares = []
    for volume in segmentation.array:
        for plane in volume:
            cavity = plane == LV
            if cavity.sum() * sx * sy < LEAST_CAVITY_MM2:
                continue
            rim = ndimage.binary_dilation(cavity) & ~cavity
            if rim.any():
                shares.append(float((plane[rim] == MYOCARDIUM).mean()))
    return float(np.mean(shares)) if shares else float("nan")


def _mean_sureness(segmentation: Segmentation, label: str) -> float:
    """Mean expected Dice of a label over frames; 1 where nothing is said of it."""
    about = segmentation.meta.get("segmentation")
    sureness = about.get("sureness") if isinstance(about, Mapping) else None
    dice = sureness.get("expected_dice", {}).get(label, []) if isinstance(sureness, Mapping) else []
    known = [float(value) for value in dice if isinstance(value, int | float)]
    return float(np.mean(known)) if known else 1.0
