"""Scores of one kind of thing to find: anterior points, inferior points, all points, or lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from CardioDiTLib.landmarks.estimate import Estimate

METRICS = ("recall", "precision", "distance_mm", "hit_distance_mm", "capped_distance_mm", "angle_deg")
"""Names of the metrics, in the order of tables; ``angle_deg`` exists for lines only."""


@dataclass(frozen=True)
class LevelScores:
    """What was found of one kind, and how well.

    Attributes:
        n_labelled: Things in the truth.
        n_predicted: Things in the prediction.
        n_found: Labelled things for which there is a prediction, however far.
        n_hits: Those within the threshold.
        pooled: Metrics over all things of all volumes together.
        per_volume: Means of each volume's metric; ``n`` says in how many volumes it is defined.
    """

    n_labelled: int
    n_predicted: int
    n_found: int
    n_hits: int
    pooled: dict[str, Estimate]
    per_volume: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "n_labelled": self.n_labelled,
            "n_predicted": self.n_predicted,
            "n_found": self.n_found,
            "n_hits": self.n_hits,
            "pooled": {name: estimate.to_dict() for name, estimate in self.pooled.items()},
            "per_volume": {name: estimate.to_dict() for name, estimate in self.per_volume.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LevelScores:
        """The inverse of :meth:`to_dict`."""

        def estimates(table: str) -> dict[str, Estimate]:
            return {name: Estimate.from_dict(entry) for name, entry in values[table].items()}

        return cls(
            n_labelled=int(values["n_labelled"]),
            n_predicted=int(values["n_predicted"]),
            n_found=int(values["n_found"]),
            n_hits=int(values["n_hits"]),
            pooled=estimates("pooled"),
            per_volume=estimates("per_volume"),
        )
