"""Metrics of landmarks: every label and prediction counts; means come with their count, intervals with their seed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Record, Unknowable, check_seed

_HINT = "Give what 'cardiodit evaluate landmarks --json' wrote."
_AT_A_TIME = 256  # resamples computed together: enough to be quick, little memory

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Tracks = LandmarkTrack | Sequence[LandmarkTrack]

METRICS = ("recall", "precision", "distance_mm", "hit_distance_mm", "capped_distance_mm", "angle_deg")
"""Names of the metrics, in the order of tables; ``angle_deg`` exists for lines only."""

LEVELS = ("anterior", "inferior", "points", "line")

# What is added up for each volume; every metric is a quotient of two of these sums.
_SUMS = ("labelled", "predicted", "found", "hits", "distance", "hit_distance", "capped", "angle", "angles")

_QUOTIENTS = {
    "recall": ("hits", "labelled"),
    "precision": ("hits", "predicted"),
    "distance_mm": ("distance", "found"),
    "hit_distance_mm": ("hit_distance", "hits"),
    "capped_distance_mm": ("capped", "labelled"),
    "angle_deg": ("angle", "angles"),
}


def percentile_intervals(
    statistic: Statistic, n_groups: int, n_resamples: int, confidence_level: float, seed: int
) -> NDArray[np.float64]:
    """Percentile bootstrap over groups that stay together.

    Args:
        statistic: Takes how often each group was drawn, (B, G), and gives (B, M) numbers.
        n_groups: G; with fewer than two there is nothing to resample.
        n_resamples: B in all.
        confidence_level: For instance 0.95.
        seed: The same seed gives the same intervals.

    Returns:
        (2, M) lower and upper ends; NaN where a number is undefined in more than half of the resamples, or where there
        are no resamples. Where it is undefined in fewer, the others count.
    """
    size = statistic(np.ones((1, n_groups))).shape[1]
    if n_groups < 2 or n_resamples < 1:
        return np.full((2, size), np.nan)
    check_seed(seed)
    rng = np.random.default_rng(seed)
    shares = np.full(n_groups, 1.0 / n_groups)
    parts = []
    for start in range(0, n_resamples, _AT_A_TIME):
        drawn = rng.multinomial(n_groups, shares, size=min(_AT_A_TIME, n_resamples - start))
        parts.append(statistic(drawn.astype(np.float64)))
    values = np.concatenate(parts)
    tail = (1.0 - confidence_level) / 2.0
    ends = np.full((2, size), np.nan)
    for column in range(size):
        defined = values[~np.isnan(values[:, column]), column]
        if 2 * len(defined) > n_resamples:
            ends[:, column] = np.quantile(defined, (tail, 1.0 - tail))
    return ends


def paired_tracks(predicted: Tracks, truth: Tracks) -> list[tuple[LandmarkTrack, LandmarkTrack]]:
    """Check that two tracks, or two lists of them, belong together.

    Returns:
        Pairs (predicted, truth).

    Raises:
        CardioDiTError: Different numbers of tracks, none at all, or a different number of frames or slices.
    """
    ours = [predicted] if isinstance(predicted, LandmarkTrack) else list(predicted)
    theirs = [truth] if isinstance(truth, LandmarkTrack) else list(truth)
    if len(ours) != len(theirs):
        raise CardioDiTError(
            f"There are {len(ours)} predicted tracks and {len(theirs)} true ones.", "Give one for each, in one order."
        )
    if not ours:
        raise CardioDiTError("There are no landmark tracks to compare.", "Give at least one.")
    for index, (one, other) in enumerate(zip(ours, theirs)):
        if one.points.shape != other.points.shape:
            shapes = [f"{track.n_frames} frames and {track.n_slices} slices" for track in (one, other)]
            raise CardioDiTError(
                f"Track {index} has {shapes[0]}, its truth has {shapes[1]}.",
                "Both must be on the frames and slices of one cine.",
            )
    return list(zip(ours, theirs))


@dataclass(frozen=True)
class Estimate(Record):
    """A mean or a rate.

    Attributes:
        value: The number; NaN where there was nothing to average.
        low: Lower end of the confidence interval; NaN where there is none.
        high: Upper end.
        n: How many things were averaged: points, lines or volumes.
    """

    record_name: ClassVar[str] = "estimate of a landmark evaluation"
    record_hint: ClassVar[str] = _HINT

    value: Unknowable
    low: Unknowable
    high: Unknowable
    n: int


@dataclass(frozen=True)
class LevelScores(Record):
    """What was found of one kind, and how well.

    Attributes:
        n_labelled: Things in the truth.
        n_predicted: Things in the prediction.
        n_found: Labelled things for which there is a prediction, however far.
        n_hits: Those within the threshold.
        pooled: Metrics over all things of all volumes together.
        per_volume: Means of each volume's metric; ``n`` says in how many volumes it is defined.
    """

    record_name: ClassVar[str] = "scores of a landmark evaluation"
    record_hint: ClassVar[str] = _HINT

    n_labelled: int
    n_predicted: int
    n_found: int
    n_hits: int
    pooled: dict[str, Estimate]
    per_volume: dict[str, Estimate]


@dataclass(frozen=True)
class LandmarkScores(Record):
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

    record_name: ClassVar[str] = "result of a landmark evaluation"
    record_hint: ClassVar[str] = _HINT

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


def evaluate_landmarks(
    predicted: Tracks,
    truth: Tracks,
    *,
    threshold_mm: float = 15.0,
    cap_mm: float = 50.0,
    groups: Sequence[Hashable] | None = None,
    labelled_frames_only: bool = False,
    n_resamples: int = 2000,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> LandmarkScores:
    """Compare landmarks with the truth.

    A volume is one frame of one track. A point is a hit where truth and prediction are at most ``threshold_mm`` apart
    (inclusive); a line (slice with both points) where both of its points are.

    ======================  ============================================================================
    metric                  definition
    ======================  ============================================================================
    ``recall``              hits / labelled: what is far off is missed; undefined where nothing is labelled
    ``precision``           hits / predicted: what is far off, or has no label, is false
    ``distance_mm``         mean over labelled things that have a prediction, however far
    ``hit_distance_mm``     mean over hits
    ``capped_distance_mm``  mean over everything labelled: the distance, at most ``cap_mm``; a miss costs ``cap_mm``
    ``angle_deg``           lines: angle between the true and the predicted septum, 0 to 180 degrees
    ======================  ============================================================================

    The distance of a line is the mean of its two points' (each capped for the capped one). A labelled single point
    makes no line; a predicted line there has no true one and counts as false. The angle is that of the vectors from the
    anterior to the inferior point in space, so it never wraps; it is undefined where two points coincide.

    Intervals come from resampling groups (percentile bootstrap): slices and frames of one patient are not independent.

    Args:
        predicted: A track, or several.
        truth: The same number of tracks, on the same frames and slices.
        threshold_mm: See above.
        cap_mm: See above; at least ``threshold_mm``.
        groups: The patient of each track; by default each track is one.
        labelled_frames_only: Leave frames out that have no label at all; for cines that were labelled at a few phases
            only. Otherwise predictions there are false.
        n_resamples: For the intervals; 0: none.
        confidence_level: Of the intervals.
        seed: Of the resampling.

    Returns:
        Scores for anterior, inferior, all points, and lines; pooled and as a mean over volumes.

    Raises:
        CardioDiTError: Tracks do not belong together, or a number is out of range.

    Examples:
        >>> scores = evaluate_landmarks(predicted, truth)  # doctest: +SKIP
        >>> scores["points"].pooled["recall"]  # doctest: +SKIP
        Estimate(value=0.91, low=0.88, high=0.93, n=742)
    """
    _check(threshold_mm, cap_mm, n_resamples, confidence_level)
    pairs = paired_tracks(predicted, truth)
    if groups is not None and len(groups) != len(pairs):
        raise CardioDiTError(f"There are {len(groups)} groups for {len(pairs)} tracks.", "Give one for each track.")
    names: dict[Hashable, int] = {}
    owners: list[int] = []
    volumes: list[NDArray[np.float64]] = []
    left_out = without_truth = 0
    for index, (ours, theirs) in enumerate(pairs):
        owner = names.setdefault(index if groups is None else groups[index], len(names))
        for frame in range(theirs.n_frames):
            labelled = bool(theirs.found[frame].any())
            if labelled_frames_only and not labelled:
                left_out += 1
                continue
            without_truth += not labelled
            volumes.append(_volume_sums(ours.points[frame], theirs.points[frame], threshold_mm, cap_mm))
            owners.append(owner)
    if not volumes:
        raise CardioDiTError("No frame has a label.", "Check the truth, or count all frames.")
    table = np.stack(volumes)  # (V, level, sum)
    levels = {
        level: _level(level, table[:, k], np.asarray(owners), len(names), n_resamples, confidence_level, seed)
        for k, level in enumerate(LEVELS)
    }
    return LandmarkScores(
        threshold_mm=float(threshold_mm),
        cap_mm=float(cap_mm),
        confidence_level=float(confidence_level),
        n_resamples=n_resamples,
        seed=seed,
        labelled_frames_only=labelled_frames_only,
        n_groups=len(names),
        n_volumes=len(volumes),
        n_volumes_without_truth=without_truth,
        n_frames_left_out=left_out,
        levels=levels,
    )


def septum_angle_differences(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle between two septa, (Z,) degrees in [0, 180].

    Args:
        predicted: (Z, 2, 3) mm, anterior then inferior.
        truth: (Z, 2, 3) mm.

    Returns:
        NaN where a point is missing or two coincide.
    """
    one, other = predicted[:, 1] - predicted[:, 0], truth[:, 1] - truth[:, 0]
    sine = np.linalg.norm(np.cross(one, other), axis=-1)
    cosine = (one * other).sum(axis=-1)
    defined = (np.linalg.norm(one, axis=-1) > 0) & (np.linalg.norm(other, axis=-1) > 0)
    # atan2 keeps small angles exact where an arc cosine would round them away
    return np.asarray(np.where(defined, np.degrees(np.arctan2(sine, cosine)), np.nan))


def _check(threshold_mm: float, cap_mm: float, n_resamples: int, confidence_level: float) -> None:
    if not (np.isfinite(threshold_mm) and threshold_mm > 0):
        raise CardioDiTError(f"The threshold {threshold_mm!r} is not a length in mm.", "Give for instance 15.")
    if not (np.isfinite(cap_mm) and cap_mm >= threshold_mm):
        raise CardioDiTError(
            f"The cap {cap_mm:g} mm is below the threshold {threshold_mm:g} mm.", "Give at least the threshold."
        )
    if n_resamples < 0 or not 0 < confidence_level < 1:
        raise CardioDiTError(
            f"{n_resamples} resamples at a confidence level of {confidence_level:g} are not possible.",
            "Give 0 or more resamples, and a level between 0 and 1.",
        )


def _volume_sums(
    predicted: NDArray[np.float64], truth: NDArray[np.float64], threshold_mm: float, cap_mm: float
) -> NDArray[np.float64]:
    """(level, sum) of one volume; both inputs (Z, 2, 3)."""
    labelled, given = (np.asarray(~np.isnan(points[..., 0])) for points in (truth, predicted))
    distance = np.linalg.norm(predicted - truth, axis=-1)  # NaN where either is missing
    capped = np.where(labelled, np.fmin(np.where(np.isnan(distance), cap_mm, distance), cap_mm), np.nan)
    hit = distance <= threshold_mm
    no_angle = np.full(0, np.nan)
    columns = [_sums(labelled[:, k], given[:, k], distance[:, k], capped[:, k], hit[:, k], no_angle) for k in (0, 1)]
    angle = septum_angle_differences(predicted, truth)
    both_labelled, both_given, both_hit = (np.asarray(mask.all(axis=1)) for mask in (labelled, given, hit))
    line = _sums(both_labelled, both_given, distance.mean(1), capped.mean(1), both_hit, angle[~np.isnan(angle)])
    return np.stack([*columns, columns[0] + columns[1], line])


def _sums(
    labelled: NDArray[np.bool_],
    given: NDArray[np.bool_],
    distance: NDArray[np.float64],
    capped: NDArray[np.float64],
    hit: NDArray[np.bool_],
    angles: NDArray[np.float64],
) -> NDArray[np.float64]:
    both = labelled & given
    values = {
        "labelled": labelled.sum(),
        "predicted": given.sum(),
        "found": both.sum(),
        "hits": hit.sum(),
        "distance": distance[both].sum(),
        "hit_distance": distance[hit].sum(),
        "capped": capped[labelled].sum(),
        "angle": angles.sum(),
        "angles": len(angles),
    }
    return np.array([float(values[name]) for name in _SUMS])


def _level(
    level: str,
    table: NDArray[np.float64],
    owners: NDArray[np.int64],
    n_groups: int,
    n_resamples: int,
    confidence_level: float,
    seed: int,
) -> LevelScores:
    """Scores of one level from the sums of its volumes, (V, sum)."""
    metrics = [name for name in METRICS if name != "angle_deg" or level == "line"]
    tops, bottoms = ([_SUMS.index(_QUOTIENTS[name][part]) for name in metrics] for part in (0, 1))
    top, bottom = table[:, tops], table[:, bottoms]
    each = _quotient(top, bottom)
    defined = ~np.isnan(each)
    grouped = np.zeros((n_groups, 4, len(metrics)))
    np.add.at(grouped, owners, np.stack([top, bottom, np.nan_to_num(each), defined.astype(np.float64)], axis=1))

    def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.einsum("bg,gsm->bsm", drawn, grouped)
        return np.concatenate([_quotient(sums[:, 0], sums[:, 1]), _quotient(sums[:, 2], sums[:, 3])], axis=1)

    values = statistic(np.ones((1, n_groups)))[0]
    low, high = percentile_intervals(statistic, n_groups, n_resamples, confidence_level, seed)
    counts = [*bottom.sum(axis=0), *defined.sum(axis=0)]
    estimates = [Estimate(float(v), float(a), float(b), int(n)) for v, a, b, n in zip(values, low, high, counts)]
    totals = dict(zip(_SUMS, table.sum(axis=0)))
    return LevelScores(
        n_labelled=int(totals["labelled"]),
        n_predicted=int(totals["predicted"]),
        n_found=int(totals["found"]),
        n_hits=int(totals["hits"]),
        pooled=dict(zip(metrics, estimates[: len(metrics)])),
        per_volume=dict(zip(metrics, estimates[len(metrics) :])),
    )


def _quotient(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan))
