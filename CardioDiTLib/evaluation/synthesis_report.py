"""What a comparison of a synthetic cohort with a real one gives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Record, Unknowable
from CardioDiTLib.version import __version__

_HINT = "Give the JSON that 'cardiodit evaluate synthesis' wrote."
Better = Literal["lower", "higher", "real"]


@dataclass(frozen=True)
class Spread(Record):
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

    record_name: ClassVar[str] = "spread of a quantity"
    record_hint: ClassVar[str] = _HINT

    n: int
    missing: int
    p05: Unknowable
    median: Unknowable
    p95: Unknowable
    reasons: dict[str, int]
    p25: Unknowable = math.nan
    p75: Unknowable = math.nan

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
        """Plain values for JSON, quantiles in rising order."""
        values = super().to_dict()
        return {name: values[name] for name in ("n", "missing", "p05", "p25", "median", "p75", "p95", "reasons")}


@dataclass(frozen=True)
class QuantityComparison(Record):
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

    record_name: ClassVar[str] = "comparison of a quantity"
    record_hint: ClassVar[str] = _HINT

    field: str
    title: str
    unit: str
    digits: int
    kind: str
    group: str
    real: Spread
    synthetic: Spread
    distance: SetNumber


@dataclass(frozen=True)
class SetNumber(Record):
    """A distance or a share of a synthetic cohort, beside the same between random halves of the real cohort.

    Attributes:
        value: Of all cines; NaN where it could not be had.
        low: Lower end of the 95 % bootstrap interval of the value; NaN where none is made.
        high: Upper end.
        matched: Median over resamples of the number between s synthetic cines and s real ones: what the floor is to be
            compared with.
        floor_low: 5 % quantile of the number between s real cines and the same s real ones as above, none in both.
        floor_median: Median of it.
        floor_high: 95 % quantile of it.
        n_real: Real cines that the value rests on.
        n_synthetic: Synthetic cines that the value rests on.
        n_matched: s, cines in each half; 0 where there are no halves.
        better: Which way is better: "lower", "higher", or "real", which means as in the real halves.
        reason: Why something is NaN; empty where nothing is.
    """

    record_name: ClassVar[str] = "number of a set"
    record_hint: ClassVar[str] = _HINT

    value: Unknowable
    matched: Unknowable
    floor_low: Unknowable
    floor_median: Unknowable
    floor_high: Unknowable
    n_real: int
    n_synthetic: int
    n_matched: int
    better: Better
    low: Unknowable = math.nan
    high: Unknowable = math.nan
    reason: str = ""

    @property
    def within_floor(self) -> bool | None:
        """Whether the number at matched size is one that real halves have among themselves; None if not known."""
        if not all(map(math.isfinite, (self.matched, self.floor_low, self.floor_high))):
            return None
        return (self.better == "higher" or self.matched <= self.floor_high) and (
            self.better == "lower" or self.matched >= self.floor_low
        )


@dataclass(frozen=True, repr=False)
class SynthesisReport(Record):
    """A synthetic cohort beside a real one.

    Attributes:
        real_name: Of the real cohort.
        synthetic_name: Of the synthetic cohort.
        n_real: Real cines.
        n_synthetic: Synthetic cines.
        n_real_labelled: Real cines with labels.
        n_synthetic_labelled: Synthetic cines with labels.
        neighbours: k of precision, recall, density and coverage.
        resamples: Random halves of each floor.
        seed: Of the resampling.
        centre: Where the heart box lay: on the middle of the "picture" or on the "heart".
        quantities: Physiology and coherence, over all cines and then by group.
        sets: "physiology" or the name of a feature, to the name of a number, to the number.
        duplicates: Names of synthetic cines that are copies of each other, or nearly.
        duplicate_limit: Distance below which two are; NaN where the real cohort is too small to tell.
        notes: What the reader should know, one sentence each.
        version: Version of this software.
    """

    record_name: ClassVar[str] = "synthesis report"
    record_hint: ClassVar[str] = _HINT
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit-synthesis-report-1")
    all_needed: ClassVar[bool] = True

    real_name: str
    synthetic_name: str
    n_real: int
    n_synthetic: int
    n_real_labelled: int
    n_synthetic_labelled: int
    neighbours: int
    resamples: int
    seed: int
    centre: str
    quantities: tuple[QuantityComparison, ...]
    sets: dict[str, dict[str, SetNumber]]
    duplicates: tuple[tuple[str, str], ...]
    duplicate_limit: Unknowable
    notes: tuple[str, ...] = ()
    version: str = __version__

    def __repr__(self) -> str:
        """One line; `evaluation.to_text` gives all."""
        outside = sum(one.distance.within_floor is False for one in self.quantities if not one.group)
        return (
            f"SynthesisReport({self.n_synthetic} synthetic cines beside {self.n_real} real ones, "
            f"{outside} quantities outside of their floor)"
        )

    def numbers(self, kind: str = "") -> list[tuple[str, str, SetNumber]]:
        """Numbers over all cines: (kind or set, name, number).

        Args:
            kind: "physiology" or "coherence" for quantities of this kind, "sets" for sets as a whole, empty for all.
        """
        found = [(one.kind, one.field, one.distance) for one in self.quantities if not one.group]
        sets = [(where, name, number) for where, part in self.sets.items() for name, number in part.items()]
        return sets if kind == "sets" else [one for one in found if one[0] == kind] if kind else found + sets

    def quantity(self, field: str, group: str = "") -> QuantityComparison:
        """One quantity, over all cines or in one group.

        Raises:
            CardioDiTError: It was not compared.
        """
        for one in self.quantities:
            if (one.field, one.group) == (field, group):
                return one
        where = f" in group '{group}'" if group else ""
        raise CardioDiTError(f"The report has no quantity '{field}'{where}.", "Look at 'quantities' for what it has.")
