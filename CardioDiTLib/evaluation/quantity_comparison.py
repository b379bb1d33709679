"""One quantity in two cohorts, side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from CardioDiTLib.evaluation.set_number import SetNumber


@dataclass(frozen=True)
class Spread:
    """How a quantity is spread in a cohort.

    Attributes:
        n: Cines it was measured on.
        missing: Cines it could not be measured on.
        p05: 5 % quantile; NaN where n is 0.
        median: Median.
        p95: 95 % quantile.
        reasons: Why it could not be measured, to the number of cines.
        p25: 25 % quantile; NaN where n is 0, and in reports of before it was kept.
        p75: 75 % quantile.
    """

    n: int
    missing: int
    p05: float
    median: float
    p95: float
    reasons: dict[str, int]
    p25: float = math.nan
    p75: float = math.nan

    @classmethod
    def of(cls, values: Iterable[float], reasons: Iterable[str] = ()) -> Spread:
        """Spread of values, NaN counted as missing."""
        array = np.array(list(values), np.float64)
        finite = array[np.isfinite(array)]
        quantiles = np.quantile(finite, (0.05, 0.5, 0.95, 0.25, 0.75)) if len(finite) else np.full(5, np.nan)
        low, middle, high, lower, upper = (float(v) for v in quantiles)
        why = dict(sorted(Counter(reasons).items()))
        return cls(len(finite), len(array) - len(finite), low, middle, high, why, lower, upper)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        numbers = {key: getattr(self, key) for key in ("p05", "p25", "median", "p75", "p95")}
        plain = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
        return {"n": self.n, "missing": self.missing, **plain, "reasons": dict(self.reasons)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spread:
        """The inverse of :meth:`to_dict`."""
        numbers = {k: math.nan if values[k] is None else float(values[k]) for k in ("p05", "median", "p95")}
        for name in ("p25", "p75"):  # reports of before do not have them
            found = values.get(name)
            numbers[name] = math.nan if found is None else float(found)
        return cls(n=int(values["n"]), missing=int(values["missing"]), reasons=dict(values["reasons"]), **numbers)


@dataclass(frozen=True)
class QuantityComparison:
    """One quantity in two cohorts.

    Attributes:
        field: Short name, with the unit.
        title: What it is, in words.
        unit: As it is printed; empty where there is none.
        digits: Digits after the point.
        kind: "physiology" or "coherence".
        group: Pathology group; empty for all cines.
        real: Spread in the real cohort.
        synthetic: Spread in the synthetic cohort.
        distance: 1-Wasserstein distance, in the unit of the quantity.
    """

    field: str
    title: str
    unit: str
    digits: int
    kind: str
    group: str
    real: Spread
    synthetic: Spread
    distance: SetNumber

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        words = {key: getattr(self, key) for key in ("field", "title", "unit", "digits", "kind", "group")}
        parts = {key: getattr(self, key).to_dict() for key in ("real", "synthetic", "distance")}
        return {**words, **parts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantityComparison:
        """The inverse of :meth:`to_dict`."""
        readers: dict[str, Any] = {
            "real": Spread.from_dict,
            "synthetic": Spread.from_dict,
            "distance": SetNumber.from_dict,
        }
        read: dict[str, Any] = {key: readers[key](value) if key in readers else value for key, value in values.items()}
        return cls(**read)
