"""NIfTI files (.nii, .nii.gz) with geometry, frame times and provenance."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Extension, Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from CardioDiTLib.cine import MAX_SKEW, Cine, Segmentation, axis_skew
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.io.frame_times import (
    RawFrames,
    add_note,
    assumed_times,
    decode_meta,
    encode_meta,
    given_times,
    squared_axes,
    take_back_assumed,
    times_in_seconds,
)
from CardioDiTLib.io.memory import Gunzip, check_size
from CardioDiTLib.io.nifti_header import header_affine
from CardioDiTLib.io.synthetic_mark import MARK, description_of, is_synthetic, read_mark
from CardioDiTLib.schema import parse_json

_COMMENT = 6  # NIfTI extension code of free text
_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI2_HEADER_SIZE = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}
_TIME_UNITS = {0: "unknown", 8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}
_SECONDS = {"msec": 1e-3, "usec": 1e-6}
_NOT_TIME = ("hz", "ppm", "rads")
_MOST_BETWEEN = 256 * 1024**2
"""Bytes that header extensions may take."""
_MOST_TRAILING = 256 * 1024**2
"""Bytes after the voxels that are unpacked to have the checksum checked."""


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
    header, extensions, data = _parsed(path)
    while data.ndim > 4 and data.shape[-1] == 1:
        data = data[..., 0]
    if allow_volume and data.ndim == 3:
        data = data[..., np.newaxis]
    if data.ndim != 4:
        raise CardioDiTError(*_wrong_dimension(path, data.shape, header))

    meta, stored_times = _own_extension(extensions)
    meta.setdefault("source_format", "nifti")
    read_mark(meta, [header[name] for name in ("descrip", "intent_name", "aux_file")])
    affine = header_affine(header, path.name, meta)
    space_code, time_code = int(header["xyzt_units"]) & 7, int(header["xyzt_units"]) & 56
    if space_code not in _MM_PER_UNIT:
        add_note(meta, f"The header's unit of length ({space_code}) is none that NIfTI knows; millimetres were taken.")
    affine[:3] *= _MM_PER_UNIT.get(space_code, 1.0)
    if square_axes:
        affine = squared_axes(affine, data.shape[:3])
    n_frames = data.shape[3]
    if frame_interval_s is not None:
        times = given_times(frame_interval_s, n_frames, meta)
    else:
        interval = float(header["pixdim"][4]) if int(header["dim"][0]) > 3 else 0.0
        times = _times(interval, _TIME_UNITS.get(time_code, f"unit {time_code}"), n_frames, stored_times, meta)
    return RawFrames(data.transpose(3, 2, 1, 0), affine, times, meta)


def write_nifti(image: Cine | Segmentation, path: Path) -> None:
    """Write a cine or a segmentation as 4D NIfTI-1, compressed where the name ends in .gz.

    Both sform and qform hold the affine (code 1, scanner), pixdim[4] the frame interval in seconds. Exact frame times
    and provenance go into a comment extension that other programs skip; that a heart is synthetic also stands in
    descrip, intent_name and aux_file, which they keep. The same content gives the same bytes.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    nifti = nifti_image(image)
    with atomic_path(path) as temporary:
        nibabel.save(nifti, temporary)


def nifti_image(image: Cine | Segmentation) -> Nifti1Image:
    """What :func:`write_nifti` writes, as an image of nibabel."""
    nifti = Nifti1Image(image.array.transpose(3, 2, 1, 0), np.array(image.affine))
    nifti.header.set_data_dtype(image.array.dtype)
    nifti.set_sform(np.array(image.affine), code=1)
    nifti.set_qform(np.array(image.affine), code=1)
    nifti.header.set_xyzt_units("mm", "sec")
    interval = image.frame_interval_s if image.n_frames > 1 else 0.0
    nifti.header.set_zooms((*image.spacing, interval))
    record = {"CardioDiT": 1, "frame_times_s": image.frame_times.tolist(), "meta": encode_meta(image.meta)}
    nifti.header.extensions.append(Nifti1Extension(_COMMENT, json.dumps(record).encode("ascii")))
    if is_synthetic(image.meta):
        nifti.header["descrip"] = description_of(image.meta)
        nifti.header["intent_name"] = nifti.header["aux_file"] = MARK
    return nifti


def from_nifti_image(nifti: Any) -> RawFrames:
    """Frames, geometry, times and provenance of an image of nibabel with four dimensions.

    Raises:
        CardioDiTError: It has another number of dimensions, or no geometry or times that can be used.
    """
    data, header = np.asanyarray(nifti.dataobj), nifti.header
    if data.ndim != 4:
        size = "x".join(str(length) for length in data.shape)
        raise CardioDiTError(f"The image has {data.ndim} dimensions ({size}); a cine has four.", "Give all frames.")
    meta, stored = _own_extension([(one.get_code(), bytes(one.content)) for one in header.extensions])
    meta.setdefault("source_format", "nibabel")
    read_mark(meta, [header[name] for name in ("descrip", "intent_name", "aux_file")])
    space_code, time_code = int(header["xyzt_units"]) & 7, int(header["xyzt_units"]) & 56
    affine = np.array(nifti.affine, dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(space_code, 1.0)
    unit = _TIME_UNITS.get(time_code, f"unit {time_code}")
    times = _times(float(header["pixdim"][4]), unit, data.shape[3], stored, meta)
    return RawFrames(data.transpose(3, 2, 1, 0), affine, times, meta)


class _Plain:
    """A file that is not compressed, read like :class:`Gunzip` reads one that is."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read = stream.read

    def finish(self, most: int) -> bool:
        """Nothing is to be checked at the end."""
        return True


def _parsed(path: Path) -> tuple[Any, list[tuple[int, bytes]], NDArray[Any]]:
    """Header (as it is, nothing corrected), extensions (code, content) and voxels (X, Y, Z, ...), scaled.

    The header is read first and what it promises is weighed; then as much is unpacked and no more.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
            stream.seek(0)
            return _read(path, Gunzip(stream) if compressed else _Plain(stream))
    except OSError as error:
        raise CardioDiTError(
            f"'{path}' could not be read: {error.strerror or error}.", "Check its permissions and the disk."
        ) from error
    except (EOFError, zlib.error) as error:
        raise _damaged(path) from error


def _read(path: Path, source: Gunzip | _Plain) -> tuple[Any, list[tuple[int, bytes]], NDArray[Any]]:
    start = source.read(4)
    second = start in _NIFTI2_HEADER_SIZE
    block = start + source.read((540 if second else 348) - 4)
    kind = Nifti2Header if second else Nifti1Header
    if len(block) < kind.template_dtype.itemsize:
        raise _not_nifti(path)
    header = kind(block, check=False)
    _check_header(path, header, second)
    shape = tuple(int(length) for length in header["dim"][1 : int(header["dim"][0]) + 1])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError):
        dtype = np.dtype("V0")
    if not dtype.itemsize:
        raise CardioDiTError(
            f"'{path.name}' holds voxels of type {int(header['datatype'])}, which NIfTI does not have.",
            "Copy or export the file again.",
        )
    size = check_size(path.name, shape, dtype.itemsize)
    offset = float(header["vox_offset"])
    gap = int(offset) - len(block) if np.isfinite(offset) and 0 < offset < 2**31 else 4
    if gap > _MOST_BETWEEN:
        raise _damaged(path)
    between = source.read(max(gap, 4))
    content = source.read(size)
    if len(content) < size:
        raise _damaged(path)
    if not source.finish(_MOST_TRAILING):
        raise CardioDiTError(
            f"'{path.name}' holds far more data than its header says.", "Check the file, or export it again."
        )
    data = np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape, order="F")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope != 0.0 and dtype.kind in "iuf":
        intercept = intercept if np.isfinite(intercept) else 0.0
        if (slope, intercept) != (1.0, 0.0):
            data = data * np.float32(slope) + np.float32(intercept) if dtype.itemsize < 4 else data * slope + intercept
    return header, list(_extensions(between, header.endianness)), data


def _check_header(path: Path, header: Any, second: bool) -> None:
    magic = bytes(header["magic"].item()).rstrip(b"\0")[:3]
    if magic[:2] == b"ni":
        raise CardioDiTError(
            f"'{path.name}' is the header of a pair of files (.hdr and .img), which is not read here.",
            "Save it as one .nii.gz file.",
        )
    if magic[:2] != b"n+" or int(header["sizeof_hdr"]) != (540 if second else 348):
        raise _not_nifti(path)
    if not 1 <= int(header["dim"][0]) <= 7:
        raise CardioDiTError(
            f"'{path.name}' is damaged: its header gives it {int(header['dim'][0])} dimensions.",
            "Copy or download the file again.",
        )


def _extensions(between: bytes, endianness: str) -> Iterator[tuple[int, bytes]]:
    """(code, content) of the header's extensions; what does not look like one ends them."""
    if not between[:1].strip(b"\0"):
        return
    at = 4
    while at + 8 <= len(between):
        size, code = struct.unpack_from(f"{endianness}2i", between, at)
        if size < 8 or at + size > len(between):
            return
        yield code, between[at + 8 : at + size]
        at += size


def _not_nifti(path: Path) -> CardioDiTError:
    return CardioDiTError(
        f"'{path.name}' is not a NIfTI image, or its header is damaged.", "Copy or export the file again."
    )


def _damaged(path: Path) -> CardioDiTError:
    return CardioDiTError(f"'{path.name}' is truncated or damaged.", "Copy or download the file again.")


def _wrong_dimension(path: Path, shape: tuple[int, ...], header: Any) -> tuple[str, str]:
    size = "x".join(str(length) for length in shape)
    crooked = ""
    rows = np.array([header[f"srow_{axis}"] for axis in "xyz"], dtype=np.float64)
    affine = np.vstack([rows, [0.0, 0.0, 0.0, 1.0]])
    sound = bool(np.isfinite(affine).all() and np.linalg.norm(affine[:3, :3], axis=0).all())
    if int(header["sform_code"]) > 0 and sound and axis_skew(affine) > MAX_SKEW:
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


def _own_extension(extensions: list[tuple[int, bytes]]) -> tuple[dict[str, Any], list[float]]:
    """Provenance and frame times that :func:`write_nifti` left in the header; both empty for other files."""
    for code, content in extensions:
        if code != _COMMENT:
            continue
        try:
            record = parse_json(content.decode("utf-8", "replace").rstrip("\x00"))
        except ValueError:  # somebody else's comment
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
    if unit in _NOT_TIME:
        raise CardioDiTError(
            f"The fourth axis is measured in {unit}, not in time.", "Give frame_interval_s if it is the cardiac cycle."
        )
    # pixdim is float32: 0.035 comes back as 0.03500000014901161, so take the shortest decimal that is the same number
    exact = float(str(np.float32(interval)))
    if len(stored) > 1 and not np.isclose(float(np.median(np.diff(stored))), exact * _SECONDS.get(unit, 1.0)):
        take_back_assumed(meta)  # what the extension says of its own times is not said of the header's
    return times_in_seconds(
        np.arange(n_frames, dtype=np.float64) * exact, "" if unit == "unknown" else unit, n_frames, meta
    )
