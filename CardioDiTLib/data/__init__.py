"""Preprocessing to a model's grid and back, augmentation, and a digital phantom."""

from __future__ import annotations

from CardioDiTLib.data.augment import AugmentationDraw, CineAugmentation
from CardioDiTLib.data.grid_transform import GridTransform
from CardioDiTLib.data.heart_roi import heart_centre
from CardioDiTLib.data.intensity import IntensityRange, SliceLevels, level_slices, robust_range
from CardioDiTLib.data.orientation import base_end, short_axis_affine
from CardioDiTLib.data.phantom import Phantom, PhantomSpec, make_phantom
from CardioDiTLib.data.preprocess import estimate_end_diastole_frame, from_grid, labels_to_grid, on_grid, to_grid
from CardioDiTLib.data.time import repeat_cycle, resample_cycle, roll_to_end_diastole
from CardioDiTLib.grid import ModelGrid

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
