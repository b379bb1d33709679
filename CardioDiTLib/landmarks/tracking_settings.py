"""How landmarks are followed through the cycle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from CardioDiTLib.errors import CardioDiTError


@dataclass(frozen=True)
class TrackingSettings:
    """Limits of :func:`~CardioDiTLib.landmarks.tracking.track_landmarks`.

    Attributes:
        periodic: The last frame is followed by the first.
        window_frames: Frames on either side that a point is compared and smoothed with. 3 frames of a cine of 20 to 30
            are about an eighth of the cycle.
        temporal_limit_mm: A point farther than this from where its neighbours in time put it is an outlier. Insertion
            points move 5 to 12 mm in a whole cycle, so real motion stays below.
        slice_limit_mm: The same for neighbouring slices; larger, as slices are 5 to 10 mm apart and the septum turns.
        largest_shift_mm: Smoothing never moves a point that is kept farther than this.
        longest_gap_frames: Missing frames in a row that are filled where the point is present before and after.
        fill_gap_slices: Fill a missing slice between two that have the point, where time could not.
        filled_confidence: Confidence of a point that was made up, as a share of its neighbours'.
    """

    periodic: bool = True
    window_frames: int = 3
    temporal_limit_mm: float = 8.0
    slice_limit_mm: float = 15.0
    largest_shift_mm: float = 1.5
    longest_gap_frames: int = 3
    fill_gap_slices: bool = True
    filled_confidence: float = 0.3

    def __post_init__(self) -> None:
        for name, smallest in (("window_frames", 1), ("longest_gap_frames", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                raise CardioDiTError(f"{name} is {value!r}.", f"Give a whole number of at least {smallest}.")
        for name in ("temporal_limit_mm", "slice_limit_mm", "largest_shift_mm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise CardioDiTError(f"{name} is {getattr(self, name)!r}.", "Give a length in mm, not negative.")
        if not 0 <= self.filled_confidence <= 1:
            raise CardioDiTError(f"filled_confidence is {self.filled_confidence!r}.", "Give a share from 0 to 1.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)
