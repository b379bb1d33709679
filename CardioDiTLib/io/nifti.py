"""NIfTI files (.nii, .nii.gz) with geometry, frame times and provenance."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Extension, Nifti1Image
from nibabel.nifti2 import Nifti2Image
from numpy.typing import NDArray

from CardioDiTLib.cine import MAX_SKEW, Cine, Segmentation, axis_skew
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.atomic import atomic_path
from CardioDiTLib.io.frame_times import add_note, assumed_times, given_times, times_in_seconds
from CardioDiTLib.io.geometry import squared_axes
from CardioDiTLib.io.provenance import decode_meta, encode_meta
from CardioDiTLib.io.raw_frames import RawFrames

_COMMENT = 6  # NIfTI extension code of free text
_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI2_HEADER_SIZE = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")
_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 1e-3}


def read_nifti(
    path: Path, *, frame_interval_s: float | None = None, square_axes: bool = False, allow_volume: bool = False
) -> RawFrames:
    """Read a 4D NIfTI file.

    Axes (X, Y, Z, T) become (T, Z, Y, X). Integers stay integers unless the header scales them. The frame interval is
    pixdim[4] in the header's unit of time; a step of exactly 1 is what writers put there that know nothing of time, so
    it counts as missing. A file of :func:`write_nifti` also gives its unequal frame times and its provenance back.

    Args:
        path: The file; whether it is compressed is told from its content.
        frame_interval_s: Seconds between frames, whatever the header says.
        square_axes: Take the nearest right-angled axes where they are slightly crooked.
        allow_volume: Accept a 3D file as one frame.

    Raises:
        CardioDiTError: Not a NIfTI file, truncated or damaged, or not four-dimensional.
    """
    image = _parsed(path)
    try:
        data = np.asanyarray(image.dataobj)
        affine = np.array(image.affine, dtype=np.float64)
        space_unit, time_unit = image.header.get_xyzt_units()
        zooms = [float(zoom) for zoom in image.header.get_zooms()]
    except Exception as error:  # nibabel raises whatever the damage leads to
        raise _damaged(path) from error
    while data.ndim > 4 and data.shape[-1] == 1:
        data = data[..., 0]
    if allow_volume and data.ndim == 3:
        data, zooms = data[..., np.newaxis], [*zooms[:3], 0.0]
    if data.ndim != 4:
        raise CardioDiTError(*_wrong_dimension(path, data.shape, affine))

    meta, stored_times = _own_extension(image)
    meta.setdefault("source_format", "nifti")
    if not image.header["sform_code"] and not image.header["qform_code"]:
        add_note(meta, "The header gives no orientation; one was made from the spacing.")
    affine[:3] *= _MM_PER_UNIT.get(space_unit, 1.0)
    if square_axes:
        affine = squared_axes(affine, data.shape[:3])
    n_frames = data.shape[3]
    if frame_interval_s is not None:
        times = given_times(frame_interval_s, n_frames, meta)
    else:
        times = _times(zooms[3], time_unit, n_frames, stored_times, meta)
    return RawFrames(data.transpose(3, 2, 1, 0), affine, times, meta)


def write_nifti(image: Cine | Segmentation, path: Path) -> None:
    """Write a cine or a segmentation as 4D NIfTI-1, compressed where the name ends in .gz.

    Both sform and qform hold the affine (code 1, scanner), pixdim[4] the frame interval in seconds. Exact frame times
    and provenance go into a comment extension that other programs skip. The same content gives the same bytes.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    nifti = Nifti1Image(image.array.transpose(3, 2, 1, 0), np.array(image.affine))
    nifti.header.set_data_dtype(image.array.dtype)
    nifti.set_sform(np.array(image.affine), code=1)
    nifti.set_qform(np.array(image.affine), code=1)
    nifti.header.set_xyzt_units("mm", "sec")
    interval = image.frame_interval_s if image.n_frames > 1 else 0.0
    nifti.header.set_zooms((*image.spacing, interval))
    record = {"CardioDiT": 1, "frame_times_s": image.frame_times.tolist(), "meta": encode_meta(image.meta)}
    nifti.header.extensions.append(Nifti1Extension(_COMMENT, json.dumps(record).encode("ascii")))
    with atomic_path(path) as temporary:
        nibabel.save(nifti, temporary)


def _parsed(path: Path) -> Nifti1Image:
    """The whole file, read and unpacked at once, so that a checksum that does not fit is noticed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CardioDiTError(f"'{path}' could not be read: {error.strerror}.", "Check its permissions.") from error
    if content[:2] == _GZIP_MAGIC:
        try:
            content = gzip.decompress(content)
        except Exception as error:  # EOFError, zlib.error, BadGzipFile: all say the same
            raise _damaged(path) from error
    kind = Nifti2Image if content[:4] in _NIFTI2_HEADER_SIZE else Nifti1Image
    try:
        return kind.from_bytes(content)
    except Exception as error:
        raise CardioDiTError(
            f"'{path.name}' is not a NIfTI image, or its header is damaged.", "Copy or export the file again."
        ) from error


def _damaged(path: Path) -> CardioDiTError:
    return CardioDiTError(f"'{path.name}' is truncated or damaged.", "Copy or download the file again.")


def _wrong_dimension(path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[str, str]:
    size = "x".join(str(length) for length in shape)
    crooked = ""
    if np.linalg.norm(affine[:3, :3], axis=0).all() and axis_skew(affine) > MAX_SKEW:
        crooked = ", and its axes are not at right angles"
    if len(shape) == 3:
        return (
            f"'{path.name}' is a 3D volume ({size}){crooked}; a cine needs four dimensions.",
            "Give the file that holds all frames of the cycle.",
        )
    return (
        f"'{path.name}' has {len(shape)} dimensions ({size}){crooked}; a cine has four.",
        "Give a file with one grey value a voxel and frame.",
    )


def _own_extension(image: Nifti1Image) -> tuple[dict[str, Any], list[float]]:
    """Provenance and frame times that :func:`write_nifti` left in the header; both empty for other files."""
    for extension in image.header.extensions:
        if extension.get_code() != _COMMENT:
            continue
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        try:
            record = json.loads(text.rstrip("\x00"))
        except ValueError:
            continue
        if isinstance(record, dict) and "CardioDiT" in record:
            stored = record.get("frame_times_s")
            times = stored if isinstance(stored, list) else []
            if not all(isinstance(time, int | float) for time in times):
                times = []
            return decode_meta(str(record.get("meta", ""))), [float(time) for time in times]
    return {}, []


def _times(interval: float, unit: str, n_frames: int, stored: list[float], meta: dict[str, Any]) -> NDArray[np.float64]:
    """Frame times from pixdim[4], or the exact ones beside it while they still agree with it."""
    if len(stored) == n_frames and unit == "sec":
        median = float(np.median(np.diff(stored))) if n_frames > 1 else 0.0
        # another program may have changed the header and kept the extension: then the header is right
        if np.isclose(median, interval, rtol=1e-5, atol=1e-9):
            return np.asarray(stored, dtype=np.float64)
    if n_frames == 1:
        return np.zeros(1)
    if not (np.isfinite(interval) and interval > 0) or (interval == 1.0 and unit in ("unknown", "sec")):
        return assumed_times(n_frames, meta)
    if unit not in ("unknown", "sec", "msec", "usec"):
        raise CardioDiTError(
            f"The fourth axis is measured in {unit}, not in time.", "Give frame_interval_s if it is the cardiac cycle."
        )
    # pixdim is float32: 0.035 comes back as 0.03500000014901161, so take the shortest decimal that is the same number
    exact = float(str(np.float32(interval)))
    return times_in_seconds(
        np.arange(n_frames, dtype=np.float64) * exact, "" if unit == "unknown" else unit, n_frames, meta
    )
