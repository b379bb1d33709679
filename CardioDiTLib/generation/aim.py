"""Correction of steered quantities: a drawn heart is measured by its own labels, and the conditions of the next draw
are changed by a share of the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles.manifest_parts import SteeredQuantity
from CardioDiTLib.generation.heart_quantities import QUANTITIES, heart_quantities

_STEP = 0.8  # of the error: a measured value changes by a little less than its condition does
_AHEAD = 0.5  # of the error, added to the target: a reshaped heart changes by about 2/3 of what is asked, 2/3 * 1.5 = 1
_NEAR_ENOUGH = 0.02  # of the usual range
_BEYOND = 0.3  # of the usual range: conditions may lie outside of the training range, to reach values at its edge


@dataclass(frozen=True, eq=False)
class Aim:
    """What one sample is asked to measure.

    Attributes:
        names: Of the K quantities by which the bundle can be steered, out of `QUANTITIES`.
        asked: (K,) in the transformer's order, NaN where any will do.
        low, high: (K,) range of the training cines.
        scale: (K,) width of the usual range, in which errors of several quantities are compared.
    """

    names: tuple[str, ...]
    asked: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, asked: Sequence[float], quantities: Sequence[SteeredQuantity]) -> Aim:
        """The aim of one row of conditions."""
        return cls(
            tuple(one.name for one in quantities),
            np.array(asked, np.float64),
            np.array([one.low for one in quantities], np.float64),
            np.array([one.high for one in quantities], np.float64),
            np.array([max(one.usual_high - one.usual_low, 1e-6) for one in quantities], np.float64),
        )

    @property
    def is_open(self) -> bool:
        """Whether nothing is asked."""
        return bool(np.isnan(self.asked).all())

    def measured(self, labels: NDArray[np.uint8] | None, spacing_mm: Sequence[float]) -> tuple[float, ...]:
        """The K quantities of a heart by its labels (T, Z, Y, X); NaN for what they do not tell."""
        values = dict(zip(QUANTITIES, heart_quantities(labels, spacing_mm)))
        return tuple(values.get(name, math.nan) for name in self.names)

    def error(self, measured: Sequence[float]) -> float:
        """Root mean square over what was asked, in shares of the usual range; infinite where nothing was measured."""
        known = ~np.isnan(self.asked)
        away = (np.array(measured, np.float64) - self.asked)[known] / self.scale[known]
        return float(np.sqrt(np.mean(away**2))) if np.isfinite(away).all() else float("inf")

    def is_met(self, measured: Sequence[float]) -> bool:
        """Whether the error is at most `_NEAR_ENOUGH`, so that nothing is drawn again."""
        return self.error(measured) <= _NEAR_ENOUGH

    def next(self, condition: NDArray[np.float64], measured: Sequence[float]) -> NDArray[np.float64]:
        """Conditions (K,) of the next draw, where `condition` gave `measured`; unchanged where nothing was measured."""
        away = self.asked - np.array(measured, np.float64)
        if not np.isfinite(away[~np.isnan(self.asked)]).all():
            return condition
        return self._within(condition + _STEP * away)

    def ahead(self, measured: Sequence[float]) -> NDArray[np.float64]:
        """Targets (K,) for reshaping a heart that measures so: beyond the aim, since it changes by less than asked."""
        return self._within(self.asked + _AHEAD * (self.asked - np.array(measured, np.float64)))

    def _within(self, question: NDArray[np.float64]) -> NDArray[np.float64]:
        beyond = _BEYOND * self.scale
        return np.clip(question, np.maximum(self.low - beyond, 0.0), self.high + beyond)
