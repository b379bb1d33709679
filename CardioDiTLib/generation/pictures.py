"""Pictures of a cine: a contact sheet and a film. They need Pillow, which is imported only here and only when asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.atomic import atomic_path

CAPTION_HEIGHT = 14
"""Pixels of the strip under a picture that holds the caption."""

_MOST_PIXELS = 4096  # a sheet wider or higher is made smaller
_GAP = 1
_DARKEST_PERCENT, _BRIGHTEST_PERCENT = 0.5, 99.5


def contact_sheet(
    cine: Cine | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    frames: Sequence[int] | None = None,
    caption: str | None = None,
) -> Path:
    """Write all slices (rows) at all frames (columns) as one PNG.

    One brightness for the whole cine, so that slices and frames can be compared. Pixels that are not square are
    made so.

    Args:
        cine: A cine, or an array (T, Z, Y, X).
        path: The file, ending in .png.
        frames: Frames to show, such as ``[0, 6]`` for end-diastole and end-systole; all where it is None.
        caption: Text in the lower left corner; "synthetic / research only" for a cine of this software.

    Returns:
        The path.

    Raises:
        CardioDiTError: Pillow is not installed, a frame does not exist, or the file cannot be written.
    """
    array, _ = _grey(cine)
    chosen = list(range(len(array))) if frames is None else list(frames)
    missing = [frame for frame in chosen if not 0 <= frame < len(array)]
    if missing or not chosen:
        raise CardioDiTError(f"The cine has {len(array)} frames, not frame {missing}.", "Count frames from 0.")
    sheet = _tiled(array[chosen].transpose(1, 0, 2, 3))
    image = _captioned(sheet, caption if caption is not None else _caption(cine))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
    return Path(path)


def animated_gif(
    cine: Cine | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    frame_interval_s: float | None = None,
    caption: str | None = None,
) -> Path:
    """Write all slices side by side as a GIF that repeats for ever, at the speed of the heart.

    Args:
        cine: A cine, or an array (T, Z, Y, X).
        path: The file, ending in .gif.
        frame_interval_s: Seconds a frame; the cine's own where it is None, 0.06 for an array. GIF rounds to 10 ms, and
            programs show nothing faster than 20 ms.
        caption: Text in the lower left corner; "synthetic / research only" for a cine of this software.

    Returns:
        The path.

    Raises:
        CardioDiTError: Pillow is not installed, or the file cannot be written.
    """
    array, interval = _grey(cine)
    interval = frame_interval_s or interval
    columns = int(np.ceil(np.sqrt(array.shape[1])))
    rows = int(np.ceil(array.shape[1] / columns))
    text = caption if caption is not None else _caption(cine)
    images = []
    for frame in array:
        empty = np.zeros((rows * columns - len(frame), *frame.shape[1:]), np.uint8)
        grid = np.concatenate([frame, empty]).reshape(rows, columns, *frame.shape[1:])
        images.append(_captioned(_tiled(grid), text))
    duration_ms = max(20, round(interval * 100) * 10)
    with atomic_path(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=duration_ms,
            loop=0,
            optimize=False,
        )
    return Path(path)


def require_pillow() -> None:
    """See that pictures can be made.

    Raises:
        CardioDiTError: Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise CardioDiTError(
            "Pictures need the package Pillow, which is not installed.",
            "Install it with 'pip install pillow', or ask for formats other than png and gif.",
        ) from error


def _grey(cine: Cine | NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """(T, Z, Y, X) uint8 with square pixels, and the seconds between frames."""
    if isinstance(cine, Cine):
        array, (sx, sy, _), interval = cine.array, cine.spacing, cine.frame_interval_s
    else:
        array, sx, sy, interval = np.asarray(cine), 1.0, 1.0, 0.06
    if array.ndim != 4 or 0 in array.shape:
        raise CardioDiTError(f"A picture needs an array (T, Z, Y, X), this one is {array.shape}.", "Give a cine.")
    low, high = np.percentile(array, [_DARKEST_PERCENT, _BRIGHTEST_PERCENT])
    width = high - low if high > low else 1.0
    grey = np.clip((array.astype(np.float32) - low) / width * 255.0, 0, 255).astype(np.uint8)
    if abs(sx / sy - 1.0) > 0.01:
        rows, columns = array.shape[2:]
        size = (columns, max(1, round(rows * sy / sx))) if sy > sx else (max(1, round(columns * sx / sy)), rows)
        grey = _resized(grey, size)
    return grey, interval


def _resized(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    require_pillow()
    from PIL import Image

    planes = grey.reshape(-1, *grey.shape[2:])
    made = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(made).reshape(*grey.shape[:2], size[1], size[0])


def _tiled(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(rows, columns, Y, X) -> one picture with a thin line between tiles."""
    rows, columns, height, width = tiles.shape
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), 48, np.uint8)
    for row in range(rows):
        for column in range(columns):
            y, x = row * (height + _GAP), column * (width + _GAP)
            sheet[y : y + height, x : x + width] = tiles[row, column]
    return sheet


def _captioned(sheet: NDArray[np.uint8], caption: str) -> Any:
    require_pillow()
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(sheet)
    if max(image.size) > _MOST_PIXELS:
        image.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.BILINEAR)
    if not caption:
        return image
    canvas = Image.new("L", (image.width, image.height + CAPTION_HEIGHT), 0)
    canvas.paste(image, (0, 0))
    ImageDraw.Draw(canvas).text((3, image.height + 2), caption, fill=190, font=ImageFont.load_default())
    return canvas


def _caption(cine: Cine | NDArray[Any]) -> str:
    if isinstance(cine, Cine) and cine.meta.get("synthetic"):
        return "synthetic / research only"
    return "research only"
