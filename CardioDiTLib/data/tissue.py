"""Constants of tissue."""

from __future__ import annotations

MYOCARDIUM_G_PER_ML = 1.05
"""Density of myocardium, as cardiac MRI takes it (Schulz-Menger et al., J Cardiovasc Magn Reson 2020)."""
