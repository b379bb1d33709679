"""Preprocessing to a model's grid and back, augmentation, and a digital phantom."""

from __future__ import annotations

from .augment import AugmentationDraw, CineAugmentation
from .grid import ModelGrid
from .intensity import IntensityRange, SliceLevels, level_slices, robust_range
from .localize import heart_centre
from .orientation import base_end, short_axis_affine
from .phantom import Phantom, PhantomSpec, make_phantom
from .preprocess import (
    GridTransform,
    estimate_end_diastole_frame,
    from_grid,
    labels_to_grid,
    on_grid,
    to_grid,
)
from .time import repeat_cycle, resample_cycle, roll_to_end_diastole

__all__ = [
    "AugmentationDraw",
    "CineAugmentation",
    "GridTransform",
    "IntensityRange",
    "ModelGrid",
    "Phantom",
    "PhantomSpec",
    "SliceLevels",
    "base_end",
    "estimate_end_diastole_frame",
    "from_grid",
    "heart_centre",
    "labels_to_grid",
    "level_slices",
    "make_phantom",
    "on_grid",
    "repeat_cycle",
    "resample_cycle",
    "robust_range",
    "roll_to_end_diastole",
    "short_axis_affine",
    "to_grid",
]
