"""Cines and labels as images of other libraries, and back: SimpleITK, nibabel, TorchIO.

========  ===========================  ===========================
library   image                        where frame times are
========  ===========================  ===========================
SimpleITK 4D, index (x, y, z, t), LPS  spacing of the fourth axis
nibabel   4D, (X, Y, Z, T), RAS        ``pixdim[4]``, in seconds
TorchIO   frames as channels, RAS      key ``frame_times_s``
========  ===========================  ===========================

Exact frame times and provenance go along where the library keeps them, and so does that a heart is synthetic.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.frame_times import assumed_times, decode_meta, encode_meta, take_back_assumed
from CardioDiTLib.io.nifti import from_nifti_image, nifti_image
from CardioDiTLib.io.synthetic_mark import description_of, is_synthetic
from CardioDiTLib.schema import parse_json

if TYPE_CHECKING:
    import SimpleITK

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OURS, _MARK = "CardioDiT", "synthetic"


def to_simpleitk(image: Cine | Segmentation) -> SimpleITK.Image:
    """A 4D image of SimpleITK, in LPS, with seconds as the spacing of its fourth axis.

    Args:
        image: A cine or its labels.

    Returns:
        The image; `from_simpleitk` gives the same back.
    """
    import SimpleITK as sitk

    made = sitk.GetImageFromArray(np.ascontiguousarray(image.array), isVector=False)
    affine = _LPS @ image.affine
    direction = np.eye(4)
    direction[:3, :3] = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    interval = image.frame_interval_s if image.n_frames > 1 else 1.0
    made.SetSpacing((*image.spacing, float(interval)))
    made.SetOrigin((*affine[:3, 3].tolist(), 0.0))
    made.SetDirection(direction.ravel().tolist())
    made.SetMetaData(_OURS, json.dumps({"frame_times_s": image.frame_times.tolist(), "meta": encode_meta(image.meta)}))
    if is_synthetic(image.meta):
        made.SetMetaData(_MARK, description_of(image.meta))
    return made


def from_simpleitk(image: SimpleITK.Image, *, labels: bool = False) -> Cine | Segmentation:
    """A cine of a 4D image of SimpleITK.

    Args:
        image: Index (x, y, z, t); the spacing of the fourth axis is taken for seconds, 1 for "not known".
        labels: It holds labels: a `Segmentation` is made.

    Raises:
        CardioDiTError: Other than four dimensions, several values a voxel, or a geometry that no cine can have.
    """
    import SimpleITK as sitk

    if image.GetDimension() != 4 or image.GetNumberOfComponentsPerPixel() != 1:
        raise CardioDiTError(
            f"The image has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} values a "
            "voxel; a cine has four and one.",
            "Join the frames with SimpleITK.JoinSeries.",
        )
    array = sitk.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(4, 4)
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    stored, meta = _record(image.GetMetaData(_OURS) if image.HasMetaDataKey(_OURS) else "")
    if image.HasMetaDataKey(_MARK):
        meta.setdefault("synthetic", True)
    interval = float(image.GetSpacing()[3])
    return _made(array, _LPS @ affine, _times(len(array), interval, stored, meta), meta, labels)


def to_nibabel(image: Cine | Segmentation) -> Any:
    """A NIfTI image of nibabel, as `save_cine` writes it; `from_nibabel` gives the same back."""
    return nifti_image(image)


def from_nibabel(image: Any, *, labels: bool = False) -> Cine | Segmentation:
    """A cine of a 4D NIfTI image of nibabel.

    Args:
        image: Axes (X, Y, Z, T).
        labels: It holds labels: a `Segmentation` is made.

    Raises:
        CardioDiTError: Other than four dimensions, or a geometry that no cine can have.
    """
    if not hasattr(image, "dataobj") or not hasattr(getattr(image, "header", None), "extensions"):
        raise CardioDiTError(f"A {type(image).__name__} is no NIfTI image of nibabel.", "Give what nibabel.load gives.")
    raw = from_nifti_image(image)
    return _made(raw.array, raw.affine, raw.frame_times, raw.meta, labels)


def to_torchio(image: Cine | Segmentation) -> Any:
    """An image of TorchIO (`ScalarImage` or `LabelMap`) with the frames as channels.

    Raises:
        CardioDiTError: TorchIO is not installed.
    """
    try:
        import torchio
    except ImportError as error:
        raise CardioDiTError(
            "The package torchio is not installed.", "Install it with 'pip install torchio'."
        ) from error
    import torch

    kind = torchio.LabelMap if isinstance(image, Segmentation) else torchio.ScalarImage
    tensor = torch.from_numpy(np.ascontiguousarray(image.array.transpose(0, 3, 2, 1)))
    return kind(
        tensor=tensor,
        affine=np.array(image.affine),
        frame_times_s=image.frame_times.tolist(),
        cardiodit_meta=encode_meta(image.meta),
    )


def from_torchio(image: Any, *, labels: bool | None = None) -> Cine | Segmentation:
    """A cine of an image of TorchIO that holds its frames as channels.

    Args:
        image: Its ``data`` is (T, X, Y, Z), its ``affine`` RAS.
        labels: Whether it holds labels; None asks the kind of the image.

    Raises:
        CardioDiTError: No such image, or a geometry that no cine can have.
    """
    data, affine = getattr(image, "data", None), getattr(image, "affine", None)
    if data is None or affine is None or getattr(data, "ndim", 0) != 4:
        raise CardioDiTError(
            f"A {type(image).__name__} is no image of TorchIO with frames as channels.", "Give a ScalarImage."
        )
    array = np.asarray(data).transpose(0, 3, 2, 1)
    get = image.get if hasattr(image, "get") else lambda key, default=None: default
    meta = decode_meta(str(get("cardiodit_meta", "") or ""))
    stored = get("frame_times_s", None)
    times = list(stored) if stored is not None and len(stored) == len(array) else []
    is_labels = type(image).__name__ == "LabelMap" if labels is None else labels
    return _made(array, np.array(affine, float), _times(len(array), 1.0, times, meta), meta, is_labels)


def _record(text: str) -> tuple[list[float], dict[str, Any]]:
    """Frame times and provenance of our own; empty where there are none."""
    try:
        record = parse_json(text) if text else {}
    except ValueError:
        record = {}
    if not isinstance(record, dict):
        return [], {}
    times = record.get("frame_times_s")
    known = isinstance(times, list) and all(isinstance(one, int | float) for one in times)
    return [float(one) for one in times] if known and times else [], decode_meta(str(record.get("meta", "")))


def _times(count: int, interval: float, stored: list[float], meta: dict[str, Any]) -> NDArray[np.float64]:
    agrees = len(stored) == count and (
        count < 2 or interval == 1.0 or bool(np.isclose(np.median(np.diff(stored)), interval, rtol=1e-4))
    )
    if agrees:
        return np.asarray(stored, np.float64)
    if count == 1:
        return np.zeros(1)
    if interval == 1.0 or not (np.isfinite(interval) and interval > 0):
        return assumed_times(count, meta)
    if len(stored) > 1 and not np.isclose(np.median(np.diff(stored)), interval, rtol=1e-4):
        take_back_assumed(meta)  # somebody has set the interval
    return np.arange(count, dtype=np.float64) * interval


def _made(
    array: NDArray[Any],
    affine: NDArray[np.float64],
    times: NDArray[np.float64],
    meta: dict[str, Any],
    labels: bool,
) -> Cine | Segmentation:
    kind = Segmentation if labels else Cine
    return kind(np.ascontiguousarray(array), affine, times, meta)
