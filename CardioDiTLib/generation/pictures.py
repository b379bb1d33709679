"""Pictures of a cine: a contact sheet and a film. They need Pillow, which is imported only when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.reporting.drawing import described, durations_ms, gif_bytes, require_pillow, resized, windowed
from CardioDiTLib.reporting.sheet import (
    Labels,
    contact_sheet_image,
    film_images,
    palette_image,
    phases_of,
    slice_names,
)

__all__ = ["animated_gif", "contact_sheet", "picture_labels", "require_pillow", "square_tiles"]

MOST_PIXELS = 3200
"""A contact sheet is no wider and no higher."""
FILM_PIXELS = 960
"""A film is no wider."""
_FILM_GREYS = 64
_TILE_PIXELS = 256  # a larger slice is made smaller before anything else
_ARRAY_INTERVAL_S = 0.06


def contact_sheet(
    cine: Cine | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    frames: Sequence[int] | None = None,
    caption: str | None = None,
    title: str | None = None,
    segmentation: Segmentation | None = None,
) -> Path:
    """Write all slices (rows) at all frames (columns) as one PNG, with their numbers, times and a scale bar.

    One brightness for the whole cine, so that slices and frames can be compared. Pixels that are not square are
    made so.

    Args:
        cine: A cine, or an array (T, Z, Y, X).
        path: The file, ending in .png.
        frames: Frames to show, such as ``[0, 6]``; all where it is None.
        caption: Text above the pictures on the right; "synthetic / research only" for a cine of this software.
        title: Text above them on the left; for a synthetic cine its model, class and seed.
        segmentation: Labels of the cine: then the frames of end-diastole and end-systole, and the slices at the base
            and the apex, are marked.

    Returns:
        The path.

    Raises:
        CardioDiTError: Pillow is not installed, a frame does not exist, the labels are not those of the cine, or the
            file cannot be written.
    """
    tiles, mm = square_tiles(cine)
    chosen = list(range(len(tiles))) if frames is None else list(frames)
    missing = [frame for frame in chosen if not 0 <= frame < len(tiles)]
    if missing or not chosen:
        raise CardioDiTError(f"The cine has {len(tiles)} frames, not frame {missing}.", "Count frames from 0.")
    labels = picture_labels(cine, mm, segmentation, caption, title)
    image = contact_sheet_image(tiles[chosen], chosen, labels, MOST_PIXELS)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)
    return Path(path)


def animated_gif(
    cine: Cine | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    frame_interval_s: float | None = None,
    caption: str | None = None,
    title: str | None = None,
    segmentation: Segmentation | None = None,
) -> Path:
    """Write all slices side by side as an endless GIF in real time (one beat lasts the cine's cycle).

    Slices are numbered; above them stand the number and the time of the frame and where in the beat it lies.

    Args:
        cine: A cine, or an array (T, Z, Y, X).
        path: The file, ending in .gif.
        frame_interval_s: Seconds a frame; the cine's own times where it is None, 0.06 for an array. GIF rounds to
            10 ms, and programs show nothing faster than 20 ms.
        caption, title, segmentation: See :func:`contact_sheet`.

    Returns:
        The path.

    Raises:
        CardioDiTError: Pillow is not installed, the labels are not those of the cine, or the file cannot be written.
    """
    tiles, mm = square_tiles(cine)
    labels = picture_labels(cine, mm, segmentation, caption, title)
    images = [palette_image(image, _FILM_GREYS) for image in film_images(tiles, labels, FILM_PIXELS)]
    if frame_interval_s is None and isinstance(cine, Cine) and cine.n_frames > 1:
        durations = durations_ms(cine.frame_times, cine.cycle_s)
    else:
        durations = [max(20, round((frame_interval_s or _ARRAY_INTERVAL_S) * 100) * 10)] * len(images)
    data = gif_bytes(images, durations)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def square_tiles(cine: Cine | NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """(T, Z, Y, X) uint8 with square pixels, and the millimetres of one; 0 where that is not known.

    Raises:
        CardioDiTError: Another shape, or Pillow is not installed.
    """
    require_pillow()
    array = cine.array if isinstance(cine, Cine) else np.asarray(cine)
    if array.ndim != 4 or 0 in array.shape:
        raise CardioDiTError(f"A picture needs an array (T, Z, Y, X), this one is {array.shape}.", "Give a cine.")
    sx, sy = cine.spacing[:2] if isinstance(cine, Cine) else (1.0, 1.0)
    rows, columns = array.shape[2:]
    mm = min(sx, sy)
    high, wide = rows * sy / mm, columns * sx / mm
    factor = min(1.0, _TILE_PIXELS / max(high, wide))
    tiles = resized(windowed(array), (max(1, round(wide * factor)), max(1, round(high * factor))))
    return tiles, mm / factor if isinstance(cine, Cine) else 0.0


def picture_labels(
    cine: Cine | NDArray[Any],
    mm_per_pixel: float,
    segmentation: Segmentation | None = None,
    caption: str | None = None,
    title: str | None = None,
) -> Labels:
    """What stands beside the slices of a cine.

    Raises:
        CardioDiTError: The labels are not those of the cine.
    """
    shape = cine.shape if isinstance(cine, Cine) else np.asarray(cine).shape
    if segmentation is not None and segmentation.shape != tuple(shape):
        raise CardioDiTError(
            f"The cine {tuple(shape)} and the segmentation {segmentation.shape} are not on the same grid.",
            "Give the labels of this cine.",
        )
    synthetic = isinstance(cine, Cine) and bool(cine.meta.get("synthetic"))
    affine = cine.affine if isinstance(cine, Cine) else None
    return Labels(
        title=(described(cine) or "Short-axis cine") if title is None else title,
        mark=("synthetic / research only" if synthetic else "research only") if caption is None else caption,
        foot="" if segmentation is None else "ED, ES: largest and smallest labelled left ventricle",
        slices=slice_names(shape[1], affine, None if segmentation is None else segmentation.array),
        times_s=tuple(float(time) for time in cine.frame_times) if isinstance(cine, Cine) else (),
        phases=phases_of(segmentation),
        mm_per_pixel=mm_per_pixel,
    )
