"""Arrays pass from process to process as ``.npy`` files (previews as pictures) that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.atomic import atomic_path


def write_array(array: np.ndarray, path: Path) -> Path:
    """Write a ``.npy`` file."""
    with atomic_path(path) as partial:
        np.save(partial, array, allow_pickle=False)
    return path


def write_film(frames: np.ndarray, path: Path) -> Path:
    """Write frames (T, Y, X) as one grey picture, one below the other: binary PGM, which every toolkit reads.

    Grey values run from 0 to the 99.7th percentile of all frames.
    """
    white = max(float(np.percentile(frames, 99.7)), 1e-6)
    grey = np.rint(np.clip(frames / white, 0, 1) * 255).astype(np.uint8)
    height, width = grey.shape[0] * grey.shape[1], grey.shape[2]
    with atomic_path(path) as partial:
        partial.write_bytes(f"P5 {width} {height} 255\n".encode("ascii") + grey.tobytes())
    return path


def read_array(path: str | Path) -> np.ndarray:
    """Read a ``.npy`` file.

    Raises:
        CardioDiTError: There is none, or it is damaged.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CardioDiTError(f"The array '{Path(path).name}' cannot be read.", "Send it again.") from error


def describe_cine(cine: Cine, array: Path) -> dict[str, Any]:
    """A cine as plain values, its array in a file.

    Returns:
        ``array``: the file, (T, Z, Y, X); ``affine``: 4 rows, (x, y, z) index to mm in RAS; ``frame_times``: seconds;
        ``meta``.
    """
    write_array(cine.array, array)
    return {
        "array": str(array),
        "affine": cine.affine.tolist(),
        "frame_times": cine.frame_times.tolist(),
        "meta": dict(cine.meta),
    }


def cine_of(values: Mapping[str, Any]) -> Cine:
    """The cine that `describe_cine` described.

    Raises:
        CardioDiTError: An entry is missing, or the values are no cine.
    """
    missing = [name for name in ("array", "affine", "frame_times") if name not in values]
    if missing:
        raise CardioDiTError(f"The description of a cine lacks {', '.join(missing)}.", "Send it with the request.")
    return Cine(
        read_array(values["array"]),
        np.asarray(values["affine"], dtype=float),
        np.asarray(values["frame_times"], dtype=float),
        dict(values.get("meta") or {}),
    )
