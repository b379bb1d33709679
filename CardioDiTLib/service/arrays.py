"""Arrays pass from process to process as ``.npy`` files (previews as pictures) that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.io.label_convention import NAMES, named_labels


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


def describe_segmentation(segmentation: Segmentation, array: Path) -> dict[str, Any]:
    """A segmentation as plain values, its labels in a file.

    Returns:
        ``array``: the file, (T, Z, Y, X) uint8; ``affine``: 4 rows, (x, y, z) index to mm in RAS; ``frame_times``:
        seconds; ``meta``.
    """
    write_array(segmentation.array, array)
    return {
        "array": str(array),
        "affine": segmentation.affine.tolist(),
        "frame_times": segmentation.frame_times.tolist(),
        "meta": dict(segmentation.meta),
    }


def segmentation_of(values: Mapping[str, Any]) -> Segmentation:
    """The segmentation that `describe_segmentation` described.

    Labels that come from elsewhere say in ``named_by`` how they were numbered: by "names" (1 right ventricle, 2
    myocardium, 3 left ventricle) they are held against the anatomy, with a note in ``meta["labels"]`` where it
    contradicts; by "order" anatomy alone tells what they are.

    Raises:
        CardioDiTError: An entry is missing, the values are no segmentation, or labels without names cannot be told.
    """
    _require(values, "a segmentation", "array", "affine", "frame_times")
    array, meta = read_array(values["array"]), dict(values.get("meta") or {})
    if values.get("named_by") == "names":
        array, meta, _ = named_labels(array, meta, {label: label for label in NAMES})
    elif values.get("named_by") == "order":
        array, told, _ = named_labels(array, {})
        meta |= told
    return Segmentation(
        array,
        np.asarray(values["affine"], dtype=float),
        np.asarray(values["frame_times"], dtype=float),
        meta,
    )


def describe_track(track: LandmarkTrack, array: Path) -> dict[str, Any]:
    """A track as plain values, its points in a file.

    Returns:
        ``array``: the file, (T, Z, 2, 4): x, y, z in mm RAS, NaN where there is no point, and the confidence, 0 there;
        ``frame_times``: seconds; ``meta``.
    """
    confidence = np.where(track.found, track.confidence, 0.0)
    write_array(np.concatenate([track.points, confidence[..., None]], axis=-1), array)
    return {"array": str(array), "frame_times": track.frame_times.tolist(), "meta": dict(track.meta)}


def track_of(values: Mapping[str, Any]) -> LandmarkTrack:
    """The track that `describe_track` described.

    Raises:
        CardioDiTError: An entry is missing, or the values are no track.
    """
    _require(values, "landmarks", "array", "frame_times")
    array = read_array(values["array"])
    if array.ndim != 4 or array.shape[2:] != (2, 4):
        raise CardioDiTError(f"The array of landmarks has shape {array.shape}, not (T, Z, 2, 4).", "Send it again.")
    times = np.asarray(values["frame_times"], dtype=float)
    return LandmarkTrack(array[..., :3], array[..., 3], times, dict(values.get("meta") or {}))


def _require(values: Mapping[str, Any], what: str, *names: str) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise CardioDiTError(f"The description of {what} lacks {', '.join(missing)}.", "Send it with the request.")
