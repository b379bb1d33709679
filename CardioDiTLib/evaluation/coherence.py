"""How a cine hangs together through slices and time, without labels.

All numbers are taken in the heart box of :mod:`CardioDiTLib.evaluation.evaluation_grid`. None has a right value by
itself: real cines differ through slices, flicker and close imperfectly too, so each is read beside the real cohort's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.evaluation.evaluation_grid import SPACING_MM, JudgedCine


class Coherence(NamedTuple):
    """Numbers of one cine; NaN where one is not defined.

    Attributes:
        through_plane_correlation: Mean Pearson correlation of neighbouring slices at the same frame; NaN below two
            slices.
        through_plane_step: Mean |difference| of neighbouring slices over that of all pairs of slices: near 1 where the
            order of the slices means nothing; NaN below three slices.
        temporal_roughness: Mean |second difference| over time over mean |first difference|, the cycle closed. About
            1.7 for white noise, 2 for a picture that flips, small for slow motion; NaN where nothing moves.
        temporal_slow_share: Share of the energy over time (its mean left out) in the first two harmonics of the cycle.
        temporal_fast_share: The same in the fifth harmonic and above.
        cycle_closure: Step from the last frame to the first over the mean of the other steps; NaN where nothing moves.
        motion_amount: Largest mean |frame - frame 0| over the standard deviation of frame 0.
        sharpness_per_mm2: Gradient energy in plane over the variance of the grey values, 1/mm^2.
    """

    through_plane_correlation: float
    through_plane_step: float
    temporal_roughness: float
    temporal_slow_share: float
    temporal_fast_share: float
    cycle_closure: float
    motion_amount: float
    sharpness_per_mm2: float


REASONS: dict[str, str] = {
    "through_plane_correlation": "fewer than two slices with any contrast",
    "through_plane_step": "fewer than three slices, or all are the same",
    "temporal_roughness": "nothing moves",
    "temporal_slow_share": "nothing moves",
    "temporal_fast_share": "nothing moves",
    "cycle_closure": "nothing moves between the first frame and the last",
    "motion_amount": "the first frame has no contrast",
    "sharpness_per_mm2": "no contrast",
}
"""Why each number is NaN, where it is."""

_STILL = 1e-6  # of the grey range: rounding, not motion


def coherence(cine: JudgedCine) -> Coherence:
    """Measure how a cine hangs together.

    Args:
        cine: On the judging grid.

    Returns:
        The numbers. Closure is taken from the cine's own frames, all else from the resampled cycle.
    """
    cycle = cine.cycle
    step = np.roll(cycle, -1, axis=0) - cycle
    first = float(np.abs(step).mean(dtype=np.float64))
    bend = float(np.abs(step - np.roll(step, 1, axis=0)).mean(dtype=np.float64))
    slow, fast = _spectrum_shares(cycle)
    contrast = float(cycle[0].std(dtype=np.float64))
    away = np.abs(cycle - cycle[0]).mean(axis=(1, 2, 3), dtype=np.float64)
    return Coherence(
        through_plane_correlation=_neighbour_correlation(cycle),
        through_plane_step=_neighbour_step(cycle),
        temporal_roughness=bend / first if first > _STILL else np.nan,
        temporal_slow_share=slow,
        temporal_fast_share=fast,
        cycle_closure=_closure(cine.frames),
        motion_amount=float(away.max()) / contrast if contrast > _STILL else np.nan,
        sharpness_per_mm2=_sharpness(cycle),
    )


def _neighbour_correlation(cycle: NDArray[np.float32]) -> float:
    planes = cycle.reshape(*cycle.shape[:2], -1)
    centred = planes - planes.mean(axis=2, keepdims=True)
    norms = np.sqrt((centred.astype(np.float64) ** 2).sum(axis=2))
    products = (centred[:, 1:] * centred[:, :-1]).sum(axis=2, dtype=np.float64)
    scale = norms[:, 1:] * norms[:, :-1]
    usable = scale > _STILL
    return float((products[usable] / scale[usable]).mean()) if usable.any() else np.nan


def _neighbour_step(cycle: NDArray[np.float32]) -> float:
    slices = cycle.shape[1]
    if slices < 3:
        return np.nan
    steps = [
        [np.abs(cycle[:, i] - cycle[:, j]).mean(dtype=np.float64) for j in range(i + 1, slices)] for i in range(slices)
    ]
    everything = float(np.mean([step for row in steps for step in row]))
    return float(np.mean([row[0] for row in steps if row])) / everything if everything > _STILL else np.nan


def _spectrum_shares(cycle: NDArray[np.float32]) -> tuple[float, float]:
    """Energy over time in harmonics 1 and 2, and from 5 on, as shares of all but the mean."""
    spectrum = np.fft.rfft(cycle.astype(np.float32), axis=0)
    energy = (np.abs(spectrum) ** 2).mean(axis=(1, 2, 3), dtype=np.float64)
    # The inner harmonics stand for two terms each, that at the Nyquist limit (an even number of frames) for one.
    energy[1 : (len(cycle) + 1) // 2] *= 2.0
    total = float(energy[1:].sum())
    if total <= _STILL**2 * len(cycle) ** 2:
        return np.nan, np.nan
    return float(energy[1:3].sum()) / total, float(energy[5:].sum()) / total


def _closure(frames: NDArray[np.float32]) -> float:
    steps = np.abs(np.roll(frames, -1, axis=0) - frames).mean(axis=(1, 2, 3), dtype=np.float64)
    others = float(steps[:-1].mean())
    return float(steps[-1]) / others if others > _STILL else np.nan


def _sharpness(cycle: NDArray[np.float32]) -> float:
    variance = float(cycle.var(axis=(2, 3), dtype=np.float64).mean())
    if variance <= _STILL**2:
        return np.nan
    # Differences of neighbours rather than central ones, which do not see the finest detail.
    down, across = np.diff(cycle, axis=2), np.diff(cycle, axis=3)
    energy = float((down**2).mean(dtype=np.float64) + (across**2).mean(dtype=np.float64)) / SPACING_MM**2
    return energy / variance
