"""Everything that a comparison of landmarks with the truth says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.level_scores import LevelScores

LEVELS = ("anterior", "inferior", "points", "line")


@dataclass(frozen=True)
class LandmarkScores:
    """Result of :func:`~CardioDiTLib.landmarks.metrics.evaluate_landmarks`.

    Attributes:
        threshold_mm: Within it a prediction is a hit.
        cap_mm: What a miss, and at most what a far-off point, costs in ``capped_distance_mm``.
        confidence_level: Of the intervals.
        n_resamples: Bootstrap resamples; 0: no intervals.
        seed: Of the resampling.
        labelled_frames_only: Whether frames without any label were left out.
        n_groups: Groups (patients) that were resampled as one.
        n_volumes: Volumes (one frame of one track each) that count.
        n_volumes_without_truth: Those of them without any label; their predictions are false ones.
        n_frames_left_out: Frames without any label that do not count.
        levels: Scores by level: "anterior", "inferior", "points" (both together), "line" (slices with both).
    """

    threshold_mm: float
    cap_mm: float
    confidence_level: float
    n_resamples: int
    seed: int
    labelled_frames_only: bool
    n_groups: int
    n_volumes: int
    n_volumes_without_truth: int
    n_frames_left_out: int
    levels: dict[str, LevelScores]

    def __getitem__(self, level: str) -> LevelScores:
        """Scores of a level."""
        return self.levels[level]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        values = {name: value for name, value in self.__dict__.items() if name != "levels"}
        return {**values, "levels": {name: level.to_dict() for name, level in self.levels.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LandmarkScores:
        """The inverse of :meth:`to_dict`.

        Raises:
            CardioDiTError: A field is missing or unknown, or of the wrong kind.
        """
        try:
            levels = {name: LevelScores.from_dict(level) for name, level in values["levels"].items()}
            return cls(**{**values, "levels": levels})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CardioDiTError(
                f"This is no result of a landmark evaluation ({type(error).__name__}: {error}).",
                "Give what 'cardiodit evaluate landmarks --json' wrote.",
            ) from error
