"""Ejection and filling rates from a smooth periodic curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError

HARMONICS = 4
"""Terms of the Fourier series, as for time-activity curves of the ventricles (Bacharach et al., J Nucl Med 1983)."""

_DENSE = 1440  # points at which the derivative is looked at: a quarter of a degree of the cycle


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
