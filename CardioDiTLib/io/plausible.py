"""Is what was read a heart? Millimetres and seconds that cannot be are said, and such seconds are not used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.io.frame_times import add_note, assumed_times

CYCLE_S = (0.3, 2.5)
"""Shortest and longest duration of one cardiac cycle that is believed: 200 to 24 beats a minute."""

SAMPLED_FRAMES = 8
"""Fewer frames are single phases, which may lie close together."""

LONGEST_STACK_MM = 400.0

_IN_PLANE_MM = (0.3, 5.0)
_SLICE_MM = (0.5, 30.0)


def judged_times(times: NDArray[np.float64], meta: dict[str, Any]) -> NDArray[np.float64]:
    """Frame times as they are where they can be those of a heart beat, else those of an assumed cycle, with a note.

    Args:
        times: (T,) seconds, starting at 0; where they do not rise, they are left to whoever checks that.
        meta: Times that the user gave (``frame_times_from`` is "given") are kept, with a note.

    Returns:
        (T,) seconds.
    """
    if len(times) < 2 or meta.get("frame_times_assumed") or not (np.diff(times) > 0).all():
        return times
    cycle = cycle_of(times)
    problem = cycle_problem(times)
    if not problem:
        return times
    if meta.get("frame_times_from") == "given":
        add_note(meta, f"The frame times that were given make a cycle of {cycle:.3g} s, which is {problem}.")
        return times
    meta["frame_interval_in_file_s"] = float(np.median(np.diff(times)))
    add_note(
        meta,
        f"The {len(times)} frame times of the source span {cycle:.3g} s, which is {problem}; "
        "they were not used, and times count as unknown.",
    )
    meta["frame_times_from"] = "assumed"
    return assumed_times(len(times), meta)


def cycle_of(times: NDArray[np.float64]) -> float:
    """Seconds of the cycle that (T,) times span, the last frame's own duration included."""
    return float(times[-1] - times[0] + np.median(np.diff(times)))


def cycle_problem(times: NDArray[np.float64]) -> str:
    """Why (T,) times are not those of one heart beat; empty where they may be."""
    cycle = cycle_of(times)
    if cycle > CYCLE_S[1]:
        return f"longer than a heart beat (at most {CYCLE_S[1]:g} s)"
    if len(times) >= SAMPLED_FRAMES and cycle < CYCLE_S[0]:
        return f"shorter than a heart beat (at least {CYCLE_S[0]:g} s)"
    return ""


def judge_spacing(affine: NDArray[np.float64], meta: dict[str, Any], slices: int) -> None:
    """Add a note where voxels or the stack have a size that no cine of a heart has, or the one that writers put for
    none.

    Args:
        affine: 4x4, voxel (x, y, z) to mm.
        meta: Gets the note.
        slices: Z.
    """
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    size = f"{x:.4g} x {y:.4g} x {z:.4g} mm"
    if not all(np.isfinite((x, y, z))):
        return
    if all(abs(length - 1.0) < 1e-6 for length in (x, y, z)):
        add_note(
            meta, "The voxels are 1 x 1 x 1 mm, which programs write that know no size: check it before measuring."
        )
    elif (
        not all(_IN_PLANE_MM[0] <= side <= _IN_PLANE_MM[1] for side in (x, y)) or not _SLICE_MM[0] <= z <= _SLICE_MM[1]
    ):
        add_note(meta, f"The voxels are {size}, which is unusual for short-axis cine MRI: check it before measuring.")
    if slices * z > LONGEST_STACK_MM:
        add_note(
            meta,
            f"The {slices} slices, {z:.4g} mm apart, make a stack of {slices * z:.0f} mm, longer than a chest is deep: "
            "another axis than the third may hold the slices.",
        )
