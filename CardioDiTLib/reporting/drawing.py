"""Sheets and films of slices: labels in ink beside the pictures, a scale bar, frames as a film.

Pillow and Matplotlib are imported only here, and only when a picture is made.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError

SMALL, NORMAL, LARGE = 12, 14, 18
"""Sizes of type, pixels."""

DARKEST_PERCENT, BRIGHTEST_PERCENT = 0.5, 99.5
"""Grey levels of a cine between these percentiles are told apart."""

_BARS_MM = (10.0, 20.0, 50.0, 100.0, 200.0)


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
            "Install it with 'pip install matplotlib pillow', or ask for formats without pictures.",
        ) from error


def type_of(size: int) -> Any:
    """The font of pictures in a size."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """How wide a text is, pixels."""
    return math.ceil(type_of(size).getlength(text))


def shortened(text: str, size: int, width: int) -> str:
    """A text that fits a width, cut with dots where it does not."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}...", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}..." if text else ""


def windowed(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values as uint8, the same window for all of them."""
    low, high = np.percentile(array, [DARKEST_PERCENT, BRIGHTEST_PERCENT])
    width = high - low if high > low else 1.0
    return np.clip((array.astype(np.float32) - low) / width * 255.0, 0, 255).astype(np.uint8)


def resized(planes: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(T, Z, Y, X) pictures in another size (width, height)."""
    from PIL import Image

    if (planes.shape[3], planes.shape[2]) == size:
        return planes
    flat = planes.reshape(-1, *planes.shape[2:])
    made = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in flat]
    return np.stack(made).reshape(*planes.shape[:2], size[1], size[0])


def scale_bar_mm(width_mm: float) -> float:
    """A round length that fits a picture of this width."""
    fitting = [length for length in _BARS_MM if length <= 0.45 * width_mm]
    return fitting[-1] if fitting else float(f"{0.5 * width_mm:.1g}")


def draw_scale_bar(pen: Any, x: int, y: int, pixels_per_mm: float, tile_width: int, ink: Any) -> int:
    """A scale bar with its length beside it; gives the width of both."""
    length = scale_bar_mm(tile_width / pixels_per_mm)
    across = round(length * pixels_per_mm)
    pen.rectangle((x, y + 5, x + across, y + 7), fill=ink)
    for end in (x, x + across):
        pen.rectangle((end, y + 2, end + 1, y + 10), fill=ink)
    text = f"{length:g} mm"
    pen.text((x + across + 8, y + 6), text, fill=ink, font=type_of(SMALL), anchor="lm")
    return across + 8 + text_width(text, SMALL)


def grid_of(count: int, tile: tuple[int, int], wide: float = 1.9) -> list[int]:
    """How many tiles each row of a grid holds: rows as equal as can be, the whole about `wide` times as wide as high.

    Args:
        count: Tiles.
        tile: Width and height of one.
        wide: Wished-for width over height.
    """
    best, found = math.inf, [count]
    for rows in range(1, count + 1):
        columns = -(-count // rows)
        if columns * (rows - 1) >= count and rows > 1:
            continue
        shape = columns * tile[0] / (rows * tile[1])
        loss = abs(math.log(shape / wide)) + 0.5 * (rows * columns - count) / columns
        if loss < best:
            short = rows * columns - count
            best, found = loss, [columns - (row >= rows - short) for row in range(rows)]
    return found


def phase_marks(frame: int, phases: dict[str, int]) -> str:
    """ "ED", "ES", both or nothing."""
    return " ".join(name for name, at in phases.items() if at == frame)


def described(cine: Any) -> str:
    """What a cine is, in a line: model, class and seed of a synthetic one; nothing of a recorded one, which may be
    called after its patient."""
    if not isinstance(cine, Cine) or not cine.meta.get("synthetic"):
        return ""
    meta = cine.meta
    parts = [str(meta["model"])[:60]] if isinstance(meta.get("model"), str) else []
    if isinstance(meta.get("pathology"), str):
        parts.append(f"class {meta['pathology'][:40]}")
    parts += [f"{name} {meta[key]}" for key, name in (("seed", "seed"), ("index", "heart")) if _whole(meta.get(key))]
    return ", ".join(parts)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def durations_ms(frame_times_s: ArrayLike, cycle_s: float) -> list[int]:
    """How long each frame of a film stands: multiples of 10 ms, 20 at least; one or two frames are no film: 700."""
    times = np.asarray(frame_times_s, np.float64)
    if len(times) < 3:
        return [700] * len(times)
    # rounded sums, not rounded steps, so that the beat as a whole lasts as long as it should
    ends = np.append(times[1:], cycle_s)
    return [max(20, int(step)) for step in np.diff(np.rint(ends * 100) * 10, prepend=0)]


def gif_bytes(frames: Sequence[Any], durations: Sequence[int]) -> bytes:
    """Pictures with one palette as a GIF that repeats for ever."""
    stream = io.BytesIO()
    frames[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=list(frames[1:]),
        duration=list(durations),
        loop=0,
        optimize=False,
    )
    return stream.getvalue()


_BETTER_COSTS = 1.6
"""About so much larger is a film of the next better quality, where the difference is largest."""


def film_bytes(frames: Sequence[Any], durations: Sequence[int], most_bytes: int) -> tuple[bytes, str]:
    """Pictures (RGB) as a film for a page, small enough for it.

    Returns:
        The film, and its kind: "webp", or "gif" where this Pillow cannot write that.
    """
    from PIL import Image, features

    if not features.check("webp"):
        return gif_bytes([frame.quantize(64, dither=Image.Dither.NONE) for frame in frames], durations), "gif"
    qualities = (80, 60, 40, 20)

    def film(place: int) -> bytes:
        stream = io.BytesIO()
        frames[0].save(
            stream,
            format="WEBP",
            save_all=True,
            append_images=list(frames[1:]),
            duration=list(durations),
            loop=0,
            quality=qualities[place],
            method=2,
        )
        return stream.getvalue()

    # One picture tells which qualities need not be tried; the film of a beat has 0.7 to 1 times the size of its
    # pictures, that of a heart that hardly moves less.
    alone = [0.7 * len(frames) * len(_webp(frames[len(frames) // 2], quality)) for quality in qualities]
    place = next((place for place, size in enumerate(alone) if size <= most_bytes), len(qualities) - 1)
    data = film(place)
    while place > 0 and _BETTER_COSTS * len(data) <= most_bytes:
        better = film(place - 1)
        if len(better) > most_bytes:
            return data, "webp"
        place, data = place - 1, better
    while len(data) > most_bytes and place < len(qualities) - 1:
        place += 1
        data = film(place)
    return data, "webp"


def _webp(image: Any, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=quality, method=2)
    return stream.getvalue()


def still_bytes(image: Any) -> tuple[bytes, str]:
    """A picture for a page, and its kind."""
    from PIL import features

    stream = io.BytesIO()
    if features.check("webp"):
        image.save(stream, format="WEBP", quality=85, method=4)
        return stream.getvalue(), "webp"
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue(), "png"


def grey_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (Y, X) uint8 as the bytes of a PNG file."""
    rows = np.ascontiguousarray(picture, np.uint8)
    height, width = rows.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each line begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def data_address(picture: NDArray[np.uint8]) -> str:
    """A picture as the address of an image inside an HTML page."""
    return "data:image/png;base64," + base64.b64encode(grey_png(picture)).decode("ascii")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def new_figure(width_inches: float, height_inches: float) -> Any:
    """An empty figure that belongs to no window.

    Raises:
        CardioDiTError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CardioDiTError(
            "The report needs the package Matplotlib, which is not installed.",
            "Install it with 'pip install matplotlib pillow', or ask for json and csv only.",
        ) from error
    return Figure(figsize=(width_inches, height_inches), dpi=150, facecolor="white", layout="constrained")


def png(figure: Any) -> bytes:
    """The figure as a PNG, without a date inside, so that equal figures are equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
