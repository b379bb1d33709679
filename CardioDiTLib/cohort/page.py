"""A page of hearts of a cohort: each at end-diastole and end-systole, with what it is below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cohort.heart_record import LABELS
from CardioDiTLib.cohort.reading import CohortHeart
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.pictures import square_tiles
from CardioDiTLib.labels import LV
from CardioDiTLib.reporting.colours import INK, PAPER, SOFT, WARNING_COLOUR
from CardioDiTLib.reporting.drawing import (
    LARGE,
    NORMAL,
    SMALL,
    draw_scale_bar,
    grid_of,
    resized,
    shortened,
    text_width,
    type_of,
)

_TILE = 150
_GAP, _BETWEEN, _MARGIN = 2, 18, 20
_UNDER = 48
_HEAD = 56
_FOOT = 44
_MARK = "synthetic / research only"


def write_page(hearts: Sequence[CohortHeart], path: Path, title: str, foot: str = "") -> Path:
    """Write a page of hearts as PNG.

    Args:
        hearts: The hearts, in the order in which they are shown.
        path: The file.
        title: Heading.
        foot: Below, such as the model.

    Raises:
        CardioDiTError: Pillow is not installed, a heart cannot be read, or the file cannot be written.
    """
    image = page_image(hearts, title, foot)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)
    return path


def page_image(hearts: Sequence[CohortHeart], title: str, foot: str = "") -> Any:
    """The page of `write_page`, a Pillow image."""
    from PIL import Image, ImageDraw

    cell = 2 * _TILE + _GAP + _BETWEEN, _TILE + _UNDER
    columns = max(grid_of(len(hearts), cell, wide=1.5))
    rows = -(-len(hearts) // columns)
    width = max(2 * _MARGIN + columns * cell[0] - _BETWEEN, 2 * _MARGIN + 560)
    image = Image.new("RGB", (width, _HEAD + rows * cell[1] + _FOOT), PAPER)
    pen = ImageDraw.Draw(image)
    _head(pen, title, width)
    mm = 0.0
    for place, heart in enumerate(hearts):
        x, y = _MARGIN + place % columns * cell[0], _HEAD + place // columns * cell[1]
        tiles, mm = phase_tiles(heart)
        for number, (name, tile) in enumerate(tiles):
            left = x + number * (_TILE + _GAP)
            image.paste(Image.fromarray(tile).convert("RGB"), (left, y))
            pen.text((left + 5, y + 3), name, fill=PAPER, font=type_of(SMALL), stroke_width=2, stroke_fill="#000000")
        for line, (text, colour) in enumerate(zip(caption_of(heart), (INK, SOFT))):
            text = shortened(text, SMALL, cell[0] - _BETWEEN)
            pen.text((x, y + _TILE + 5 + line * 15), text, fill=colour, font=type_of(SMALL))
    below, left = image.height - 30, _MARGIN
    if mm > 0:
        left += draw_scale_bar(pen, left, below, 1 / mm, _TILE, INK) + 20
    told = f"{foot}{'; ' if foot else ''}{shown_text(hearts)}"
    text = shortened(told, SMALL, width - _MARGIN - left)
    pen.text((left, below + 6), text, fill=SOFT, font=type_of(SMALL), anchor="lm")
    return image


def shown_text(hearts: Sequence[CohortHeart]) -> str:
    """What the pictures of `phase_tiles` show."""
    if any(LABELS in heart.record.files for heart in hearts):
        return "middle slice at largest and smallest left ventricle, by the heart's labels"
    return "middle slice in the first frame and in the one that differs most from it"


def phase_tiles(heart: CohortHeart) -> tuple[list[tuple[str, NDArray[np.uint8]]], float]:
    """Two pictures of a heart with their names, and the millimetres of a pixel.

    Without labels the first frame stands for end-diastole, and the one that differs most from it for end-systole.
    """
    cine, labels = heart.cine, heart.segmentation
    tiles, mm = square_tiles(cine)
    z = cine.n_slices // 2
    named = ("ED", "ES")
    if labels is not None and (labels.array == LV).any():
        volumes = (labels.array == LV).sum(axis=(1, 2, 3))
        frames = int(volumes.argmax()), int(volumes.argmin())
        covered = np.flatnonzero((labels.array[frames[0]] == LV).any(axis=(1, 2)))
        z = int(covered[len(covered) // 2])
    else:
        first = tiles[0, z].astype(np.int32)
        frames = 0, int(np.abs(tiles[:, z].astype(np.int32) - first).sum(axis=(1, 2)).argmax())
        named = ("frame 0", f"frame {frames[1]}")
    high, wide = tiles.shape[2:]
    factor = _TILE / max(high, wide)
    size = max(1, round(wide * factor)), max(1, round(high * factor))
    shown = resized(tiles[list(frames)][:, z : z + 1], size)
    squares = []
    for name, tile in zip(named, shown[:, 0]):
        square = np.zeros((_TILE, _TILE), np.uint8)
        square[: tile.shape[0], : tile.shape[1]] = tile
        squares.append((name, square))
    return squares, mm / factor


def caption_of(heart: CohortHeart) -> tuple[str, str]:
    """What stands below a heart: what it is, and what it measures beside what was asked."""
    record = heart.record
    first = f"heart {heart.number}" + (f", {record.heart.pathology}" if record.heart.pathology else "")
    function = next(iter(record.function.values()), None)
    parts = []
    for field, name, unit in (("edv_ml", "EDV", "mL"), ("ef_percent", "EF", "%")):
        asked = record.heart.asked.get(field)
        value = math.nan if function is None else function.values.get(field, math.nan)
        if math.isfinite(value) or asked is not None:
            shown = f"{value:.0f}" if math.isfinite(value) else "–"
            parts.append(f"{name} {shown} {unit}{'' if asked is None else f' (asked {asked:.0f})'}")
    return first, ", ".join(parts)


def _head(pen: Any, title: str, width: int) -> None:
    across = text_width(_MARK, SMALL) + 16
    right = width - _MARGIN
    pen.rounded_rectangle((right - across, 15, right, 37), 4, outline=WARNING_COLOUR, width=1)
    pen.text((right - across // 2, 26), _MARK, fill=WARNING_COLOUR, font=type_of(SMALL), anchor="mm")
    room = right - across - 12 - _MARGIN
    size = LARGE if text_width(title, LARGE) <= room else NORMAL
    pen.text((_MARGIN, 26), shortened(title, size, room), fill=INK, font=type_of(size), anchor="lm")
