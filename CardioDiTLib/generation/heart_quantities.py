"""What a training cine measures: the quantities by which generated hearts can be steered.

Computed from labels on the model's own grid, so that the values can be reached on it; the formulas are those of
`function.volumes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from CardioDiTLib.labels import LV, MYOCARDIUM, MYOCARDIUM_G_PER_ML

QUANTITIES = ("edv_ml", "ef_percent", "lv_mass_g", "lv_slices")
"""End-diastolic volume, ejection fraction, mass of the left ventricle, slices with its cavity at end-diastole."""

TITLES = {
    "edv_ml": ("end-diastolic volume of the left ventricle", "mL"),
    "ef_percent": ("ejection fraction of the left ventricle", "%"),
    "lv_mass_g": ("mass of the left ventricle", "g"),
    "lv_slices": ("slices that the left ventricle covers", ""),
}
"""Name for people and unit of each."""

_FEWEST_PIXELS = 8


def heart_quantities(labels: np.ndarray | None, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    """One number for each of `QUANTITIES`; NaN for all without labels of a left ventricle at end-diastole.

    Frames without its cavity count as not labelled (often only end-diastole and end-systole are); with no other frame
    than the first the ejection fraction is NaN.

    Args:
        labels: (T, Z, Y, X), 1 RV, 2 myocardium, 3 LV cavity; frame 0 is end-diastole.
        spacing_mm: (x, y, z) mm.
    """
    nothing = (math.nan,) * len(QUANTITIES)
    if labels is None:
        return nothing
    millilitres = float(np.prod(spacing_mm)) / 1000.0
    volume = (labels == LV).sum(axis=(1, 2, 3)) * millilitres
    if volume[0] <= 0:
        return nothing
    mass = float((labels[0] == MYOCARDIUM).sum()) * millilitres * MYOCARDIUM_G_PER_ML
    slices = int(((labels[0] == LV).sum(axis=(1, 2)) >= _FEWEST_PIXELS).sum())
    labelled = volume[volume > 0]
    ejected = float(100 * (1 - labelled.min() / volume[0])) if len(labelled) > 1 else math.nan
    return float(volume[0]), ejected, mass, float(slices)
