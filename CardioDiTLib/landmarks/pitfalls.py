"""Which method is better depends on the metric: on the user's own data, where and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks import published_metrics as published
from CardioDiTLib.landmarks.metrics import evaluate_landmarks, septum_angle_differences
from CardioDiTLib.landmarks.pairing import Tracks, paired_tracks
from CardioDiTLib.landmarks.pitfall_report import Disagreement, Finding, PitfallReport
from CardioDiTLib.landmarks.pixel_grid import PixelGrid
from CardioDiTLib.landmarks.scores import LandmarkScores

CAPS_MM = (25.0, 50.0, 100.0)
"""Costs of a miss that are tried, to see whether the winner depends on it."""

NOTABLE_RATE = 0.02
"""Rates that differ less are the same."""

_HIGHER_IS_BETTER = ("recall", "precision", "TPR", "PPV")


@dataclass(frozen=True, eq=False)
class _Method:
    """All that is known of one method."""

    scores: LandmarkScores
    rows: dict[str, list[published.PublishedRow]]  # "line" and "points"
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
        unit: [published.published_row(true, found, spacing, unit == "line") for true, found, spacing in pixels]
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
_OURS = {
    "recall": "recall",
    "precision": "precision",
    "distance mm": "distance_mm",
    "hit distance mm": "hit_distance_mm",
    "capped distance mm": "capped_distance_mm",
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
