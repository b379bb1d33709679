"""Where the heart is: from labels, or from what moves.

The centre is a point in mm (RAS), so that it means the same on every grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..cine import Cine
from ..errors import CardioDiTError
from .time import blood_curve

# Chosen on 80 ACDC patients and two full cines; see `motion_centre_index` for what each does.
_SMOOTHING_MM = 2.0
_MOVING_AREA_MM2 = 18000.0
_SATURATED_AREA_MM2 = 3600.0
_SEARCH_MM = 20.0
_RADIUS_MM = 60.0


def motion_energy(array: NDArray[Any], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """How much each pixel changes with the heartbeat.

    Amplitude of the first two harmonics of the cycle (noise and flicker lie in the higher ones); with fewer than five
    frames, the standard deviation over time.

    Args:
        array: (T, Z, Y, X) intensities of one cycle.
        spacing_mm: (x, y, z) mm.

    Returns:
        (Z, Y, X) float32, in units of intensity.
    """
    frames = len(array)
    sigma = (_SMOOTHING_MM / spacing_mm[1], _SMOOTHING_MM / spacing_mm[0])
    values = np.asarray(array, dtype=np.float32)
    if frames < 5:
        return ndimage.gaussian_filter(values, (0.0, 0.0, *sigma)).std(axis=0)
    angles = 2.0 * np.pi * np.outer([1, 2], np.arange(frames)) / frames
    basis = np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
    # Harmonics first, smoothing after: both are linear, and four coefficients are fewer than T frames.
    parts = (basis @ values.reshape(frames, -1)).reshape(4, *values.shape[1:])
    parts = ndimage.gaussian_filter(parts, (0.0, 0.0, *sigma))
    return np.sqrt(np.square(parts).sum(axis=0)) * np.float32(2.0 / frames)


def motion_centre_index(array: NDArray[Any], spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Centre of the beating region in index coordinates (x, y, z).

    1. Motion energy; the strongest 3600 mm2 a slice all count alike, so that a few bright vessels or the strong
       blood-to-lung edge do not pull; all but the strongest 18000 mm2 count nothing; the square root evens out
       the rest.
    2. Start: the densest place at the scale of a heart (20 mm), near the middle of the picture rather than at its rim.
    3. Centroid within 60 mm of the centre, repeated until it stays (this trims what moves elsewhere: aorta, bowel).
    4. Along the stack, the slices whose bright area shrinks and grows with the ventricles (`time.blood_curve`): atria
       and great vessels move as much, and would pull the centre to the base. With fewer than six frames, or where the
       slices do not agree, the motion energy of each slice instead.

    Args:
        array: (T, Z, Y, X) intensities of one cycle.
        spacing_mm: (x, y, z) mm.

    Returns:
        (x, y, z) index, fractional.

    Raises:
        CardioDiTError: If nothing moves.
    """
    sx, sy, _ = spacing_mm
    energy = motion_energy(array, spacing_mm)
    slices, height, width = energy.shape
    area = height * width * sx * sy
    # A tight crop has no 18000 mm2 of heart to spare: never more than half the picture counts as moving.
    moving = min(0.5, _MOVING_AREA_MM2 / area)
    saturated = min(0.1, _SATURATED_AREA_MM2 / area)
    floor, cap = np.quantile(energy, (1.0 - moving, 1.0 - saturated))
    if not np.isfinite(cap) or cap <= 1e-6 * max(float(np.abs(array).max()), 1e-30):
        raise CardioDiTError("No heartbeat can be seen in these images.", "Check that the file is a cine of one cycle.")
    weight = np.sqrt(np.clip(np.minimum(energy, cap) - floor, 0.0, None))
    plane = weight.sum(axis=0)
    y = (np.arange(height) - (height - 1) / 2) * sy
    x = (np.arange(width) - (width - 1) / 2) * sx
    prior = np.exp(-0.5 * ((y[:, None] / (0.3 * height * sy)) ** 2 + (x[None, :] / (0.3 * width * sx)) ** 2))
    dense = ndimage.gaussian_filter(plane, (_SEARCH_MM / sy, _SEARCH_MM / sx), mode="constant") * prior
    start_y, start_x = np.unravel_index(int(np.argmax(dense)), dense.shape)
    centre = np.array([x[start_x], y[start_y]])
    for _ in range(50):
        near = (y[:, None] - centre[1]) ** 2 + (x[None, :] - centre[0]) ** 2 < _RADIUS_MM**2
        local = plane * near
        total = local.sum()
        if total <= 0:
            break
        moved = np.array([(local.sum(axis=0) * x).sum(), (local.sum(axis=1) * y).sum()]) / total
        if np.abs(moved - centre).max() < 0.05:
            break
        centre = moved
    column, row = float(centre[0] / sx + (width - 1) / 2), float(centre[1] / sy + (height - 1) / 2)
    blood = blood_curve(array, spacing_mm, (column, row), _RADIUS_MM) if len(array) >= 6 else None
    if blood is not None and blood.explained > 0.5:
        profile = np.sqrt(np.clip(blood.slice_weights, 0.0, None))
    else:
        near = (y[:, None] - centre[1]) ** 2 + (x[None, :] - centre[0]) ** 2 < _RADIUS_MM**2
        profile = (weight * near).sum(axis=(1, 2))
    total = profile.sum()
    z = float((profile * np.arange(slices)).sum() / total) if total > 0 else (slices - 1) / 2
    return column, row, z


def label_centre_index(labels: ArrayLike) -> tuple[float, float, float]:
    """Centroid of everything labelled (RV, myocardium, LV) over all frames, in index coordinates (x, y, z).

    Args:
        labels: (T, Z, Y, X) labels, 0 background.

    Returns:
        (x, y, z) index, fractional.

    Raises:
        CardioDiTError: If nothing is labelled.
    """
    counts = (np.asarray(labels) > 0).sum(axis=0, dtype=np.float64)
    total = counts.sum()
    if total == 0:
        raise CardioDiTError("There is no heart in these labels.", "Check that they belong to this cine.")
    z, y, x = (
        float((counts.sum(axis=axes) * np.arange(size)).sum() / total)
        for axes, size in zip(((1, 2), (0, 2), (0, 1)), counts.shape)
    )
    return x, y, z


def heart_centre(cine: Cine, labels: ArrayLike | None = None) -> NDArray[np.float64]:
    """Centre of the heart in mm (RAS), from labels where there are any, else from what moves.

    Args:
        cine: The cine.
        labels: (T, Z, Y, X) labels on the same grid, or None.

    Returns:
        (3,) mm, RAS.

    Raises:
        CardioDiTError: If nothing is labelled or nothing moves.
    """
    if labels is not None:
        index = label_centre_index(labels)
    else:
        index = motion_centre_index(cine.array, cine.spacing)
    return np.asarray(cine.affine, dtype=np.float64)[:3] @ np.array([*index, 1.0])
