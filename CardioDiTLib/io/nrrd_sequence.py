"""Slicer's volume sequence files (.seq.nrrd), and other NRRD files with a time axis.

A sequence file is a 4D NRRD file whose time axis has the kind ``list``. Label, unit and index values of that axis
stand in ``labels``, ``units`` and the key-value pairs ``axis N index type`` and ``axis N index values``, N being the
number of the axis. Slicer reads it first (N = 0), as written here, and last (N = 3), as newer versions write it.
Format: Slicer developer guide, "Sequences", and the NRRD definition, http://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.io.frame_times import (
    LPS_TO_RAS,
    RawFrames,
    add_note,
    assumed_times,
    decode_meta,
    encode_meta,
    given_times,
    squared_axes,
    times_in_seconds,
)
from CardioDiTLib.io.nrrd_file import NrrdHeader, read_nrrd_file
from CardioDiTLib.io.synthetic_mark import MARK, description_of, is_synthetic, read_mark

META_KEY = "CardioDiT.meta"
"""Key of the provenance; in Slicer it is an attribute of the sequence node."""

_MERGED_BY_SLICER_S = 1e-3  # items whose index values are closer than this become one item in Slicer
_TYPES = {"int16": "short", "float32": "float", "uint8": "uchar"}
_SPATIAL_KINDS = {"domain", "space"}
_COLOUR_KINDS = {"rgb-color", "rgba-color", "xyz-color", "hsv-color", "2-vector", "3-vector", "3-color", "4-color"}
_MM_PER_UNIT = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3}
# how each space counts along x, y, z, seen from RAS; each has a sister with time as fourth axis (LPST)
_LETTERS = {
    **dict.fromkeys(("left-posterior-superior", "lps"), LPS_TO_RAS),
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(4)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0, 1.0])),
}
_TO_RAS = {
    **_LETTERS,
    **{f"{name}-time" if "-" in name else f"{name}t": turn for name, turn in _LETTERS.items()},
}
_FRAME_WORDS = ("frame", "frames", "index", "phase", "phases", "item", "%")
_TIME_TAGS = ("TriggerTime", "NominalCardiacTriggerDelayTime", "AcquisitionTime", "ContentTime", "SeriesTime")
"""DICOM attributes by which a multi-volume's frames may be told apart and that are times."""


def index_strings(frame_times: ArrayLike) -> list[str]:
    """Frame times as the index values of a Slicer sequence: seconds, to the microsecond, no trailing zeros.

    Every sequence of one cine must carry exactly the same strings, or Slicer takes them for different moments.

    Examples:
        >>> index_strings([0.0, 0.05, 0.102178])
        ['0', '0.05', '0.102178']
    """
    return [f"{time:.6f}".rstrip("0").rstrip(".") for time in np.asarray(frame_times, dtype=np.float64)]


def read_nrrd(
    path: Path, *, frame_interval_s: float | None = None, square_axes: bool = False, allow_volume: bool = False
) -> RawFrames:
    """Read a Slicer sequence file or another 4D NRRD file.

    The time axis is the one of kind ``list`` or ``time``, else the one without a direction in space, else the last.

    Args:
        path: The file, ``.nrrd``, or ``.nhdr`` with its data beside it.
        frame_interval_s: Seconds between frames, whatever the header says.
        square_axes: Take the nearest right-angled axes where they are slightly crooked.
        allow_volume: Accept a 3D file as one frame.

    Raises:
        CardioDiTError: Not a NRRD file, truncated or damaged, not four-dimensional, or without usable geometry.
    """
    data, header = read_nrrd_file(path)
    if data.ndim != 4 and not (allow_volume and data.ndim == 3):
        size = "x".join(str(length) for length in data.shape[::-1])
        what = "a 3D volume" if data.ndim == 3 else f"an image with {data.ndim} dimensions"
        raise CardioDiTError(
            f"'{path.name}' is {what} ({size}); a cine needs four dimensions.",
            "Give the file that holds all frames of the cycle.",
        )
    time_axis = _time_axis(path, header) if data.ndim == 4 else None
    spatial_axes = [axis for axis in range(data.ndim) if axis != time_axis]
    if time_axis is None:
        data = data[np.newaxis]
    else:
        data = np.moveaxis(data, data.ndim - 1 - time_axis, 0)  # the header counts axes from the fastest one

    meta = decode_meta(str(header.pairs.get(META_KEY, "")))
    meta.setdefault("source_format", "nrrd")
    read_mark(meta, [header.fields.get("content", ""), header.pairs.get("synthetic", "")])
    affine = _affine(path, header, spatial_axes, meta)
    if square_axes:
        affine = squared_axes(affine, data.shape[:0:-1])
    if frame_interval_s is not None:
        times = given_times(frame_interval_s, data.shape[0], meta)
    elif time_axis is None or data.shape[0] == 1:
        times = np.zeros(data.shape[0])
    else:
        times = _times(header, time_axis, data.shape[0], meta)
    return RawFrames(np.ascontiguousarray(data), affine, times, meta)


def write_nrrd(image: Cine | Segmentation, path: Path) -> None:
    """Write a cine or a segmentation as a file that Slicer opens as a sequence.

    The header holds no date: the same content gives the same bytes.

    Raises:
        CardioDiTError: Frames lie less than 1 ms apart, or the file cannot be written.
    """
    if image.n_frames > 1 and float(np.diff(image.frame_times).min()) < _MERGED_BY_SLICER_S:
        raise CardioDiTError(
            "Two frames lie less than 1 ms apart, Slicer would take them for one.",
            "Check the frame times, or save the cine as .nii.gz.",
        )
    affine = LPS_TO_RAS @ image.affine  # its own inverse
    frames, slices, rows, columns = image.shape
    node = "vtkMRMLLabelMapVolumeNode" if isinstance(image, Segmentation) else "vtkMRMLScalarVolumeNode"
    header = [
        "NRRD0005",
        f"type: {_TYPES[image.array.dtype.name]}",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {frames} {columns} {rows} {slices}",
        "space directions: none " + " ".join(_vector(affine[:3, axis]) for axis in range(3)),
        "kinds: list domain domain domain",
        'labels: "time" "" "" ""',
        'units: "s" "" "" ""',
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine[:3, 3])}",
        f"DataNodeClassName:={node}",
        "axis 0 index type:=numeric",
        "axis 0 index values:=" + " ".join(index_strings(image.frame_times)),
        f"{META_KEY}:={encode_meta(image.meta)}",
    ]
    if is_synthetic(image.meta):
        header.insert(1, f"content: {description_of(image.meta)}")
        header.append(f"synthetic:={MARK}")
    voxels = np.moveaxis(image.array, 0, -1).astype(image.array.dtype.newbyteorder("<"), order="C", copy=False)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(("\n".join(header) + "\n\n").encode("ascii"))
        stream.write(gzip.compress(voxels.tobytes(), compresslevel=4, mtime=0))


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _time_axis(path: Path, header: NrrdHeader) -> int:
    kinds = [kind.lower() for kind in header.words("kinds")]
    if any(kind in _COLOUR_KINDS for kind in kinds):
        raise CardioDiTError(
            f"'{path.name}' is a colour or vector image.", "Convert it to one grey value a voxel and frame."
        )
    vectors = header.vectors("space directions") or []
    marked = [axis for axis, kind in enumerate(kinds) if kind in ("list", "time")]
    if not marked:
        marked = [axis for axis, vector in enumerate(vectors) if vector is None]
    if not marked:  # a direction along the fourth axis of space, which is time
        marked = [axis for axis, vector in enumerate(vectors) if vector is not None and not vector[:3].any()]
    if not marked:
        marked = [axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL_KINDS]
    return marked[0] if len(marked) == 1 and marked[0] < 4 else 3


def _affine(path: Path, header: NrrdHeader, spatial_axes: list[int], meta: dict[str, Any]) -> NDArray[np.float64]:
    """Voxel (x, y, z) to mm in RAS."""
    directions = header.vectors("space directions")
    affine = np.eye(4)
    if directions is not None:
        to_ras = LPS_TO_RAS
        if "space" in header.fields:
            space = header.fields["space"].lower().replace("_", "-")
            if space not in _TO_RAS:
                raise CardioDiTError(
                    f"'{path.name}' is in the space '{header.fields['space'][:40]}', which is not an anatomical one.",
                    "Save it again in left-posterior-superior or right-anterior-superior.",
                )
            to_ras = _TO_RAS[space]
        else:
            # ITK cannot name a space of four dimensions, and means the one that it always means
            add_note(meta, "The header names no anatomical space; left-posterior-superior was taken, as ITK does.")
        for column, axis in enumerate(spatial_axes):
            vector = directions[axis] if axis < len(directions) else None
            if vector is None or len(vector) not in (3, 4) or (len(vector) == 4 and vector[3] != 0):
                raise CardioDiTError(
                    f"'{path.name}' gives no direction for its axis {axis}.", "Save it again from Slicer."
                )
            affine[:3, column] = vector[:3]
        origins = header.vectors("space origin")
        if origins is not None:
            origin = origins[0] if len(origins) == 1 else None
            affine[:3, 3] = np.nan if origin is None or len(origin) not in (3, 4) else origin[:3]
        units = [unit.strip().lower() for unit in header.quoted("space units")]
        unit = units[0] if units else ""
        if unit not in _MM_PER_UNIT:
            add_note(meta, f"The header's unit of length '{unit[:20]}' is not known; millimetres were taken.")
        affine[:3] *= _MM_PER_UNIT.get(unit, 1.0)
        return to_ras @ affine
    spacings = header.numbers("spacings")
    if len(spacings) != len(header.sizes) or not np.isfinite(spacings[spatial_axes]).all():
        raise CardioDiTError(
            f"'{path.name}' gives neither directions nor spacings, so it has no millimetres.",
            "Save it again from a program that writes 'space directions'.",
        )
    add_note(meta, "The header gives no orientation; one was made from the spacing.")
    return np.diag([*spacings[spatial_axes], 1.0])


def _times(header: NrrdHeader, axis: int, n_frames: int, meta: dict[str, Any]) -> NDArray[np.float64]:
    units = header.quoted("units")
    unit = units[axis] if axis < len(units) else ""
    labels = header.quoted("labels")
    label = labels[axis].strip().lower() if axis < len(labels) else ""
    if not unit and label in _FRAME_WORDS:
        unit = label  # numbers of frames, no times
    pairs = header.pairs
    text = next((pairs[key] for key in (f"axis {n} index values" for n in (axis, 0, 3)) if key in pairs), None)
    if text is not None:
        return times_in_seconds(_numbers(text.split()), unit, n_frames, meta)
    if "MultiVolume.FrameLabels" in pairs:
        return _multivolume_times(pairs, n_frames, meta)
    spacings = header.numbers("spacings")
    if axis < len(spacings) and np.isfinite(spacings[axis]) and spacings[axis] > 0:
        return times_in_seconds(np.arange(n_frames) * spacings[axis], unit, n_frames, meta)
    vectors = header.vectors("space directions") or []
    vector = vectors[axis] if axis < len(vectors) else None
    if vector is not None and len(vector) == 4 and vector[3] > 0 and not vector[:3].any():
        space_units = header.quoted("space units")
        unit = unit or (space_units[3] if len(space_units) == 4 else "")
        return times_in_seconds(np.arange(n_frames) * vector[3], unit, n_frames, meta)
    return assumed_times(n_frames, meta)


def _multivolume_times(pairs: dict[str, str], n_frames: int, meta: dict[str, Any]) -> NDArray[np.float64]:
    """Times of Slicer's multi-volumes, whose frames may be told apart by anything, an echo time for instance."""
    tag = pairs.get("MultiVolume.FrameIdentifyingDICOMTagName", "").strip()
    unit = pairs.get("MultiVolume.FrameIdentifyingDICOMTagUnits", "").strip()
    if tag and tag.replace(" ", "") not in _TIME_TAGS:
        add_note(meta, f"The frames are told apart by '{tag[:40]}', which is no time.")
        return assumed_times(n_frames, meta)
    if not unit and tag == "TriggerTime":
        unit = "ms"  # as DICOM has it
    return times_in_seconds(_numbers(pairs["MultiVolume.FrameLabels"].split(",")), unit, n_frames, meta)


def _numbers(words: list[str]) -> NDArray[np.float64] | None:
    """None where a word is no number: index values may be any text."""
    try:
        return np.array([float(unquote(word)) for word in words])
    except ValueError:
        return None
