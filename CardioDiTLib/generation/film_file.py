"""A film of a cine as a file: GIF, WebP or MP4, with the labels of a contact sheet's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.pictures import FILM_PIXELS, animated_gif, picture_labels, square_tiles
from CardioDiTLib.reporting.drawing import durations_ms, film_bytes
from CardioDiTLib.reporting.sheet import film_images

FILM_SUFFIXES = (".gif", ".webp", ".mp4")
_MOST_BYTES = 4_000_000
_BEATS = 6  # an MP4 does not repeat by itself
_ARRAY_CYCLE_S = 0.9


def save_film(
    cine: Cine | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    segmentation: Segmentation | None = None,
    title: str | None = None,
    caption: str | None = None,
    beats: int = _BEATS,
) -> Path:
    """Write all slices side by side as a film in real time (one beat lasts the cine's cycle); the suffix sets the kind.

    Args:
        cine: A cine, or an array (T, Z, Y, X).
        path: The file: .gif and .webp repeat for ever; .mp4 (H.264) is made by ffmpeg, which has to be on this machine
            or come with the package imageio-ffmpeg.
        segmentation, title, caption: See :func:`~CardioDiTLib.generation.pictures.contact_sheet`.
        beats: How many beats an MP4 lasts.

    Returns:
        The path.

    Raises:
        CardioDiTError: Another ending, Pillow or ffmpeg is missing, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FILM_SUFFIXES:
        raise CardioDiTError(f"'{Path(path).name}' is no file for a film.", f"Use {', '.join(FILM_SUFFIXES)}.")
    if suffix == ".gif":
        return animated_gif(cine, path, segmentation=segmentation, title=title, caption=caption)
    if beats < 1:
        raise CardioDiTError(f"A film of {beats} beats is not possible.", "Give 1 or more.")
    program = _ffmpeg() if suffix == ".mp4" else ""
    tiles, mm = square_tiles(cine)
    images = film_images(tiles, picture_labels(cine, mm, segmentation, caption, title), FILM_PIXELS)
    timed = isinstance(cine, Cine) and cine.n_frames > 1
    times = cine.frame_times if timed else np.arange(len(images)) * _ARRAY_CYCLE_S / len(images)  # type: ignore[union-attr]
    cycle = cine.cycle_s if timed else _ARRAY_CYCLE_S  # type: ignore[union-attr]
    with atomic_path(path) as temporary:
        if suffix == ".webp":
            data, kind = film_bytes(images, durations_ms(times, cycle), _MOST_BYTES)
            if kind != "webp":
                raise CardioDiTError("This Pillow cannot write WebP.", "Use .gif, or install a newer Pillow.")
            temporary.write_bytes(data)
        else:
            _write_mp4(program, images, len(images) / cycle, beats, temporary)
    return Path(path)


def _ffmpeg() -> str:
    """The program.

    Raises:
        CardioDiTError: It is not there.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise CardioDiTError(
            "An MP4 needs the program ffmpeg, which is not installed.",
            "Install it with 'pip install imageio-ffmpeg', or write a .gif or .webp.",
        ) from error


def _write_mp4(program: str, images: Sequence[Any], rate: float, beats: int, path: Path) -> None:
    width, height = (length - length % 2 for length in images[0].size)  # H.264 takes even sizes only
    frames = [np.asarray(image.crop((0, 0, width, height)).convert("RGB"), np.uint8).tobytes() for image in images]
    command = [program, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", f"{max(rate, 1.0):.4f}", "-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20"]
    command += ["-movflags", "+faststart", "-f", "mp4", os.fspath(path.absolute())]
    done = subprocess.run(command, input=b"".join(frames) * beats, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CardioDiTError(f"ffmpeg could not write the film: {said[-1] if said else 'no reason given'}.", "")
