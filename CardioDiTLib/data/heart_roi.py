"""The region of a cine that networks are given, and its range of intensities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.heart_place import PIXEL_MM, place_features, place_pictures, place_scores, towards_middle
from CardioDiTLib.data.intensity import IntensityRange, robust_range
from CardioDiTLib.data.time import blood_curve
from CardioDiTLib.errors import CardioDiTError

# Chosen on 80 ACDC patients and two full cines; see `heart_places` for what each does.
_SMOOTHING_MM = 2.0

_MOVING_AREA_MM2 = 18000.0

_SATURATED_AREA_MM2 = 3600.0

_RADIUS_MM = 60.0

_GATHER_PIXELS = 5  # of 4 mm

_CENTROID_MM = 12.0

_STEPS = 5

CUT_MM, _CUT_SD_MM = 260.0, 20.0
"""A picture up to `CUT_MM` may have been cut about the heart, which then lies near its middle."""

_WALKS, _WALK_LIMIT_MM = 3, 16.0  # see `_walked`

_APART_MM = 30.0

_SLACK = 1.15
"""An image up to so much larger than the region is looked at whole."""

_COARSE_MM = 3.0
_ENOUGH_VOXELS = 4_000_000


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
    """Centre of the beating heart in index coordinates (x, y, z), the likeliest of `heart_places`.

    Args:
        array: (T, Z, Y, X) intensities of one cycle.
        spacing_mm: (x, y, z) mm.

    Returns:
        (x, y, z) index, fractional.

    Raises:
        CardioDiTError: If nothing moves.
    """
    return heart_places(array, spacing_mm)[0]


def heart_places(
    array: NDArray[Any], spacing_mm: tuple[float, float, float], count: int = 1
) -> list[tuple[float, float, float]]:
    """Where the middle of the heart may be, the likeliest place first, in index coordinates (x, y, z).

    1. What beats, and what the cine looks like in the mean, in rings about each place (`heart_place`), weighed; in
       pictures up to 260 mm also how far the place is from the middle (20 mm cost half a unit of log-likelihood).
    2. The likelihood gathered over some pixels has its maxima; each is refined to the centroid about it. Further ones
       lie at least 30 mm from those before.
    3. From there to the middle of both ventricles, the way that the rings about the place pull.
    4. Along the stack, the slices whose bright area shrinks and grows with the ventricles (`time.blood_curve`): atria
       and great vessels move as much, and would shift the centre to the base. With fewer than six frames, or where the
       slices do not agree, the motion energy of each slice instead.

    Args:
        array: (T, Z, Y, X) intensities of one cycle.
        spacing_mm: (x, y, z) mm.
        count: How many places at most.

    Returns:
        (x, y, z) index each, fractional; z is that of the likeliest place.

    Raises:
        CardioDiTError: If nothing moves.
    """
    sx, sy, _ = spacing_mm
    energy = motion_energy(array, spacing_mm)
    slices, height, width = energy.shape
    if not np.isfinite(energy).all() or energy.max() <= 1e-6 * max(float(np.abs(array).max()), 1e-30):
        raise CardioDiTError("No heartbeat can be seen in these images.", "Check that the file is a cine of one cycle.")
    pictures = place_pictures(np.mean(array, axis=0, dtype=np.float32), energy, (sx, sy))
    scores = place_scores(place_features(pictures))
    rows, columns = np.indices(scores.shape)
    if max(height * sy, width * sx) <= CUT_MM:
        off = np.hypot(rows - (scores.shape[0] - 1) / 2, columns - (scores.shape[1] - 1) / 2) * PIXEL_MM
        scores = scores - 0.5 * np.square(off / _CUT_SD_MM)
    share = np.exp(scores - scores.max())
    gathered = ndimage.uniform_filter(share, _GATHER_PIXELS, mode="constant")
    found: list[tuple[float, float]] = []
    for _ in range(count):
        y, x = (float(place) for place in np.unravel_index(int(np.argmax(gathered)), scores.shape))
        if gathered[int(y), int(x)] <= 0:
            break
        around = np.hypot(rows - y, columns - x) * PIXEL_MM < _APART_MM
        gathered[around] = 0
        for _ in range(_STEPS):
            weight = share * (np.hypot(rows - y, columns - x) * PIXEL_MM < _CENTROID_MM)
            total = float(weight.sum())
            if total <= 0:
                break
            y, x = float((weight * rows).sum() / total), float((weight * columns).sum() / total)
        share[around] = 0
        y, x = _walked(pictures, y, x)
        found.append(((x + 0.5) * width / scores.shape[1] - 0.5, (y + 0.5) * height / scores.shape[0] - 0.5))
    column, row = found[0]
    blood = blood_curve(array, spacing_mm, (column, row), _RADIUS_MM) if len(array) >= 6 else None
    if blood is not None and blood.explained > 0.5:
        profile = np.sqrt(np.clip(blood.slice_weights, 0.0, None))
    else:
        y_mm, x_mm = (np.arange(height) - row) * sy, (np.arange(width) - column) * sx
        near = y_mm[:, None] ** 2 + x_mm[None, :] ** 2 < _RADIUS_MM**2
        profile = _beating(energy, sx * sy, near)
    total = float(profile.sum())
    z = float((profile * np.arange(slices)).sum() / total) if total > 0 else (slices - 1) / 2
    return [(x, y, z) for x, y in found]


def _walked(pictures: NDArray[np.float32], row: float, column: float) -> tuple[float, float]:
    """(row, column) of the middle of the heart from a place near it, in pixels of the pictures.

    A middle further away than the likeliest place is ever wrong by is no correction of it.
    """
    y, x = row, column
    for _ in range(_WALKS):
        right, down = towards_middle(pictures, y, x)
        y, x = y + down / PIXEL_MM, x + right / PIXEL_MM
    far = np.hypot(y - row, x - column) * PIXEL_MM
    share = min(1.0, _WALK_LIMIT_MM / max(far, 1e-6))
    height, width = pictures.shape[-2:]
    walked = row + share * (y - row), column + share * (x - column)
    return float(np.clip(walked[0], 0, height - 1)), float(np.clip(walked[1], 0, width - 1))


def _beating(energy: NDArray[np.float32], pixel_mm2: float, near: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(Z,) how much of each slice beats.

    The strongest 3600 mm2 a slice all count alike, so that a few bright vessels do not dominate; all but the strongest
    18000 mm2 count nothing; the square root compresses the range between.
    """
    area = near.size * pixel_mm2
    # A tight crop has no 18000 mm2 of heart to spare: never more than half the image counts as moving.
    moving, saturated = min(0.5, _MOVING_AREA_MM2 / area), min(0.1, _SATURATED_AREA_MM2 / area)
    floor, cap = np.quantile(energy, (1.0 - moving, 1.0 - saturated))
    weight = np.sqrt(np.clip(np.minimum(energy, cap) - floor, 0.0, None))
    return np.asarray((weight * near).sum(axis=(1, 2)), np.float32)


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


Roi = tuple[slice, slice]
"""Rows and columns of a region of interest."""


def heart_roi(array: NDArray[Any], spacing_mm: tuple[float, float, float], roi_mm: float) -> Roi:
    """Square about the beating heart, as the network was trained on; the whole image where it is hardly larger.

    Where no motion is found, the middle of the image is taken.

    Args:
        array: (T, Z, Y, X).
        spacing_mm: (x, y, z) mm.
        roi_mm: Side of the square.

    Returns:
        Rows and columns, within the image.
    """
    height, width = array.shape[-2:]
    if height * spacing_mm[1] <= _SLACK * roi_mm and width * spacing_mm[0] <= _SLACK * roi_mm:
        return slice(0, height), slice(0, width)
    # Fewer pixels are enough to locate motion, and keep memory small.
    every_x, every_y = (max(1, int(_COARSE_MM / spacing)) for spacing in spacing_mm[:2])
    coarse = array[..., every_y // 2 :: every_y, every_x // 2 :: every_x]
    try:
        x, y, _ = motion_centre_index(coarse, (spacing_mm[0] * every_x, spacing_mm[1] * every_y, spacing_mm[2]))
        centre = (y * every_y + every_y // 2, x * every_x + every_x // 2)
    except CardioDiTError:
        centre = ((height - 1) / 2, (width - 1) / 2)
    parts = []
    for middle, size, spacing in zip(centre, (height, width), (spacing_mm[1], spacing_mm[0])):
        side = min(size, max(1, round(roi_mm / spacing)))
        start = min(max(round(middle - (side - 1) / 2), 0), size - side)
        parts.append(slice(start, start + side))
    return parts[0], parts[1]


def intensity_range(array: NDArray[Any], low_percentile: float, high_percentile: float) -> IntensityRange:
    """One robust range for all frames and slices, from some millions of voxels at most.

    Args:
        array: (T, Z, Y, X).
        low_percentile: What becomes -1.
        high_percentile: What becomes +1.

    Raises:
        CardioDiTError: The images are blank.
    """
    every = 1
    while array[..., ::every, ::every].size > _ENOUGH_VOXELS and every < min(array.shape[-2:]) // 8:
        every += 1
    return robust_range(array[..., ::every, ::every], low_percentile, high_percentile)
