"""What a choice of metric does to a comparison of methods."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Finding:
    """Something in the data that makes a metric say what it should not.

    Attributes:
        name: Short name of the effect.
        methods: Which methods it concerns.
        metrics: Which metrics it bends.
        sentence: What was found, in numbers.
    """

    name: str
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Disagreement:
    """Two metrics with different winners.

    Attributes:
        metrics: The two metrics.
        winners: Their winners; several where they tie.
        reasons: Sentences of the findings that concern these metrics and methods; empty where the difference is one of
            what the metrics ask, not of a fault.
    """

    metrics: tuple[str, str]
    winners: tuple[tuple[str, ...], tuple[str, ...]]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PitfallReport:
    """Result of :func:`~CardioDiTLib.landmarks.pitfalls.compare_metrics`.

    Attributes:
        methods: Names of what was compared.
        n_volumes: Volumes.
        values: Metric -> method -> value, NaN where undefined. Names that begin with "published " are the published
            definitions.
        ranks: Metric -> method -> rank, 1 is best, equal values share the better rank; undefined values come last.
        disagreements: Pairs of metrics whose winners differ.
        findings: Effects that were found in this data.
        assumed_grid: Whether the published upper bound rests on a made-up pixel grid.
    """

    methods: tuple[str, ...]
    n_volumes: int
    values: dict[str, dict[str, float]]
    ranks: dict[str, dict[str, int]]
    disagreements: tuple[Disagreement, ...]
    findings: tuple[Finding, ...]
    assumed_grid: bool

    def winners(self, metric: str) -> tuple[str, ...]:
        """The methods of rank 1; none where the metric is undefined for all."""
        return tuple(m for m in self.methods if self.ranks[metric][m] == 1 and np.isfinite(self.values[metric][m]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; None for NaN."""
        values = {
            metric: {method: float(v) if np.isfinite(v) else None for method, v in row.items()}
            for metric, row in self.values.items()
        }
        return {**asdict(self), "values": values}
