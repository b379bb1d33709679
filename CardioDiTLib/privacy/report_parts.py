"""Parts of the report of an audit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Share:
    """A count and what it is a share of.

    Attributes:
        count: How many.
        of: Of how many.
        low: Lower end of the 95 % interval of the share.
        high: Upper end.
        expected: The share that chance alone would make; for memorized patients the most it would.
    """

    count: int
    of: int
    low: float
    high: float
    expected: float

    @property
    def fraction(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.of

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**{entry.name: getattr(self, entry.name) for entry in fields(self)}, "fraction": self.fraction}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Share:
        """The inverse of :meth:`to_dict`."""
        return cls(**{entry.name: values[entry.name] for entry in fields(cls)})


@dataclass(frozen=True)
class SampleVerdict:
    """What was found about one synthetic cine.

    Attributes:
        index: Its number.
        hash: Short name of its embedding.
        score: Similarity with the nearest training embedding.
        p_value: Probability that a novel patient comes as near.
        copy: Whether that is at most the false-alarm rate.
        nearest_index: Number of the nearest training embedding.
        nearest_hash: Its short name.
        name: Name of the synthetic cine; empty unless names were asked for.
        nearest_name: Name of the nearest training cine; empty unless names were asked for.
    """

    index: int
    hash: str
    score: float
    p_value: float
    copy: bool
    nearest_index: int
    nearest_hash: str
    name: str = ""
    nearest_name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; names only where there are any."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {key: value for key, value in values.items() if value != "" or key == "hash"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SampleVerdict:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


@dataclass(frozen=True)
class CountTest:
    """Are there more copies than chance makes?

    Attributes:
        p_value: Probability of as many samples above the threshold where nothing is a copy, chance in the threshold
            included.
        p_value_fixed_threshold: The same with a threshold that is exact (plain binomial); smaller than is right.
        copies_upper_bound: 95 % upper bound of the share of cines, of all that this generator could make, that lie
            above the threshold.
        excess: Share of copies beyond those that chance makes, at least 0.
        n_sure: Samples that are copies but for a probability of 5 % that any of them is none (Holm).
        n_discoveries: Samples to call copies with 5 % of them wrong on average (Benjamini and Hochberg).
        detectable_share: Smallest share of copies that the test finds with a probability of 80 %, were each of them
            above the threshold.
    """

    p_value: float
    p_value_fixed_threshold: float
    copies_upper_bound: float
    excess: float
    n_sure: int
    n_discoveries: int
    detectable_share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CountTest:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def number_or_none(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else None
