"""A number about two cohorts, with what chance alone would make of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

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
