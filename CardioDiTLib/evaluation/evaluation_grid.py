"""The common ground on which cines of two cohorts are compared: one pixel size, one box around the heart, one cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.heart_roi import heart_centre
from CardioDiTLib.data.orientation import base_end
from CardioDiTLib.data.time import resample_cycle
from CardioDiTLib.errors import CardioDiTError

Centre = Literal["picture", "heart"]

CENTRES: tuple[Centre, ...] = ("picture", "heart")
SPACING_MM = 1.5
"""Pixel size in plane."""
SIZE = 96
"""Rows and columns of the heart box: 144 mm hold both ventricles."""
FRAMES = 16
"""Frames of the resampled cycle."""
GREY_PERCENTILES = (1.0, 99.5)
"""Grey values in the box that become 0 and 1."""

_SAME_SPACING = 0.005  # a pixel size this near is taken as it is: interpolation would only blur


@dataclass(frozen=True, eq=False)
class JudgedCine:
    """A cine on the judging grid.

    Attributes:
        frames: (T, Z, SIZE, SIZE) float32 in [0, 1], the cine's own frames, base first where the geometry tells.
        cycle: (FRAMES, Z, SIZE, SIZE) float32, one cycle.
        slice_step_mm: Distance of the slices.
        centred_on_heart: Whether the box was put on the heart rather than on the middle of the picture.
        resampled: Whether pixels were interpolated in plane.
    """

    frames: NDArray[np.float32]
    cycle: NDArray[np.float32]
    slice_step_mm: float
    centred_on_heart: bool
    resampled: bool


def judging_grid(cine: Cine, centre: Centre = "picture", labels: ArrayLike | None = None) -> JudgedCine:
    """Cut the heart box out of a cine, at 1.5 mm, grey values from 0 to 1, one cycle of 16 frames.

    Finer pixels are averaged (triangle kernel as wide as a pixel of the box), coarser ones interpolated; a box that
    reaches beyond the picture repeats its rim. Slices stay as they are.

    Args:
        cine: The cine, frame 0 at end-diastole.
        centre: Where the box lies: on the middle of the picture (cines that are cropped around the heart already), or
            on what moves or is labelled (:func:`CardioDiTLib.data.heart_roi.heart_centre`).
        labels: (T, Z, Y, X) labels for "heart", or None.

    Returns:
        The judged cine. Where nothing moves, "heart" falls back to the middle of the picture.

    Raises:
        CardioDiTError: Another word for `centre`.

    Examples:
        >>> from CardioDiTLib.data import make_phantom
        >>> judging_grid(make_phantom().cine).cycle.shape
        (16, 10, 96, 96)
    """
    if centre not in CENTRES:
        raise CardioDiTError(f"'{centre}' is no place for the heart box.", f"Use one of {', '.join(CENTRES)}.")
    _, _, height, width = cine.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    on_heart = False
    if centre == "heart":
        try:
            middle_x, middle_y, _ = (float(v) for v in cine.ras_to_index(heart_centre(cine, labels)))
            on_heart = True
        except CardioDiTError:
            pass  # a heart that stands still has no centre of motion
    across, same_x = _weights(width, middle_x, SPACING_MM / cine.spacing[0])
    down, same_y = _weights(height, middle_y, SPACING_MM / cine.spacing[1])
    box = np.einsum("ry,tzyx,cx->tzrc", down, cine.array.astype(np.float32), across, optimize=True)
    if base_end(cine.affine) == "last":
        box = box[:, ::-1]
    low, high = np.percentile(box, GREY_PERCENTILES)
    scale = float(high - low)
    frames = np.zeros(box.shape, np.float32)
    if scale > 0:
        frames = np.ascontiguousarray(np.clip((box - low) / scale, 0.0, 1.0), np.float32)
    if len(frames) == FRAMES and np.allclose(np.diff(cine.frame_times), cine.frame_interval_s, rtol=0.05):
        cycle = frames
    else:
        cycle = np.asarray(resample_cycle(frames, FRAMES, frame_times=cine.frame_times), np.float32)
    return JudgedCine(frames, cycle, cine.spacing[2], on_heart, not (same_x and same_y))


def _weights(count: int, middle: float, step: float) -> tuple[NDArray[np.float32], bool]:
    """(SIZE, count) weights that bring one axis onto the box, and whether it is a plain crop."""
    offsets = (np.arange(SIZE) - (SIZE - 1) / 2) * step
    same = abs(step - 1.0) <= _SAME_SPACING
    places: NDArray[np.float64]
    if same:
        start = int(np.floor(middle - (SIZE - 1) / 2 + 1e-6))
        places = (start + np.arange(SIZE)).astype(np.float64)
    else:
        places = np.asarray(middle + offsets, np.float64)
    places = np.asarray(np.clip(places, 0.0, count - 1.0), np.float64)
    wide = 1.0 if same else max(1.0, step)
    weights = np.clip(1.0 - np.abs(places[:, None] - np.arange(count)) / wide, 0.0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), same
