"""Where metrics rank methods differently on the user's own data, and which effects explain it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import LandmarkTrack, check_affine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks import rvip_metrics as published
from CardioDiTLib.landmarks.metrics import (
    LandmarkScores,
    Tracks,
    evaluate_landmarks,
    paired_tracks,
    septum_angle_differences,
)
from CardioDiTLib.landmarks.rvip_metrics import FRAME_PX
from CardioDiTLib.schema import Record, Unknowable

CAPS_MM = (25.0, 50.0, 100.0)
"""Costs of a miss for which winners are compared."""

NOTABLE_RATE = 0.02
"""Rates that differ less are the same."""

_HIGHER_IS_BETTER = ("recall", "precision", "TPR", "PPV")
_OURS = {
    "recall": "recall",
    "precision": "precision",
    "distance mm": "distance_mm",
    "hit distance mm": "hit_distance_mm",
    "capped distance mm": "capped_distance_mm",
}


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """Two axes in the plane of the slices.

    Attributes:
        rows: (3,) RAS direction of growing y, unit length.
        columns: (3,) RAS direction of growing x, unit length.
        origin: (3,) mm RAS of pixel (0, 0).
        spacing_mm: Pixel size (y, x).
        assumed: Whether the grid was made up because none was given.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    origin: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    assumed: bool

    @classmethod
    def of_affine(cls, affine: ArrayLike) -> PixelGrid:
        """The grid of an image, affine (4, 4) index (x, y, z) to mm in RAS."""
        matrix = check_affine(affine)
        x, y = (float(np.linalg.norm(matrix[:3, k])) for k in (0, 1))
        return cls(matrix[:3, 1] / y, matrix[:3, 0] / x, matrix[:3, 3], (y, x), False)

    @classmethod
    def fitted_to(cls, tracks: Sequence[LandmarkTrack]) -> PixelGrid:
        """A grid of 1 mm pixels through all points of one cine, the middle of the published frame at their mean.

        Rows run from the anterior to the inferior points. Distances and angles do not depend on it; the published
        upper bound does, as it depends on where the image's corners are.
        """
        points = np.stack([track.points for track in tracks])
        with_both = ~np.isnan(points).any(axis=(-2, -1))
        chords = (points[..., 1, :] - points[..., 0, :])[with_both]
        # every slice about its own middle, so that only directions within the slices are left
        by_slice = np.moveaxis(points, 2, 0).reshape(points.shape[2], -1, 3)
        around = np.concatenate([part - _mean_point(part) for part in by_slice])
        around = around[~np.isnan(around).any(axis=1)]
        rows = chords.sum(axis=0) if len(chords) else np.zeros(3)
        rows = rows / np.linalg.norm(rows) if np.linalg.norm(rows) > 1e-6 else np.array([0.0, 1.0, 0.0])
        across = around - (around @ rows)[:, None] * rows
        directions = np.linalg.svd(np.concatenate([across, 1e-9 * np.eye(3)]))[2]
        columns = directions[0] - (directions[0] @ rows) * rows
        columns = columns / np.linalg.norm(columns)
        return cls(
            rows, columns, _mean_point(points.reshape(-1, 3)) - FRAME_PX / 2.0 * (rows + columns), (1.0, 1.0), True
        )

    def pixels(self, points_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) mm RAS to (..., 2) pixels (y, x)."""
        offsets = points_ras_mm - self.origin
        return np.stack([offsets @ self.rows / self.spacing_mm[0], offsets @ self.columns / self.spacing_mm[1]], -1)


def _mean_point(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the points that are there; zero where there are none."""
    there = points[~np.isnan(points).any(axis=1)]
    return np.asarray(there.mean(axis=0) if len(there) else np.zeros(3))


@dataclass(frozen=True)
class Finding(Record):
    """An effect in the data that distorts a metric.

    Attributes:
        name: Short name of the effect.
        methods: Which methods it concerns.
        metrics: Which metrics it distorts.
        sentence: What was found, in numbers.
    """

    record_name: ClassVar[str] = "finding"

    name: str
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Disagreement(Record):
    """Two metrics with different winners.

    Attributes:
        metrics: The two metrics.
        winners: Their winners; several where they tie.
        reasons: Sentences of the findings that concern these metrics and methods; empty where the metrics differ by
            their definition alone.
    """

    record_name: ClassVar[str] = "disagreement"

    metrics: tuple[str, str]
    winners: tuple[tuple[str, ...], tuple[str, ...]]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PitfallReport(Record):
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

    record_name: ClassVar[str] = "comparison of metrics"

    methods: tuple[str, ...]
    n_volumes: int
    values: dict[str, dict[str, Unknowable]]
    ranks: dict[str, dict[str, int]]
    disagreements: tuple[Disagreement, ...]
    findings: tuple[Finding, ...]
    assumed_grid: bool

    def winners(self, metric: str) -> tuple[str, ...]:
        """The methods of rank 1; none where the metric is undefined for all."""
        return tuple(m for m in self.methods if self.ranks[metric][m] == 1 and np.isfinite(self.values[metric][m]))


@dataclass(frozen=True, eq=False)
class _Method:
    """All that is known of one method."""

    scores: LandmarkScores
    rows: dict[str, list[published.RvipRow]]  # "line" and "points"
    pixels: list[tuple[NDArray[np.float64], NDArray[np.float64], float]]  # truth, prediction (Z, 2, 2), spacing
    points: list[tuple[NDArray[np.float64], NDArray[np.float64]]]  # truth, prediction (Z, 2, 3) mm
    capped_mm: dict[float, float]


def compare_metrics(
    predictions: Mapping[str, Tracks],
    truth: Tracks,
    *,
    threshold_mm: float = 15.0,
    cap_mm: float = 50.0,
    affines: Sequence[ArrayLike] | None = None,
) -> PitfallReport:
    """Rank methods by every metric, published and ours, and explain where the rankings disagree.

    Args:
        predictions: Name of a method -> its track, or tracks.
        truth: The true track, or tracks, in the same order.
        threshold_mm: For our recall and precision (the published ones use 15 mm).
        cap_mm: What a miss costs in our capped distance.
        affines: (4, 4) index (x, y, z) to mm RAS of each track's image. Without them the published upper bound is
            computed on a made-up grid of 1 mm pixels.

    Returns:
        Values, ranks, disagreements, and the effects found.

    Raises:
        CardioDiTError: No predictions, tracks that do not belong together, or a number out of range.
    """
    if not predictions:
        raise CardioDiTError("There are no predictions to compare.", "Give at least one, better two or more.")
    paired = {name: paired_tracks(tracks, truth) for name, tracks in predictions.items()}
    count = len(next(iter(paired.values())))
    if affines is not None and len(affines) != count:
        raise CardioDiTError(f"There are {len(affines)} affines for {count} tracks.", "Give one for each track.")
    grids = [
        PixelGrid.fitted_to(_all_of(paired, index)) if affines is None else PixelGrid.of_affine(affines[index])
        for index in range(count)
    ]
    methods = {name: _method(pairs, grids, threshold_mm, cap_mm) for name, pairs in paired.items()}
    values = _values(methods)
    ranks = {metric: _ranks(metric, row) for metric, row in values.items()}
    findings = tuple(_findings(methods, values, threshold_mm))
    first = next(iter(methods.values()))
    report = PitfallReport(
        tuple(methods), len(first.points), values, ranks, (), findings, any(grid.assumed for grid in grids)
    )
    return PitfallReport(**{**report.__dict__, "disagreements": tuple(_disagreements(report))})


def _all_of(paired: Mapping[str, list[tuple[LandmarkTrack, LandmarkTrack]]], index: int) -> list[LandmarkTrack]:
    pairs = [tracks[index] for tracks in paired.values()]
    return [pairs[0][1], *(ours for ours, _ in pairs)]


def _method(
    pairs: list[tuple[LandmarkTrack, LandmarkTrack]], grids: list[PixelGrid], threshold_mm: float, cap_mm: float
) -> _Method:
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    pixels, points = [], []
    for (predicted, true), grid in zip(pairs, grids):
        for frame in range(true.n_frames):
            spacing = grid.spacing_mm[1]
            pixels.append((grid.pixels(true.points[frame]), grid.pixels(predicted.points[frame]), spacing))
            points.append((true.points[frame], predicted.points[frame]))
    rows = {
        unit: [published.rvip_row(true, found, spacing, unit == "line") for true, found, spacing in pixels]
        for unit in ("line", "points")
    }
    capped = {}
    for cap in sorted({*CAPS_MM, cap_mm}):
        if cap >= threshold_mm:
            scores = evaluate_landmarks(ours, theirs, threshold_mm=threshold_mm, cap_mm=cap, n_resamples=0)
            capped[cap] = scores["points"].pooled["capped_distance_mm"].value
    scores = evaluate_landmarks(ours, theirs, threshold_mm=threshold_mm, cap_mm=cap_mm, n_resamples=0)
    return _Method(scores, rows, pixels, points, capped)


def _mean(values: ArrayLike) -> float:
    """Mean that skips NaN, as the published tables do."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else float("nan")


_PUBLISHED = {
    "volume distance mm": "volume_mm",
    "slice distance mm": "slice_mm",
    "upper bound mm": "slice_upper_bound_mm",
    "TPR": "tpr",
    "PPV": "ppv",
    "TPR 15 mm": "tpr_15mm",
    "PPV 15 mm": "ppv_15mm",
    "angle deg": "volume_angle_deg",
}


def _values(methods: Mapping[str, _Method]) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for unit in ("points", "line"):
        for title, key in _OURS.items():
            table[f"{title} ({unit})"] = {name: m.scores[unit].pooled[key].value for name, m in methods.items()}
    table["angle deg (line)"] = {name: m.scores["line"].pooled["angle_deg"].value for name, m in methods.items()}
    for unit in ("points", "line"):
        for title, field in _PUBLISHED.items():
            table[f"published {title} ({unit})"] = {
                name: _mean([getattr(row, field) for row in m.rows[unit]]) for name, m in methods.items()
            }
    return table


def _ranks(metric: str, row: Mapping[str, float]) -> dict[str, int]:
    higher = any(word in metric for word in _HIGHER_IS_BETTER)
    # rounding keeps what differs by the order of summation from being ranked
    keys = {m: float("inf") if np.isnan(v) else round(-v if higher else v, 9) for m, v in row.items()}
    return {m: 1 + sum(other < key for other in keys.values()) for m, key in keys.items()}


def _disagreements(report: PitfallReport) -> list[Disagreement]:
    found = []
    for one, other in combinations(report.values, 2):
        winners = report.winners(one), report.winners(other)
        if not (winners[0] and winners[1]) or set(winners[0]) & set(winners[1]):
            continue
        concerned = {*winners[0], *winners[1]}
        reasons = tuple(
            finding.sentence
            for finding in report.findings
            if {one, other} & set(finding.metrics) and concerned & set(finding.methods)
        )
        found.append(Disagreement((one, other), winners, reasons))
    return found


def _units(*titles: str) -> tuple[str, ...]:
    return tuple(f"published {title} ({unit})" for title in titles for unit in ("points", "line"))


def _findings(
    methods: Mapping[str, _Method], values: Mapping[str, Mapping[str, float]], threshold_mm: float
) -> list[Finding]:
    findings = _findings_of_pairs(methods, values)
    for name, method in methods.items():
        findings += _findings_of_method(name, method, {m: row[name] for m, row in values.items()}, threshold_mm)
    return findings


def _findings_of_pairs(methods: Mapping[str, _Method], values: Mapping[str, Mapping[str, float]]) -> list[Finding]:
    findings = []
    plain, recall = values["published slice distance mm (points)"], values["recall (points)"]
    for one in methods:
        for other in methods:
            if plain[one] < plain[other] and recall[one] < recall[other] - NOTABLE_RATE:
                sentence = (
                    f"Misses are free: '{one}' has the shorter plain slice distance ({plain[one]:.2f} mm against "
                    f"{plain[other]:.2f} mm of '{other}') but finds fewer points (recall {recall[one]:.2f} against "
                    f"{recall[other]:.2f})."
                )
                affected = (*_units("slice distance mm", "volume distance mm"), "distance mm (points)")
                findings.append(
                    Finding("misses are free", (one, other), (*affected, "hit distance mm (points)"), sentence)
                )
    caps = sorted(set.intersection(*(set(m.capped_mm) for m in methods.values())))
    best = {cap: min(methods, key=lambda name, cap=cap: methods[name].capped_mm[cap]) for cap in caps}  # type: ignore[misc]
    if len(set(best.values())) > 1:
        text = ", ".join(f"{cap:g} mm: '{name}'" for cap, name in best.items())
        affected = (*_units("upper bound mm"), "capped distance mm (points)", "capped distance mm (line)")
        sentence = f"The winner depends on what a miss costs ({text})."
        findings.append(Finding("the cap decides", tuple(methods), affected, sentence))
    return findings


def _findings_of_method(name: str, method: _Method, value: Mapping[str, float], threshold_mm: float) -> list[Finding]:
    findings: list[Finding] = []

    def add(title: str, metrics: tuple[str, ...], sentence: str) -> None:
        findings.append(Finding(title, (name,), metrics, f"{sentence[0].upper()}{sentence[1:]}"))

    scores = method.scores
    volume, plain = value["published volume distance mm (points)"], value["published slice distance mm (points)"]
    if volume < 0.7 * plain and plain - volume > 1.0:
        sentence = f"errors of '{name}' cancel in the mean point: {volume:.2f} mm by volume, {plain:.2f} mm by slice."
        add("errors cancel", _units("volume distance mm", "angle deg"), sentence)

    apart = sum(_no_common_slice(true, found) for true, found, _ in method.pixels)
    if apart:
        sentence = f"in {apart} volumes '{name}' has a volume distance although no slice has both label and prediction."
        add("means of different slices", _units("volume distance mm", "angle deg"), sentence)

    recall, mean_recall = scores["points"].pooled["recall"].value, scores["points"].per_volume["recall"].value
    for title, cause in (
        ("TPR", "any distance counts as found"),
        ("TPR 15 mm", "what is far off is not counted as missed"),
    ):
        rate = value[f"published {title} (points)"]
        if rate > mean_recall + NOTABLE_RATE:
            sentence = f"{cause}: published {title} of '{name}' is {rate:.2f}, its recall {mean_recall:.2f}."
            add("recall is flattered", _units(title), sentence)
    line_rate, point_rate = value["published TPR (line)"], value["published TPR (points)"]
    if abs(line_rate - point_rate) > NOTABLE_RATE:
        sentence = f"the unit matters: TPR of '{name}' is {line_rate:.2f} for lines, {point_rate:.2f} for points."
        add("line or points", _units("TPR", "TPR 15 mm", "PPV", "PPV 15 mm"), sentence)
    if abs(recall - mean_recall) > NOTABLE_RATE:
        sentence = f"recall of '{name}' is {recall:.2f} over all points, {mean_recall:.2f} as a mean over volumes."
        add("pooled or per volume", (*_units("TPR", "TPR 15 mm"), "recall (points)", "recall (line)"), sentence)

    penalty, total = _penalty(method.pixels)
    if total > 0 and penalty > 0.5 * total:
        share = 100.0 * penalty / total
        sentence = f"the upper bound of '{name}' consists of penalties for misses to {share:.0f} %."
        add("penalty decides", _units("upper bound mm"), sentence)

    extra = int(sum((np.isnan(true[..., 0]) & ~np.isnan(found[..., 0])).sum() for true, found in method.points))
    if extra:
        sentence = f"'{name}' has {extra} points where nothing is labelled; no distance shows them."
        affected = _units("volume distance mm", "slice distance mm", "upper bound mm")
        add("false points are free", (*affected, "capped distance mm (points)"), sentence)
    if scores.n_volumes_without_truth:
        sentence = f"{scores.n_volumes_without_truth} volumes without labels count as TPR 0 for '{name}'."
        add("empty volumes count as failures", _units("TPR", "TPR 15 mm"), sentence)
    undefined = [row for row in method.rows["points"] if np.isnan((*row.slice_mm, *row.volume_mm)).any()]
    if undefined:
        kept = [row.tpr for row in method.rows["points"] if row not in undefined]
        sentence = (
            f"dropping the {len(undefined)} volumes of '{name}' with an undefined distance would make its TPR "
            f"{_mean(kept):.2f} instead of {point_rate:.2f}; their distances are left out as it is."
        )
        add("failed volumes vanish", _units("slice distance mm", "volume distance mm", "angle deg"), sentence)

    wrapped = sum(_wrapped(true, found) for true, found, _ in method.pixels)
    if wrapped:
        sentence = f"{wrapped} angles of '{name}' differ by more than 180 degrees without wrapping around."
        add("angle wraps", _units("angle deg"), sentence)
    shifted = sum(_shifted(true, found, threshold_mm) for true, found in method.points)
    if shifted:
        sentence = (
            f"in {shifted} slices both points of '{name}' are more than {threshold_mm:g} mm off, "
            "yet the angle is right within 5 degrees."
        )
        add("angle forgives shifts", (*_units("angle deg"), "angle deg (line)"), sentence)
    return findings


def _no_common_slice(true: NDArray[np.float64], found: NDArray[np.float64]) -> bool:
    labelled = published.line_points(true)
    defined = not np.isnan(published.volume_distances(labelled, found, 1.0)).any()
    return defined and bool(np.isnan(published.slice_distances(labelled, found, 1.0)).all())


def _penalty(pixels: list[tuple[NDArray[np.float64], NDArray[np.float64], float]]) -> tuple[float, float]:
    """Millimetres that misses add to the published upper bound, and millimetres in all."""
    penalty = total = 0.0
    for true, found, spacing in pixels:
        labelled = published.line_points(true)
        bound = published.slice_distances_upper_bound(labelled, found, spacing)
        total += float(np.nansum(bound))
        penalty += float(np.nansum(bound[np.isnan(found[..., 0])]))
    return penalty, total


def _wrapped(true: NDArray[np.float64], found: NDArray[np.float64]) -> int:
    return int((np.abs(published.septum_angles(true) - published.septum_angles(found)) > 180.0).sum())


def _shifted(true: NDArray[np.float64], found: NDArray[np.float64], threshold_mm: float) -> int:
    far = (np.linalg.norm(true - found, axis=-1) > threshold_mm).all(axis=1)
    return int((far & (septum_angle_differences(found, true) < 5.0)).sum())
