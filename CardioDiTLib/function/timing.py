"""How long the cardiac cycle of a segmentation lasts, where that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.time import cycle_seconds
from CardioDiTLib.errors import CardioDiTError

MIN_CYCLE_FRAMES = 8
"""Fewer frames are single phases (such as end-diastole and end-systole), not a sampled cycle."""

HEART_RATES_BPM = (20.0, 300.0)
"""What counts as a heart rate."""

HARMONICS = 4
"""Terms of the Fourier series, as for time-activity curves of the ventricles (Bacharach et al., J Nucl Med 1983)."""

_DENSE = 1440  # points at which the derivative is looked at: a quarter of a degree of the cycle


@dataclass(frozen=True)
class CycleTime:
    """Time of a cycle.

    Attributes:
        phases: (T,) fraction of the cycle of each frame, from 0.
        cycle_s: Seconds that the frames span; NaN where not known.
        heart_rate_bpm: Beats a minute; NaN where not known.
        cycle_reason: Why `cycle_s` is not known; empty where it is.
        rate_reason: Why `heart_rate_bpm` is not known; empty where it is.
        notes: What the reader should know, one sentence each.
    """

    phases: NDArray[np.float64]
    cycle_s: float
    heart_rate_bpm: float
    cycle_reason: str
    rate_reason: str
    notes: tuple[str, ...]


def nominal_times(meta: Mapping[str, Any]) -> str:
    """Why frame times with this provenance are no measured ones; empty where they are."""
    if meta.get("frame_times_assumed"):
        return "the frame times of the file were assumed, not recorded"
    if meta.get("synthetic") and meta.get("model"):
        return "the frame times of a generated cine are nominal"
    return ""


def cycle_time(segmentation: Segmentation, heart_rate_bpm: float | None = None) -> CycleTime:
    """Find the cycle length and the heart rate, or say why they are not known.

    Frame times that a reader had to assume (``meta["frame_times_assumed"]``), the nominal ones of a cine that a model
    made (``meta["model"]``), and fewer than :data:`MIN_CYCLE_FRAMES` frames give no cycle length; a heart rate then
    gives it. The heart rate is the one given, else the one in the image headers (``meta["heart_rate_bpm"]``), else 60 s
    over the cycle that the frames span.

    Args:
        segmentation: Frame times and provenance.
        heart_rate_bpm: Heart rate where the caller knows it.

    Returns:
        The times.

    Raises:
        CardioDiTError: The heart rate given is not between 20 and 300 beats a minute.
    """
    low, high = HEART_RATES_BPM
    if heart_rate_bpm is not None and not low <= heart_rate_bpm <= high:
        raise CardioDiTError(
            f"A heart rate of {heart_rate_bpm:g} beats a minute is not possible.", f"Give {low:g} to {high:g}."
        )
    count, meta, notes = segmentation.n_frames, segmentation.meta, []
    if count == 1:
        phases, spanned = np.zeros(1), float("nan")
    else:
        spanned = cycle_seconds(segmentation.frame_times)
        phases = segmentation.frame_times / spanned
    reason = ""
    if count < MIN_CYCLE_FRAMES:
        reason = f"{count} frame{'s' * (count > 1)} do not sample a cardiac cycle (at least {MIN_CYCLE_FRAMES} do)"
        reason = reason.replace("1 frame do not", "1 frame does not")
    else:
        reason = nominal_times(meta)
    in_header = meta.get("heart_rate_bpm")
    known = isinstance(in_header, int | float) and low <= in_header <= high
    rate, rate_reason = float("nan"), ""
    if heart_rate_bpm is not None:
        rate = float(heart_rate_bpm)
    elif known:
        rate = float(in_header)  # type: ignore[arg-type]
    elif not reason and low <= 60.0 / spanned <= high:
        rate = 60.0 / spanned
    else:
        rate_reason = f"no heart rate was given and {reason or f'a cycle of {spanned:g} s is no heartbeat'}"
    cycle_s = spanned
    if reason:
        # A rate tells how long the frames last only where they sample the whole beat.
        cycle_s = 60.0 / rate if count >= MIN_CYCLE_FRAMES and np.isfinite(rate) else float("nan")
        if np.isfinite(cycle_s):
            notes.append(f"The cycle length of {cycle_s:.3g} s is that of the heart rate; {reason}.")
            reason = ""
    elif np.isfinite(rate) and abs(60.0 / rate / spanned - 1.0) > 0.1:
        notes.append(
            f"At {rate:.3g} beats a minute a beat lasts {60.0 / rate:.3g} s, but the frames span {spanned:.3g} s; "
            "output uses the former, rates of volume change the latter."
        )
    return CycleTime(phases, cycle_s, rate, reason, rate_reason, tuple(notes))


class PeakRates(NamedTuple):
    """Largest rates over the cycle.

    Attributes:
        ejection_ml_s: Fastest fall of the volume, as a positive number.
        filling_ml_s: Fastest rise, early or atrial, whichever is faster.
    """

    ejection_ml_s: float
    filling_ml_s: float


class PeriodicCurve:
    """A volume curve as a short Fourier series, fitted by least squares at the frames' own phases.

    v(p) = c0 + sum over k of a_k cos(2 pi k p) + b_k sin(2 pi k p), k up to :data:`HARMONICS` or (T - 2) // 2,
    whichever is less, so that there are always more frames than coefficients and label noise is smoothed. It is
    periodic with all derivatives; unequal frame intervals need no resampling.

    Args:
        values: (T,) finite.
        phases: (T,) fraction of the cycle, 0 to 1, rising.

    Raises:
        CardioDiTError: Fewer than four frames, or lengths that differ.
    """

    def __init__(self, values: ArrayLike, phases: ArrayLike) -> None:
        v, p = np.asarray(values, dtype=np.float64), np.asarray(phases, dtype=np.float64)
        if v.shape != p.shape or v.ndim != 1 or len(v) < 4:
            raise CardioDiTError(
                f"A periodic curve cannot be made of {v.size} values.", "Give one a frame, four or more."
            )
        self.harmonics = min(HARMONICS, (len(v) - 2) // 2)
        self._coefficients = np.linalg.lstsq(self._basis(p), v, rcond=None)[0]

    def _basis(self, phases: NDArray[np.float64]) -> NDArray[np.float64]:
        angles = 2.0 * np.pi * phases[:, None] * np.arange(1, self.harmonics + 1)
        return np.hstack([np.ones((len(phases), 1)), np.cos(angles), np.sin(angles)])

    def __call__(self, phases: ArrayLike) -> NDArray[np.float64]:
        """Value at phases (N,), any numbers: (N,)."""
        return np.asarray(self._basis(np.asarray(phases, dtype=np.float64)) @ self._coefficients)

    def slope(self, phases: ArrayLike) -> NDArray[np.float64]:
        """Derivative by phase at phases (N,): (N,), per cycle."""
        k = 2.0 * np.pi * np.arange(1, self.harmonics + 1)
        angles = np.asarray(phases, dtype=np.float64)[:, None] * k
        a, b = np.split(self._coefficients[1:], 2)
        return np.asarray((-np.sin(angles) * k) @ a + (np.cos(angles) * k) @ b)


def peak_rates(volume_ml: ArrayLike, phases: ArrayLike, cycle_s: float) -> PeakRates:
    """Peak ejection and filling rate: the extremes of the derivative of :class:`PeriodicCurve`.

    Args:
        volume_ml: (T,) mL, finite.
        phases: (T,) fraction of the cycle.
        cycle_s: Seconds of the cycle.

    Returns:
        Both rates, mL/s.
    """
    slope = PeriodicCurve(volume_ml, phases).slope(np.arange(_DENSE) / _DENSE) / cycle_s
    return PeakRates(float(-slope.min()), float(slope.max()))
