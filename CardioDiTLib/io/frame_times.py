"""Frame times out of what files say about them, which is often little."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import MAX_REPAIRED_SKEW, MAX_SKEW, axis_skew
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import parse_json

ASSUMED_CYCLE_S = 1.0
"""Length of the cycle where a file has no time at all: a heart rate of 60 a minute."""

_ASSUMED_NOTE = (
    f"The source has no frame times, a cycle of {ASSUMED_CYCLE_S:g} s was assumed; "
    "load it with frame_interval_s to set the real one."
)

_LONGEST_INTERVAL_S = 5.0  # no cine has frames further apart, so a larger number without a unit is in milliseconds

_SECONDS_PER_UNIT = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
}

_NO_UNIT = ("", "unknown", "none", "?")

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and NRRD files count towards left and posterior, the library towards right and anterior."""

# Headers of NRRD files are ASCII and give the backslash a meaning, so all but plain characters is percent-encoded.
_PLAIN = "".join(chr(code) for code in range(32, 127) if chr(code) not in "%\\")


def add_note(meta: dict[str, Any], note: str) -> None:
    """Append a sentence to ``meta["notes"]``, once."""
    notes = meta.setdefault("notes", [])
    if note not in notes:
        notes.append(note)


def given_times(frame_interval_s: float, n_frames: int, meta: dict[str, Any]) -> NDArray[np.float64]:
    """Equally spaced times from an interval that the caller gave; takes back what ``meta`` says of assumed times.

    Raises:
        CardioDiTError: The interval is not a positive number.
    """
    if not (np.isfinite(frame_interval_s) and frame_interval_s > 0):
        raise CardioDiTError(
            f"The frame interval {frame_interval_s!r} is not a positive number of seconds.",
            "Give the time between two frames in seconds, for instance 0.035.",
        )
    take_back_assumed(meta)
    meta["frame_times_from"] = "given"
    return np.arange(n_frames, dtype=np.float64) * float(frame_interval_s)


def take_back_assumed(meta: dict[str, Any]) -> None:
    """Forget that times were assumed, where better ones are at hand: ``frame_times_assumed`` and its note."""
    if not meta.pop("frame_times_assumed", False):
        return
    meta["notes"] = [note for note in meta.get("notes", []) if note != _ASSUMED_NOTE]
    if meta.get("frame_times_from") == "assumed":
        del meta["frame_times_from"]


def assumed_times(n_frames: int, meta: dict[str, Any]) -> NDArray[np.float64]:
    """Times of a cycle of :data:`ASSUMED_CYCLE_S`; says so in ``meta``."""
    meta["frame_times_assumed"] = True
    add_note(meta, _ASSUMED_NOTE)
    return np.arange(n_frames, dtype=np.float64) * (ASSUMED_CYCLE_S / n_frames)


def times_in_seconds(
    values: NDArray[np.float64] | None, unit: str, n_frames: int, meta: dict[str, Any]
) -> NDArray[np.float64]:
    """Turn a file's time axis into seconds that start at 0.

    =====================  ===========================================================
    unit                   reading
    =====================  ===========================================================
    s, ms, us, ns, min     as stated
    another one            time is unknown, with a note: 10 % of a cycle are not 10 ms
    none, steps above 5    milliseconds, with a note
    none, steps exactly 1  frame numbers or a writer's default: time is unknown
    none, other steps      seconds
    =====================  ===========================================================

    Args:
        values: (T,) times as the file has them; None where there are none.
        unit: The file's word for the unit, "" where unknown.
        n_frames: T.
        meta: Gets ``frame_times_assumed`` and ``notes`` where something had to be assumed.

    Returns:
        (T,) seconds, starting at 0; not checked for rising.
    """
    if values is None or len(values) != n_frames or n_frames < 1 or not np.isfinite(values).all():
        return assumed_times(n_frames, meta)
    values = np.asarray(values, dtype=np.float64) - values[0]
    if n_frames == 1:
        return values
    step = float(np.median(np.diff(values)))
    word = unit.strip().lower().strip("[]()")
    scale = _SECONDS_PER_UNIT.get(word)
    if scale is None and word not in _NO_UNIT:
        add_note(meta, f"The frames are counted in '{unit.strip()[:30]}', which is no unit of time.")
        return assumed_times(n_frames, meta)
    if scale is None and np.allclose(np.diff(values), 1.0, atol=1e-9):
        return assumed_times(n_frames, meta)
    if scale is None and step > _LONGEST_INTERVAL_S:
        add_note(meta, f"The unit of time is unknown; frame steps of {step:g} were read as milliseconds.")
        scale = 1e-3
    return values * (1.0 if scale is None else scale)


@dataclass(frozen=True, eq=False)
class RawFrames:
    """Values as the file has them, with geometry and time in the library's conventions.

    Args:
        array: (T, Z, Y, X), any type.
        affine: 4x4, voxel index (x, y, z) to mm in RAS, not checked yet.
        frame_times: (T,) seconds, starting at 0.
        meta: Provenance found in the file.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    meta: dict[str, Any] = field(default_factory=dict)


def squared_axes(affine: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[np.float64]:
    """The nearest affine with right angles, the centre of the image staying where it is.

    The direction matrix is replaced by the orthogonal factor of its polar decomposition, the nearest one in the
    least-squares sense; spacings stay. Axes that are right already, or crooked by more than 3 degrees (a true shear,
    which must be resampled), are returned unchanged.

    Args:
        affine: 4x4, voxel index (x, y, z) to mm.
        size: (X, Y, Z), number of voxels.

    Returns:
        4x4.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (spacing < 1e-6).any():
        return affine
    if not MAX_SKEW < axis_skew(affine) <= MAX_REPAIRED_SKEW:
        return affine
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    squared = affine.copy()
    squared[:3, :3] = (left @ right) * spacing
    centre = (np.asarray(size) - 1) / 2.0
    squared[:3, 3] += affine[:3, :3] @ centre - squared[:3, :3] @ centre
    return squared


def _plain_value(value: Any) -> Any:
    """What JSON holds in place of a numpy value; a path and everything else becomes its text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def encode_meta(meta: dict[str, Any]) -> str:
    """A dictionary as one line of printable ASCII (JSON, then percent-encoding of ``%``, backslash and non-ASCII)."""
    return quote(json.dumps(meta, default=_plain_value, ensure_ascii=False), safe=_PLAIN)


def decode_meta(text: str) -> dict[str, Any]:
    """The inverse of :func:`encode_meta`; an empty dictionary where the text is something else."""
    try:
        meta = parse_json(unquote(text))
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}
