"""What the numbers of a segmentation mean: one numbering (that of ACDC) inside the library, whatever files say."""

from __future__ import annotations

BACKGROUND, RV, MYOCARDIUM, LV = 0, 1, 2, 3
"""Label values of a `cine.Segmentation`."""

LABEL_NAMES: dict[int, str] = {BACKGROUND: "background", RV: "RV", MYOCARDIUM: "myocardium", LV: "LV"}
"""Names of the labels, in files and in tables."""

LABEL_ROUNDING = 0.02
"""A label may be this far from a whole number: a file that scales its numbers to 8 bits gives 1.004 for 1."""

MYOCARDIUM_G_PER_ML = 1.05
"""Density of myocardium, as cardiac MRI takes it (Schulz-Menger et al., J Cardiovasc Magn Reson 2020)."""
