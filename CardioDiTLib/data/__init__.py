"""Preprocessing to a model's grid and back, augmentation, and a digital phantom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

if TYPE_CHECKING:
    from CardioDiTLib.data.augment import AugmentationDraw, CineAugmentation
    from CardioDiTLib.data.grid_transform import GridTransform
    from CardioDiTLib.data.heart_roi import heart_centre
    from CardioDiTLib.data.intensity import IntensityRange, SliceLevels, level_slices, robust_range
    from CardioDiTLib.data.orientation import base_end, short_axis_affine
    from CardioDiTLib.data.phantom import Phantom, PhantomSpec, make_phantom
    from CardioDiTLib.data.preprocess import estimate_end_diastole_frame, from_grid, labels_to_grid, on_grid, to_grid
    from CardioDiTLib.data.time import repeat_cycle, resample_cycle, roll_to_end_diastole
    from CardioDiTLib.grid import ModelGrid

_HOMES = {
    "AugmentationDraw": "augment",
    "CineAugmentation": "augment",
    "GridTransform": "grid_transform",
    "IntensityRange": "intensity",
    "ModelGrid": "CardioDiTLib.grid",
    "Phantom": "phantom",
    "PhantomSpec": "phantom",
    "SliceLevels": "intensity",
    "base_end": "orientation",
    "estimate_end_diastole_frame": "preprocess",
    "from_grid": "preprocess",
    "heart_centre": "heart_roi",
    "labels_to_grid": "preprocess",
    "level_slices": "intensity",
    "make_phantom": "phantom",
    "on_grid": "preprocess",
    "repeat_cycle": "time",
    "resample_cycle": "time",
    "robust_range": "intensity",
    "roll_to_end_diastole": "time",
    "short_axis_affine": "orientation",
    "to_grid": "preprocess",
}

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


def __getattr__(name: str) -> Any:
    value = globals()[name] = imported(__name__, _HOMES, name)
    return value
