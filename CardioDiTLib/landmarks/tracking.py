"""Tracking of points through the cycle: outliers are removed, short gaps filled, points smoothed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.errors import CardioDiTError

FEWEST_FRAMES = 5
"""With fewer frames (an ED/ES pair) neighbours in time are too far apart to be compared."""


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
        filled_confidence: Confidence of a filled point, as a share of its neighbours'.
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


def track_landmarks(track: LandmarkTrack, settings: TrackingSettings | None = None) -> LandmarkTrack:
    """Make a track consistent in time and from slice to slice.

    1. Each point is compared with where its neighbours put it: in time the median of the straight lines between one
       frame before and one after, within the window; across slices the line through the two neighbours, or, with three
       times the limit, through the two next ones at the ends of the stack. The worst outlier of a neighbourhood is
       taken out first and the rest is compared anew, so that a wrong point does not pull down good ones.
    2. Points that were taken out or missing are filled from time, then from the neighbouring slices, and only between
       points that are there: never beyond the ends of a run. What cannot be filled stays, or becomes, NaN.
    3. Points that were kept are smoothed by a quadratic over the window, weighted by confidence and nearness, and moved
       no farther than ``largest_shift_mm``.

    Fewer than five frames are neither compared nor smoothed in time; fewer than three slices are not compared either.

    Args:
        track: (T, Z, 2, 3) mm RAS; frames of one cycle.
        settings: Limits, in mm and frames; None for the defaults.

    Returns:
        The new track. Confidence of kept points stays; that of filled points is ``filled_confidence`` times the mean of
        those they were made from (times their own, lower one, where an outlier was replaced); where there is no point
        it is 0. The meta says under "tracking" what was done: the settings, and how many points were kept, outliers,
        replaced and filled.

    Raises:
        CardioDiTError: A setting is out of range.
    """
    settings = settings or TrackingSettings()
    points = track.points.copy()
    found = track.found
    confidence = np.where(found, np.nan_to_num(track.confidence), 0.0)
    outliers = _find_outliers(points, settings)
    points[outliers] = np.nan

    filled_points, filled_confidence = points.copy(), np.where(outliers, 0.0, confidence)
    for values, sureness, place in (*_fills_in_time(points, confidence, settings),):
        filled_points[place], filled_confidence[place] = values, sureness
    for values, sureness, place in (*_fills_between_slices(filled_points, filled_confidence, settings),):
        filled_points[place], filled_confidence[place] = values, sureness
    filled = ~np.isnan(filled_points).any(axis=-1) & np.isnan(points).any(axis=-1)
    replaced = filled & outliers
    filled_confidence[replaced] *= confidence[replaced]

    kept = found & ~outliers
    smooth = _smoothed(filled_points, filled_confidence, settings)
    shift = smooth - filled_points
    size = np.linalg.norm(shift, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.where(size > settings.largest_shift_mm, shift * (settings.largest_shift_mm / size), shift)
    result = np.where(kept[..., None], filled_points + np.nan_to_num(shift), filled_points)
    about = {
        **settings.to_dict(),
        "kept": int(kept.sum()),
        "outliers": int(outliers.sum()),
        "replaced": int(replaced.sum()),
        "filled": int((filled & ~outliers).sum()),
    }
    return LandmarkTrack(result, filled_confidence, track.frame_times, {**track.meta, "tracking": about})


def _shifted(points: NDArray[np.float64], by: int, periodic: bool) -> NDArray[np.float64]:
    """Entry t of the result is entry t + by; NaN beyond the ends of a track that is not periodic."""
    moved = np.roll(points, -by, axis=0)
    if not periodic and by > 0:
        moved[-by:] = np.nan
    elif not periodic and by < 0:
        moved[:-by] = np.nan
    return moved


def _half_window(n_frames: int, settings: TrackingSettings) -> int:
    """The window, no longer than leaves the point itself out on a short cycle."""
    return min(settings.window_frames, (n_frames - 1) // 2)


def _temporal_deviation(points: NDArray[np.float64], settings: TrackingSettings) -> NDArray[np.float64]:
    """(T, Z, 2) mm from where neighbours in time put each point; NaN with fewer than two lines."""
    half = _half_window(len(points), settings)
    before = [_shifted(points, -k, settings.periodic) for k in range(1, half + 1)]
    after = [_shifted(points, k, settings.periodic) for k in range(1, half + 1)]
    lines = np.stack(
        [(b * (j + 1) + a * (i + 1)) / (i + j + 2) for i, b in enumerate(before) for j, a in enumerate(after)]
    )
    counted = (~np.isnan(lines[..., 0])).sum(axis=0)
    deviation = np.linalg.norm(points - _nan_median(lines), axis=-1)
    return np.where(counted >= 2, deviation, np.nan)


def _nan_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median along the first axis that skips NaN; NaN, without a warning, where all are NaN."""
    ordered = np.sort(values, axis=0)  # NaN goes last
    count = (~np.isnan(values)).sum(axis=0, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=0)
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1), axis=0)
    return np.asarray(np.where(count > 0, (low + high) / 2.0, np.nan)[0])


def _slice_deviation(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, Z, 2) mm from where neighbouring slices put each point, NaN where they have no point.

    At the ends of the stack the line through the two next slices is drawn on. Errors of those two make it up to three
    times as wrong as a mean of two neighbours, so a third of the deviation counts there.
    """
    padded = np.pad(points, ((0, 0), (2, 2), (0, 0), (0, 0)), constant_values=np.nan)
    z = points.shape[1]
    far_below, below, above, far_above = (padded[:, k : k + z] for k in (0, 1, 3, 4))
    inside = np.linalg.norm(points - (below + above) / 2.0, axis=-1)
    beyond = np.where(np.isnan(below), 2.0 * above - far_above, 2.0 * below - far_below)
    return np.asarray(np.where(np.isnan(inside), np.linalg.norm(points - beyond, axis=-1) / 3.0, inside))


def _find_outliers(points: NDArray[np.float64], settings: TrackingSettings) -> NDArray[np.bool_]:
    points = points.copy()
    outliers = np.zeros(points.shape[:3], dtype=bool)
    in_time = len(points) >= FEWEST_FRAMES
    while True:
        # both as multiples of their limit, so that the worst of all can be told
        excess = np.zeros(points.shape[:3])
        if in_time:
            deviation = _temporal_deviation(points, settings)
            excess = np.fmax(excess, _ratio(deviation, settings.temporal_limit_mm))
        excess = np.fmax(excess, _ratio(_slice_deviation(points), settings.slice_limit_mm))
        neighbourhood = excess.copy()
        for by in range(1, _half_window(len(points), settings) + 1):
            for sign in (-1, 1):
                neighbourhood = np.fmax(neighbourhood, _shifted(excess, sign * by, settings.periodic))
        near = np.pad(neighbourhood, ((0, 0), (2, 2), (0, 0)))
        around = np.max([near[:, k : k + points.shape[1]] for k in range(5)], axis=0)
        worst = (excess > 1.0) & (excess >= around)
        if not worst.any():
            return outliers
        outliers |= worst
        points[worst] = np.nan


def _ratio(deviation: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(deviation) / max(limit, 1e-9))


_Fill = tuple[NDArray[np.float64], float, tuple[int, int, int]]


def _fills_in_time(
    points: NDArray[np.float64], confidence: NDArray[np.float64], settings: TrackingSettings
) -> Iterator[_Fill]:
    frames = len(points)
    present = np.asarray(~np.isnan(points).any(axis=-1))
    for level, kind in np.ndindex(points.shape[1:3]):
        there = np.flatnonzero(present[:, level, kind])
        if len(there) < 2:
            continue
        pairs = list(pairwise(there))
        if settings.periodic:
            pairs.append((there[-1], there[0] + frames))
        for left, right in pairs:
            gap = int(right - left - 1)
            if not 0 < gap <= settings.longest_gap_frames:
                continue
            a, b = points[left, level, kind], points[right % frames, level, kind]
            sureness = (confidence[left, level, kind] + confidence[right % frames, level, kind]) / 2.0
            for step in range(1, gap + 1):
                share = step / (gap + 1.0)
                place = (int(left + step) % frames, level, kind)
                yield (1.0 - share) * a + share * b, settings.filled_confidence * float(sureness), place


def _fills_between_slices(
    points: NDArray[np.float64], confidence: NDArray[np.float64], settings: TrackingSettings
) -> Iterator[_Fill]:
    if not settings.fill_gap_slices:
        return
    present = np.asarray(~np.isnan(points).any(axis=-1))
    gaps = present[:, :-2] & ~present[:, 1:-1] & present[:, 2:]
    for frame, below, kind in np.argwhere(gaps).tolist():
        value = (points[frame, below, kind] + points[frame, below + 2, kind]) / 2.0
        sureness = (confidence[frame, below, kind] + confidence[frame, below + 2, kind]) / 2.0
        yield value, settings.filled_confidence * float(sureness), (frame, below + 1, kind)


def _smoothed(
    points: NDArray[np.float64], confidence: NDArray[np.float64], settings: TrackingSettings
) -> NDArray[np.float64]:
    """Weighted quadratic over the window, evaluated at its middle; the points themselves where it is not determined."""
    if len(points) < FEWEST_FRAMES:
        return points
    half = _half_window(len(points), settings)
    offsets = np.arange(-half, half + 1, dtype=np.float64)
    values = np.stack([_shifted(points, int(k), settings.periodic) for k in offsets])
    sureness = np.stack([_shifted(confidence, int(k), settings.periodic) for k in offsets])
    nearness = (1.0 - (np.abs(offsets) / (half + 1.0)) ** 3) ** 3
    present = ~np.isnan(values).any(axis=-1)
    weights = np.where(present, np.nan_to_num(sureness), 0.0) * nearness[:, None, None, None]
    basis = np.stack([np.ones_like(offsets), offsets, offsets**2], axis=1)
    normal = np.einsum("kztp,ki,kj->ztpij", weights, basis, basis)
    right = np.einsum("kztp,ki,kztpc->ztpic", weights, basis, np.nan_to_num(values))
    usable = ((weights > 0).sum(axis=0) >= 4) & ~np.isnan(points).any(axis=-1)
    result = points.copy()
    if usable.any():
        result[usable] = np.linalg.solve(normal[usable], right[usable])[:, 0]
    return result
