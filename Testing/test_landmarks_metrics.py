"""The metrics to rely on: definitions, counts, intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from landmark_hearts import changed, moving_track, numbers, published
from refusals import names, refused

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.landmarks.metrics import LEVELS, LandmarkScores, evaluate_landmarks, septum_angle_differences

PITFALLS = {case["name"]: case for case in published("pitfalls")["cases"]}


def track_of(anterior_inferior: list, spacing: float = 1.0) -> LandmarkTrack:
    """One frame from lists of (y, x) pixels; slices 10 mm apart."""
    places = [[np.nan] * 2 if p is None else p for kind in anterior_inferior for p in kind]
    yx = np.array(places, float).reshape(2, -1, 2).transpose(1, 0, 2) * spacing
    level = 10.0 * np.arange(len(yx))[:, None, None] + 0.0 * yx[..., :1]
    points = np.concatenate([yx[..., 1:], yx[..., :1], level], axis=-1)[None]
    return LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), [0.0])


def scores_of(name: str, method: str, **settings) -> LandmarkScores:
    inputs = PITFALLS[name]["inputs"]
    spacing = inputs["inplane_spacing_mm"]
    predicted = track_of(inputs["predictions"][method], spacing)
    return evaluate_landmarks(predicted, track_of(inputs["ground_truth"], spacing), n_resamples=0, **settings)


def value(scores: LandmarkScores, metric: str, level: str = "points") -> float:
    return scores[level].pooled[metric].value


def test_misses_cost():
    easy = scores_of("missing_predictions_are_free", "easy_only")
    every = scores_of("missing_predictions_are_free", "all_slices")
    assert value(easy, "hit_distance_mm") == 1.0 and easy["points"].pooled["hit_distance_mm"].n == 2
    assert value(easy, "recall") == 0.25 and value(every, "recall") == 1.0
    assert value(easy, "capped_distance_mm") == (1.0 + 3 * 50.0) / 4
    assert value(every, "capped_distance_mm") == 2.5


def test_opposite_errors_do_not_cancel():
    assert value(scores_of("volume_average_cancels_errors", "plus_minus_10"), "distance_mm") == 10.0


def test_what_is_far_off_is_missed_and_false():
    expected = PITFALLS["threshold_removes_from_recall"]["recommended"]
    scores = scores_of("threshold_removes_from_recall", "three_far_off")
    assert expected == {"recall": "TP / labelled slices = 0.25", "precision": "TP / predicted = 0.25"}
    for level in LEVELS:
        assert value(scores, "recall", level) == value(scores, "precision", level) == 0.25
    assert value(scores, "distance_mm") == 45.0 and value(scores, "capped_distance_mm") == 37.5
    assert value(scores_of("no_threshold_counts_any_point", "all_far_off"), "recall") == 0.0


def test_the_threshold_is_inclusive_and_the_cap_is_in_millimetres():
    scores = scores_of("parallel_shift_has_no_angle_error", "shift", threshold_mm=20.0)
    assert value(scores, "recall") == 1.0 and value(scores, "angle_deg", "line") == 0.0
    assert value(scores_of("parallel_shift_has_no_angle_error", "shift", threshold_mm=19.99), "recall") == 0.0
    one_miss = scores_of("upper_bound_dominates", "one_miss", cap_mm=40.0)
    assert value(one_miss, "capped_distance_mm") == (3 * 3.0 + 40.0) / 4


def test_line_and_points():
    scores = scores_of("line_or_point_detection", "single_points")
    recall = [value(scores, "recall", level) for level in LEVELS]
    assert recall == [1.0, 0.5, 0.75, 0.5]
    assert [scores[level].n_labelled for level in LEVELS] == [4, 4, 8, 4]
    assert [scores[level].n_predicted for level in LEVELS] == [4, 2, 6, 2]
    assert [scores[level].n_hits for level in LEVELS] == [4, 2, 6, 2]


def test_false_points_cost_precision():
    scores = scores_of("false_positives_cost_no_distance", "three_false")
    assert value(scores, "recall") == 1.0 and value(scores, "precision") == 0.25
    assert value(scores, "precision", "line") == 0.25


def test_volumes_without_labels_are_undefined_not_failed():
    nothing = scores_of("empty_ground_truth_is_recall_zero", "nothing_predicted")
    something = scores_of("empty_ground_truth_is_recall_zero", "something_predicted")
    assert np.isnan(value(nothing, "recall")) and np.isnan(value(nothing, "precision"))
    assert np.isnan(value(something, "recall")) and value(something, "precision") == 0.0
    assert nothing.n_volumes_without_truth == 1 and nothing["points"].pooled["recall"].n == 0


def test_angles_do_not_wrap():
    expected = 360.0 - PITFALLS["angle_wraps"]["outputs"]["almost_same"]["line"]["volume_angle_diff"]
    assert value(scores_of("angle_wraps", "almost_same"), "angle_deg", "line") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "expected"), [(359, 1, 2), (1, 359, 2), (0, 180, 180), (90, 270, 180), (10, 20, 10)]
)
def test_angle_differences_in_any_plane(first, second, expected):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]

    def septum(degrees: float) -> np.ndarray:
        end = [np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), 0.0]
        return np.array([[[0.0, 0.0, 0.0], end]]) @ rotation + 7.0

    assert septum_angle_differences(septum(first), septum(second))[0] == pytest.approx(expected, abs=1e-6)


def test_angle_of_coinciding_points_is_undefined():
    same, other = np.zeros((1, 2, 3)), np.array([[[0.0, 0, 0], [1, 0, 0]]])
    assert np.isnan(septum_angle_differences(same, other)[0])


def test_macro_and_pooled_recall_differ_as_they_should():
    case = PITFALLS["macro_or_pooled_average"]
    predicted, truth = [], []
    for hits, misses in case["inputs"]["per_volume_tp_fn"].values():
        line = [[100.0, 100.0]] * (hits + misses)
        truth.append(track_of([line, line]))
        found = [[100.0, 100.0]] * hits + [None] * misses
        predicted.append(track_of([found, found]))
    scores = evaluate_landmarks(predicted, truth, n_resamples=0)
    for level in LEVELS:
        assert scores[level].per_volume["recall"].value == pytest.approx(case["outputs"]["macro_recall"])
        assert value(scores, "recall", level) == pytest.approx(case["outputs"]["pooled_recall"])
        assert scores[level].per_volume["recall"].n == 3
        # a volume in which nothing was found has no distance; the count says so, the recall keeps it
        assert scores[level].per_volume["distance_mm"].n == 2
        assert scores[level].per_volume["capped_distance_mm"].n == 3


def test_published_volumes_give_the_recall_that_the_published_one_should_have():
    """Hits over labels, from the published distances; the published rate is never smaller."""
    for case in published("metrics_per_volume")["cases"]:
        inputs, spacing = case["inputs"], case["inputs"]["inplane_spacing_mm"]
        truth = track_of([inputs["gt_anterior"], inputs["gt_inferior"]], spacing)
        predicted = track_of([inputs["pred_anterior"], inputs["pred_inferior"]], spacing)
        scores = evaluate_landmarks(predicted, truth, n_resamples=0)
        expected = case["outputs"]["single_also"]
        for kind, level in enumerate(("anterior", "inferior")):
            hits = np.isfinite(numbers(expected["slice_distances_threshold15_mm"][kind])).sum()
            assert scores[level].n_hits == hits
            found = numbers(expected["slice_distances_mm"][kind])
            np.testing.assert_allclose(
                value(scores, "distance_mm", level),
                found[np.isfinite(found)].mean() if np.isfinite(found).any() else np.nan,
            )
            if scores[level].n_labelled:
                assert value(scores, "recall", level) <= expected["tpr_15mm"][kind] + 1e-12


def several(n: int = 12) -> tuple[list[LandmarkTrack], list[LandmarkTrack]]:
    """Tracks whose errors differ from patient to patient."""
    rng = np.random.default_rng(0)
    truth = [moving_track(2, 4) for _ in range(n)]
    predicted = []
    for track in truth:
        points = track.points + rng.normal(scale=rng.uniform(1.0, 6.0), size=track.points.shape)
        points[rng.random(points.shape[:3]) < rng.uniform(0.0, 0.4)] = np.nan
        predicted.append(changed(track, points))
    return predicted, truth


def test_intervals_hold_the_value_and_depend_on_seed_and_groups():
    predicted, truth = several()
    scores = evaluate_landmarks(predicted, truth, n_resamples=500, seed=1)
    for level in LEVELS:
        for table in (scores[level].pooled, scores[level].per_volume):
            for name, estimate in table.items():
                assert estimate.low <= estimate.value <= estimate.high, name
        recall = scores[level].pooled["recall"]
        assert 0.02 < recall.high - recall.low < 0.5
    assert evaluate_landmarks(predicted, truth, n_resamples=500, seed=1) == scores
    other = evaluate_landmarks(predicted, truth, n_resamples=500, seed=2)
    assert other["points"].pooled["recall"].low != scores["points"].pooled["recall"].low
    assert value(other, "recall") == value(scores, "recall")
    # the same errors in half as many independent patients are known half as well
    grouped = evaluate_landmarks(predicted * 2, truth * 2, groups=[*range(12)] * 2, n_resamples=500, seed=1)
    single = evaluate_landmarks(predicted * 2, truth * 2, n_resamples=500, seed=1)
    width = [e["points"].pooled["recall"].high - e["points"].pooled["recall"].low for e in (grouped, single)]
    assert grouped.n_groups == 12 and single.n_groups == 24
    assert width[0] > 1.2 * width[1]


def test_intervals_have_about_the_width_of_theory():
    """Recall of many independent volumes of one point each: binomial."""
    rng = np.random.default_rng(4)
    found = rng.random(400) < 0.8
    truth = [track_of([[[0.0, 0.0]], [None]])] * 400
    predicted = [track_of([[[0.0, 0.0] if hit else None], [None]]) for hit in found]
    recall = evaluate_landmarks(predicted, truth, n_resamples=1000)["anterior"].pooled["recall"]
    theory = 2 * 1.96 * np.sqrt(recall.value * (1 - recall.value) / 400)
    assert recall.high - recall.low == pytest.approx(theory, rel=0.15)


def test_frames_without_labels_can_be_left_out():
    track = moving_track(4, 3)
    points = track.points.copy()
    points[1:] = np.nan
    truth = changed(track, points)
    every = evaluate_landmarks(track, truth, n_resamples=0)
    labelled = evaluate_landmarks(track, truth, n_resamples=0, labelled_frames_only=True)
    assert value(every, "precision") == 0.25 and every.n_volumes == 4 and every.n_volumes_without_truth == 3
    assert value(labelled, "precision") == 1.0 and labelled.n_volumes == 1 and labelled.n_frames_left_out == 3


def test_scores_survive_json():
    predicted, truth = several(3)
    scores = evaluate_landmarks(predicted, truth, n_resamples=50)
    again = LandmarkScores.from_dict(json.loads(json.dumps(scores.to_dict())))
    assert again == scores
    empty = evaluate_landmarks(track_of([[None], [None]]), track_of([[None], [None]]))
    text = json.dumps(empty.to_dict(), allow_nan=False)
    assert LandmarkScores.from_dict(json.loads(text)).to_dict() == empty.to_dict()
    whole = scores.to_dict()
    for broken, named in (({}, "levels"), ({**whole, "more": 1}, "more"), ({**whole, "levels": 3}, "levels")):
        with refused("landmark evaluation", named) as told:
            LandmarkScores.from_dict(broken)
        assert names(told.value.message, named)


def test_input_that_does_not_belong_together_is_refused():
    track = moving_track(2, 4)
    with refused("Track 0", "3 slices", "4 slices"):
        evaluate_landmarks(moving_track(2, 3), track)
    with refused("2 predicted", "1 true"):
        evaluate_landmarks([track, track], track)
    with refused("no", "tracks"):
        evaluate_landmarks([], [])
    with refused("1 groups", "2 tracks"):
        evaluate_landmarks([track] * 2, [track] * 2, groups=["a"])
    with refused("cap 10 mm", "threshold 15 mm"):
        evaluate_landmarks(track, track, cap_mm=10.0)
    with refused("threshold", 0.0):
        evaluate_landmarks(track, track, threshold_mm=0.0)
    with refused("confidence", 1):
        evaluate_landmarks(track, track, confidence_level=1.0)
    empty = changed(track, np.full(track.points.shape, np.nan))
    with refused("frame", "label"):
        evaluate_landmarks(track, empty, labelled_frames_only=True)
