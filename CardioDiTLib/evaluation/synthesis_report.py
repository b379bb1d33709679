"""What a comparison of a synthetic cohort with a real one gives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.version import __version__


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


Better = Literal["lower", "higher", "real"]


@dataclass(frozen=True)
class SetNumber:
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

    value: float
    matched: float
    floor_low: float
    floor_median: float
    floor_high: float
    n_real: int
    n_synthetic: int
    n_matched: int
    better: Better
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    @property
    def within_floor(self) -> bool | None:
        """Whether the number at matched size is one that real halves have among themselves; None if not known."""
        if not all(map(math.isfinite, (self.matched, self.floor_low, self.floor_high))):
            return None
        return (self.better == "higher" or self.matched <= self.floor_high) and (
            self.better == "lower" or self.matched >= self.floor_low
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SetNumber:
        """The inverse of :meth:`to_dict`."""
        other = ("n_real", "n_synthetic", "n_matched", "better", "reason")
        read: dict[str, Any] = {
            key: value if key in other else math.nan if value is None else float(value) for key, value in values.items()
        }
        return cls(**read)


SCHEMA = "cardiodit-synthesis-report-1"

_COUNTS = (
    *("n_real", "n_synthetic", "n_real_labelled", "n_synthetic_labelled"),
    *("neighbours", "resamples", "seed"),
)

_WORDS = ("real_name", "synthetic_name", "centre", "version")

_HINT = "Give the JSON that 'cardiodit evaluate synthesis' wrote."


@dataclass(frozen=True, repr=False)
class SynthesisReport:
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
    duplicate_limit: float
    notes: tuple[str, ...] = ()
    version: str = __version__

    def __repr__(self) -> str:
        """One line; `evaluation.to_text` gives all."""
        outside = sum(one.distance.within_floor is False for one in self.quantities if not one.group)
        return (
            f"SynthesisReport({self.n_synthetic} synthetic cines beside {self.n_real} real ones, "
            f"{outside} quantities outside of their floor)"
        )

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        result: dict[str, Any] = {"schema": SCHEMA}
        result |= {entry.name: getattr(self, entry.name) for entry in fields(self)}
        result["quantities"] = [one.to_dict() for one in self.quantities]
        result["sets"] = {key: {n: number.to_dict() for n, number in part.items()} for key, part in self.sets.items()}
        result["duplicates"] = [list(pair) for pair in self.duplicates]
        result["duplicate_limit"] = self.duplicate_limit if math.isfinite(self.duplicate_limit) else None
        result["notes"] = list(self.notes)
        return result

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SynthesisReport:
        """The inverse of :meth:`to_dict`.

        Raises:
            CardioDiTError: Another schema, a field that is missing or not known, or a value of the wrong kind.
        """
        if values.get("schema") != SCHEMA:
            raise CardioDiTError(f"The schema {values.get('schema')!r} is no synthesis report.", _HINT)
        wrong = sorted({entry.name for entry in fields(cls)} ^ (set(values) - {"schema"}))
        if wrong:
            raise CardioDiTError(f"The field '{wrong[0]}' of a synthesis report is missing or not known.", _HINT)
        try:
            plain: dict[str, Any] = {key: int(values[key]) for key in _COUNTS}
            words: dict[str, Any] = {
                key: str(values[key]) for key in ("real_name", "synthetic_name", "centre", "version")
            }
            limit = values["duplicate_limit"]
            return cls(
                **plain,
                **words,
                quantities=tuple(QuantityComparison.from_dict(one) for one in values["quantities"]),
                sets={
                    key: {name: SetNumber.from_dict(number) for name, number in part.items()}
                    for key, part in values["sets"].items()
                },
                duplicates=tuple((str(one), str(other)) for one, other in values["duplicates"]),
                duplicate_limit=math.nan if limit is None else float(limit),
                notes=tuple(str(note) for note in values["notes"]),
            )
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CardioDiTError(f"A synthesis report holds a value of the wrong kind: {error}.", _HINT) from error
