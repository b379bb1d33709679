"""Frame times out of what files say about them, which is often little."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError

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
    if meta.pop("frame_times_assumed", False):
        meta["notes"] = [note for note in meta.get("notes", []) if note != _ASSUMED_NOTE]
    meta["frame_times_from"] = "given"
    return np.arange(n_frames, dtype=np.float64) * float(frame_interval_s)


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
