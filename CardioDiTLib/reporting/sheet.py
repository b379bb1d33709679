"""Contact sheets (slices down, frames across) and films (slices side by side), labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.orientation import base_end
from CardioDiTLib.labels import LV
from CardioDiTLib.reporting import drawing
from CardioDiTLib.reporting.colours import ED_COLOUR, ES_COLOUR, FAINT, INK, LINE, PAPER, SOFT, WARNING_COLOUR
from CardioDiTLib.reporting.drawing import LARGE, NORMAL, SMALL, text_width, type_of

MARGIN = 16
"""Pixels around a picture."""
_GAP = 2
_COLOURS = {"ED": ED_COLOUR, "ES": ES_COLOUR}
_SHADES = 6  # of each colour towards white, for smooth edges


@dataclass(frozen=True)
class Labels:
    """What stands beside pictures.

    Attributes:
        title: Above them, on the left.
        mark: Above them, on the right: what they are for.
        foot: Below them.
        slices: Of each slice, such as "1 base".
        times_s: Of each frame of the cine; empty where they are not known.
        phases: "ED" and "ES" to frames of the cine.
        mm_per_pixel: Of the pictures as they are given; 0 where it is not known.
    """

    title: str = ""
    mark: str = ""
    foot: str = ""
    slices: tuple[str, ...] = ()
    times_s: tuple[float, ...] = ()
    phases: dict[str, int] = field(default_factory=dict)
    mm_per_pixel: float = 0.0


def slice_names(count: int, affine: ArrayLike | None = None, labels: ArrayLike | None = None) -> tuple[str, ...]:
    """Slices counted from 1, the ends called base and apex where that can be told."""
    names = [str(z + 1) for z in range(count)]
    base = base_end(affine, labels) if affine is not None and count > 1 else None
    if base is not None:
        names[0] += " base" if base == "first" else " apex"
        names[-1] += " apex" if base == "first" else " base"
    return tuple(names)


def phases_of(segmentation: Segmentation | None) -> dict[str, int]:
    """Frames of the largest and of the smallest left ventricle; empty where there is none or it does not change.

    Frames without one count as not labelled: labels of end-diastole and end-systole alone are common.
    """
    if segmentation is None:
        return {}
    counts = (segmentation.array == LV).sum(axis=(1, 2, 3))
    labelled = np.flatnonzero(counts)
    if not len(labelled) or counts[labelled].min() == counts.max():
        return {}
    return {"ED": int(counts.argmax()), "ES": int(labelled[counts[labelled].argmin()])}


def contact_sheet_image(tiles: NDArray[np.uint8], frames: Sequence[int], labels: Labels, most_pixels: int) -> Any:
    """All slices (rows) at some frames (columns), with their names.

    Args:
        tiles: (F, Z, Y, X), grey, the frames that are shown.
        frames: Their numbers in the cine.
        labels: What stands beside them.
        most_pixels: The whole is no wider and no higher; pictures are made smaller for it, letters are not.

    Returns:
        A Pillow image with a palette.
    """
    from PIL import Image, ImageDraw

    names = [drawing.shortened(name, SMALL, 90) for name in labels.slices]
    left = MARGIN + max((text_width(part, SMALL) for name in names for part in _parts(name)), default=0) + 12
    top, bottom = MARGIN + LARGE + 14 + 46, 46
    room = (
        _room(most_pixels - left - MARGIN, tiles.shape[0], tiles.shape[3]),
        _room(most_pixels - top - bottom, tiles.shape[1], tiles.shape[2]),
    )
    tiles, factor = _fitted(tiles, min(*room, 1.0))
    count, slices, high, wide = tiles.shape[:4]
    width = max(left + count * (wide + _GAP) - _GAP + MARGIN, 560)
    height = top + slices * (high + _GAP) - _GAP + bottom
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    _head(pen, labels, width)
    for column, frame in enumerate(frames):
        x = left + column * (wide + _GAP)
        _column_head(pen, x + wide // 2, top, frame, labels, wide)
        for z in range(slices):
            image.paste(Image.fromarray(tiles[column, z]).convert("RGB"), (x, top + z * (high + _GAP)))
    for z, name in enumerate(names):
        middle = top + z * (high + _GAP) + high // 2
        parts = _parts(name)
        for line, part in enumerate(parts):
            y = middle + (line - (len(parts) - 1) / 2) * (SMALL + 3)
            pen.text((left - 10, y), part, fill=INK if line == 0 else SOFT, font=type_of(SMALL), anchor="rm")
    _foot(pen, labels, left, height - 30, width, factor, wide)
    return palette_image(image)


def phase_sheet_image(tiles: NDArray[np.uint8], frames: Sequence[int], labels: Labels, most_pixels: int) -> Any:
    """All slices (columns) at few frames (rows), such as end-diastole and end-systole; see `contact_sheet_image`.

    Returns:
        A Pillow image, RGB.
    """
    from PIL import Image, ImageDraw

    left, top, bottom = MARGIN + 84, MARGIN + LARGE + 14 + 30, 46
    tiles, factor = _fitted(tiles, min(1.0, _room(most_pixels - left - MARGIN, tiles.shape[1], tiles.shape[3])))
    count, slices, high, wide = tiles.shape[:4]
    width = max(left + slices * (wide + _GAP) - _GAP + MARGIN, 560)
    height = top + count * (high + _GAP) - _GAP + bottom
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    _head(pen, labels, width)
    for z, name in enumerate(labels.slices):
        x = left + z * (wide + _GAP)
        parts = _parts(name) if wide >= text_width("slice 88", SMALL) else name.split(" ")
        for line, part in enumerate(reversed(parts)):
            colour = SOFT if line < len(parts) - 1 else INK
            pen.text((x + wide // 2, top - 9 - line * 15), part, fill=colour, font=type_of(SMALL), anchor="mm")
        for row in range(count):
            image.paste(Image.fromarray(tiles[row, z]).convert("RGB"), (x, top + row * (high + _GAP)))
    for row, frame in enumerate(frames):
        _column_head(pen, MARGIN + 36, top + row * (high + _GAP) + high // 2 + 26, frame, labels, 72)
    _foot(pen, labels, left, height - 30, width, factor, wide)
    return image


def film_images(tiles: NDArray[np.uint8], labels: Labels, most_pixels: int) -> list[Any]:
    """All slices side by side, one picture a frame, with the time of the beat.

    Args:
        tiles: (T, Z, Y, X) grey or (T, Z, Y, X, 3) coloured.
        labels: What stands beside them.
        most_pixels: The whole is no wider; pictures are made smaller for it.

    Returns:
        Pillow images, RGB, all of one size.
    """
    rows = drawing.grid_of(tiles.shape[1], (tiles.shape[3], tiles.shape[2]))
    room = _room(most_pixels - 2 * MARGIN, max(rows), tiles.shape[3])
    tiles, factor = _fitted(tiles, min(room, 1.0))
    high, wide = tiles.shape[2:4]
    top, bottom = MARGIN + LARGE + 10 + 40, 44
    width = max(2 * MARGIN + max(rows) * (wide + _GAP) - _GAP, 420)
    height = top + len(rows) * (high + _GAP) - _GAP + bottom
    places = [
        ((width - (columns * (wide + _GAP) - _GAP)) // 2 + column * (wide + _GAP), top + row * (high + _GAP))
        for row, columns in enumerate(rows)
        for column in range(columns)
    ]
    still = _still(labels, (width, height), factor, wide)
    return [_film_frame(still, tiles[frame], frame, len(tiles), labels, places) for frame in range(len(tiles))]


def _still(labels: Labels, size: tuple[int, int], factor: float, wide: int) -> Any:
    """What does not move in a film."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    _head(pen, labels, size[0])
    _foot(pen, labels, MARGIN, size[1] - 30, size[0], factor, wide)
    return image


def _film_frame(
    still: Any,
    tiles: NDArray[np.uint8],
    frame: int,
    count: int,
    labels: Labels,
    places: Sequence[tuple[int, int]],
) -> Any:
    from PIL import Image, ImageDraw

    image = still.copy()
    pen = ImageDraw.Draw(image)
    for tile, place, name in zip(tiles, places, labels.slices):
        image.paste(Image.fromarray(tile).convert("RGB"), place)
        pen.text(
            (place[0] + 5, place[1] + 3), name, fill=PAPER, font=type_of(SMALL), stroke_width=2, stroke_fill="#000000"
        )
    _clock(pen, frame, count, labels, image.width)
    return image


def _clock(pen: Any, frame: int, count: int, labels: Labels, width: int) -> None:
    """Number and time of a frame, and where in the cycle it lies."""
    y = MARGIN + LARGE + 10
    text = f"frame {frame}"
    if labels.times_s:
        text += f"   {labels.times_s[frame] * 1000:.0f} ms"
    pen.text((MARGIN, y + 9), text, fill=INK, font=type_of(NORMAL), anchor="lm")
    # as wide as the widest text of any frame, so that nothing jumps
    left = MARGIN + text_width(f"frame {count - 1}   88888 ms", NORMAL) + 14
    right = width - MARGIN - 8
    pen.rectangle((left, y + 8, right, y + 10), fill=LINE)

    def place(number: int) -> float:
        return left + (right - left) * (number / (count - 1) if count > 1 else 0.0)

    for number in range(count):
        pen.rectangle((place(number), y + 6, place(number), y + 12), fill=FAINT)
    for name, at in labels.phases.items():
        colour = _COLOURS.get(name, INK)
        pen.rectangle((place(at) - 1, y + 3, place(at) + 1, y + 15), fill=colour)
        pen.text((place(at), y + 17), name, fill=colour, font=type_of(SMALL), anchor="mt")
    here = place(frame)
    shown = drawing.phase_marks(frame, labels.phases).split(" ")[0]
    pen.ellipse((here - 5, y + 4, here + 5, y + 14), fill=_COLOURS.get(shown, INK))


def _head(pen: Any, labels: Labels, width: int) -> None:
    right = width - MARGIN
    if labels.mark:
        mark = drawing.shortened(labels.mark, SMALL, width - 2 * MARGIN)
        across = text_width(mark, SMALL) + 16
        synthetic = labels.mark.lower().startswith("synthetic")
        colour = WARNING_COLOUR if synthetic else SOFT
        pen.rounded_rectangle((right - across, MARGIN - 4, right, MARGIN + 18), 4, outline=colour, width=1)
        pen.text((right - across // 2, MARGIN + 7), mark, fill=colour, font=type_of(SMALL), anchor="mm")
        right -= across + 12
    title = drawing.shortened(labels.title, LARGE, right - MARGIN)
    pen.text((MARGIN, MARGIN + 7), title, fill=INK, font=type_of(LARGE), anchor="lm")


def _column_head(pen: Any, x: int, top: int, frame: int, labels: Labels, wide: int) -> None:
    long = wide >= text_width("frame 88", SMALL) + 4
    number = f"frame {frame}" if long else str(frame)
    pen.text((x, top - 22), number, fill=INK, font=type_of(SMALL), anchor="mm")
    if labels.times_s:
        time = f"{labels.times_s[frame] * 1000:.0f}"
        text = f"{time} ms" if wide >= text_width(f"{time} ms", SMALL) + 4 else time
        if text_width(text, SMALL) <= wide:
            pen.text((x, top - 8), text, fill=SOFT, font=type_of(SMALL), anchor="mm")
    mark = drawing.phase_marks(frame, labels.phases)
    if mark:
        half = text_width(mark, SMALL) // 2 + 6
        pen.rounded_rectangle((x - half, top - 46, x + half, top - 30), 4, fill=_COLOURS.get(mark, INK))
        pen.text((x, top - 38), mark, fill=PAPER, font=type_of(SMALL), anchor="mm")


def _foot(pen: Any, labels: Labels, left: int, y: int, width: int, factor: float, wide: int) -> None:
    if labels.mm_per_pixel > 0:
        left += drawing.draw_scale_bar(pen, left, y, factor / labels.mm_per_pixel, wide, INK) + 20
    text = drawing.shortened(labels.foot, SMALL, width - MARGIN - left)
    pen.text((left, y + 6), text, fill=SOFT, font=type_of(SMALL), anchor="lm")


def _parts(name: str) -> list[str]:
    """A slice's name in lines: its number, then what it is."""
    number, _, what = name.partition(" ")
    return [f"slice {number}", *([what] if what else [])]


def _room(pixels: int, count: int, size: int) -> float:
    """How much smaller so many tiles must be made to fit."""
    return (pixels - count * _GAP) / (count * size)


def _fitted(tiles: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.uint8], float]:
    """Tiles made smaller, and by how much."""
    if factor >= 1.0:
        return tiles, 1.0
    high, wide = tiles.shape[2:4]
    size = max(4, int(wide * factor)), max(4, int(high * factor))
    if tiles.ndim == 5:
        channels = [drawing.resized(np.ascontiguousarray(tiles[..., i]), size) for i in range(tiles.shape[4])]
        return np.stack(channels, axis=-1), size[0] / wide
    return drawing.resized(tiles, size), size[0] / wide


def palette_image(image: Any, greys: int = 200) -> Any:
    """An RGB picture of greys and few colours as one with a fixed palette: the same for all frames of a film.

    Args:
        image: RGB.
        greys: Levels of grey that are kept; fewer make films smaller.
    """
    from PIL import Image

    pixels = np.asarray(image).astype(np.int16)
    tints = np.array([_shade(colour, part) for colour in _TINTED for part in np.linspace(1.0, 0.15, _SHADES)], np.int16)
    indices = np.rint(pixels.mean(axis=2) * (greys - 1) / 255.0).astype(np.uint8)
    coloured = np.ptp(pixels, axis=2) > 24
    far = np.abs(pixels[coloured][:, None, :] - tints[None]).sum(axis=2)
    indices[coloured] = greys + far.argmin(axis=1).astype(np.uint8)
    made = Image.frombytes("P", image.size, indices.tobytes())
    levels = np.rint(np.linspace(0, 255, greys)).astype(int)
    palette = [int(level) for level in levels for _ in range(3)] + [int(value) for value in tints.ravel()]
    made.putpalette(palette + [0] * (768 - len(palette)))
    return made


_TINTED = (ED_COLOUR, ES_COLOUR, WARNING_COLOUR, "#FF8A33", "#19C99A", "#4DB2F0")


def _shade(colour: str, part: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 + (int(colour[i : i + 2], 16) - 255) * part) for i in (1, 3, 5))
    return red, green, blue
