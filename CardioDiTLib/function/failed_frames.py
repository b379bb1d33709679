"""Frames in which labels failed, and ventricles of which the labels are unsure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.orientation import End

UNSURE_DICE = {"RV": 0.90, "myocardium": 0.85, "LV": 0.92}
"""Expected Dice below which a label is called unsure. Probabilities are too sure of themselves: what it means in true
Dice is told in docs/benchmarks.md."""

_PHASES = ("end-diastole", "end-systole")

FEWEST_FRAMES = 10
"""With fewer frames end-systole itself stands alone between its neighbours; the curves told of below had as many."""

_FEWEST_SOUND = 5

DROP, RISE = 0.35, 0.7
"""A volume below (above) both its neighbours by more than this share of the stroke volume of the other frames does not
belong to the beat. Of 23 recorded curves, sampled with 10 to 40 frames, none is judged so; the peak before ejection is
the sharpest there is, so more is allowed upwards."""

LEAST_STROKE = 0.10
"""Where the ventricle hardly beats, a jump has to be at least this share of its volume."""

EMPTY = 0.08
"""No ventricle empties to less than this share of its largest volume (an ejection fraction of 92 %)."""

HIGHEST_RV_EF = 75.0
"""Percent; experts' labels of 70 ACDC patients give 2 to 73."""

BASE_MOVES_MM = 25.0
"""The right ventricle's basal end comes nearer to the apex by 0 to 20 mm from end-diastole to end-systole there."""

LOST_SHARE = 0.15
"""A frame without end slices that both neighbouring frames have is told of where its volume lies below both by more
than this share of the stroke volume; from `DROP` on it is left out."""

LEAST_MUSCLE, MOST_MUSCLE = 0.6, 1.6
"""Muscle keeps its volume: that of end-diastole is 0.66 to 1.07 of end-systole's in 80 ACDC patients (an expert's
labels), and 0.87 to 1.03 of the median of a cycle made of both."""


def failed_muscle(volume: NDArray[np.float64], frame: int) -> str:
    """Why the myocardium of a frame is not to be believed, beside that of the others; empty where it fits.

    Args:
        volume: (T,) mass of the myocardium, g, NaN where it is not labelled.
        frame: A frame in which it is.
    """
    others = np.delete(volume, frame)
    others = others[np.isfinite(others)]
    if not len(others):
        return ""
    typical = float(np.median(others))
    if LEAST_MUSCLE * typical <= volume[frame] <= MOST_MUSCLE * typical:
        return ""
    return f"the myocardium of frame {frame} ({volume[frame]:.0f} g) does not fit the other frames ({typical:.0f} g)"


def sureness_note(meta: Mapping[str, Any], frames: Mapping[str, tuple[int | None, int | None]]) -> str:
    """One sentence on which slices to check, from what a segmentation says of itself.

    Args:
        meta: Provenance of the segmentation.
        frames: Frame of end-diastole and end-systole by the name of a label; None where there is none.

    Returns:
        The sentence; empty where the labels are sure, or say nothing of it.
    """
    about = meta.get("segmentation")
    sure = about.get("sureness") if isinstance(about, Mapping) else None
    if not isinstance(sure, Mapping):
        return ""
    unsure, looks = [], []
    for label, pair in frames.items():
        dice, slices = sure.get("expected_dice", {}).get(label, []), sure.get("doubtful_slices", {}).get(label, [])
        for frame, phase in zip(pair, _PHASES):
            if frame is None or frame >= min(len(dice), len(slices)):
                continue
            if dice[frame] is not None and dice[frame] < UNSURE_DICE[label]:
                unsure.append(f"{label} at {phase} ({dice[frame]:.2f})")
            if slices[frame]:
                many = "s" * (len(slices[frame]) > 1)
                looks.append(f"{label} in slice{many} {', '.join(str(z + 1) for z in slices[frame])} at {phase}")
    if not unsure and not looks:
        return ""
    parts = []
    if unsure:
        parts.append(f"the labels are unsure of themselves, expected Dice {', '.join(unsure)}")
    if looks:
        parts.append(f"check by eye: {'; '.join(looks)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def failed_frames(volume: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames do not fit the others.

    A frame fails where the ventricle is all but gone in it, or where its volume leaves those of both neighbouring
    frames (the cycle is closed) far behind. Two failed frames side by side are found because a frame is compared with
    the nearest ones that have not failed. More than a quarter of the frames is never given up: then the curve itself
    is in doubt, and nothing is.

    Args:
        volume: (T,) mL, NaN where the ventricle is not labelled.

    Returns:
        (T,) bool.
    """
    failed = np.zeros(len(volume), bool)
    known = np.isfinite(volume)
    if known.sum() < 2:
        return failed
    if known.sum() < FEWEST_FRAMES:
        return np.asarray(known & (np.nan_to_num(volume) < EMPTY * np.nanmax(volume)))
    median = float(np.nanmedian(volume))
    failed |= known & (np.nan_to_num(volume) < EMPTY * median)
    most = max(1, len(volume) // 4)
    while failed.sum() <= most:
        worst = _worst(volume, np.flatnonzero(known & ~failed))
        if worst is None:
            return failed
        failed[worst] = True
    return np.zeros(len(volume), bool)


def frames_without_ends(areas: NDArray[np.float64], volume: NDArray[np.float64]) -> list[tuple[int, list[int]]]:
    """Frames in which end slices of a ventricle are missing that the frames before and after both have.

    Args:
        areas: (T, Z) pixels of the ventricle.
        volume: (T,) mL, NaN where it is not labelled or left out.

    Returns:
        Frame and slices, counted from 0, where the volume falls short too (`LOST_SHARE`); nothing where the cycle has
        fewer than `FEWEST_FRAMES` frames.
    """
    sound = np.flatnonzero(np.isfinite(volume))
    if len(sound) < FEWEST_FRAMES:
        return []
    lost = []
    for place, frame in enumerate(sound):
        before, after = int(sound[place - 1]), int(sound[(place + 1) % len(sound)])
        rest = np.delete(volume[sound], place)
        short = min(volume[before], volume[after]) - volume[frame]
        slices = np.flatnonzero((areas[before] > 0) & (areas[after] > 0) & (areas[frame] == 0))
        if len(slices) and short > LOST_SHARE * float(rest.max() - rest.min()):
            lost.append((int(frame), slices.tolist()))
    return lost


def missing_ends_note(what: str, lost: list[tuple[int, list[int]]]) -> str:
    """A sentence on `frames_without_ends`; empty where there are none. Slices are counted from 1, frames from 0."""
    if not lost:
        return ""
    parts = "; ".join(
        f"frame {frame} without slice{'s' * (len(slices) > 1)} {', '.join(str(z + 1) for z in slices)}"
        for frame, slices in lost
    )
    return (
        f"The {what} lacks slices that the frames before and after have ({parts}), and its volume falls there: look at "
        "the labels; a volume of such a frame is too small."
    )


def right_ventricle_note(
    areas: NDArray[np.float64], frames: tuple[int, int], ef_percent: float, slice_mm: float, base: End | None
) -> str:
    """A sentence where the right ventricle at end-systole is smaller than one can be; empty where it may be so.

    Args:
        areas: (T, Z) pixels of the right ventricle.
        frames: Its end-diastole and end-systole.
        ef_percent: Its ejection fraction, NaN where there is none.
        slice_mm: Distance of slices.
        base: Which end of the stack is the base.
    """
    diastole, systole = (np.flatnonzero(areas[frame]) for frame in frames)
    moved = 0.0
    if base is not None and len(diastole) and len(systole):
        end = 0 if base == "first" else -1
        moved = slice_mm * abs(int(systole[end]) - int(diastole[end]))
    if not ef_percent > HIGHEST_RV_EF and moved <= BASE_MOVES_MM:  # NaN is not too high
        return ""
    why = []
    if ef_percent > HIGHEST_RV_EF:
        why.append(f"its ejection fraction of {ef_percent:.0f} % is higher than any that experts' labels gave")
    if moved > BASE_MOVES_MM:
        why.append(f"its base moves by {moved:.0f} mm")
    return (
        f"The right ventricle is labelled in {len(systole)} slice{'s' * (len(systole) != 1)} at its end-systole (frame "
        f"{frames[1]}) and in {len(diastole)} at its end-diastole (frame {frames[0]}), and {' and '.join(why)}: its "
        "labels probably lack basal slices at end-systole; look at that frame."
    )


def failed_sentence(what: str, volume: NDArray[np.float64], failed: NDArray[np.bool_]) -> str:
    """Which frames, counted from 0, do not fit: the beginning of a sentence that says what follows from it.

    Args:
        what: Name of the ventricle.
        volume: (T,) mL.
        failed: (T,), of `failed_frames`.
    """
    numbers = ", ".join(f"{frame} ({volume[frame]:.1f} mL)" for frame in np.flatnonzero(failed))
    many = bool(failed.sum() > 1)
    return f"frame{'s' * many} {numbers} of the {what} {'do' if many else 'does'} not fit the others"


def _worst(volume: NDArray[np.float64], sound: NDArray[np.intp]) -> int | None:
    """The frame of these that lies farthest beyond its neighbours; None where all fit."""
    if len(sound) < _FEWEST_SOUND:
        return None
    worst, excess = None, 1.0
    for place, frame in enumerate(sound):
        before, after = volume[sound[place - 1]], volume[sound[(place + 1) % len(sound)]]
        rest = np.delete(volume[sound], place)
        stroke = max(float(rest.max() - rest.min()), LEAST_STROKE / DROP * float(rest.max()))
        above, below = volume[frame] - max(before, after), min(before, after) - volume[frame]
        beyond = max(above / RISE, below / DROP) / stroke
        if beyond > excess:
            worst, excess = int(frame), beyond
    return worst
