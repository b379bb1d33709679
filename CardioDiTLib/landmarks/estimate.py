"""A number with its uncertainty and with how much it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean or a rate.

    Attributes:
        value: The number; NaN where there was nothing to average.
        low: Lower end of the confidence interval; NaN where there is none.
        high: Upper end.
        n: How many things were averaged: points, lines or volumes.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; None for NaN, which JSON does not have."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {**{name: float(v) if np.isfinite(v) else None for name, v in numbers.items()}, "n": self.n}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Estimate:
        """The inverse of :meth:`to_dict`."""
        numbers = {k: float("nan") if values[k] is None else float(values[k]) for k in ("value", "low", "high")}
        return cls(**numbers, n=int(values["n"]))
