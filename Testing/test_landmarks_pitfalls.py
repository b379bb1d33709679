"""The report on what the choice of metric does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from landmark_hearts import changed, moving_track, pairs, published
from refusals import refused
from synthetic_cines import oblique_affine

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.landmarks.pitfalls import compare_metrics

PITFALLS = {case["name"]: case for case in published("pitfalls")["cases"]}
AFFINE = oblique_affine((1.0, 1.0, 9.0))


def track_of(pixels: np.ndarray, affine: np.ndarray = AFFINE) -> LandmarkTrack:
    """A track of one frame from (Z, 2, 2) pixels (y, x)."""
    level = np.arange(len(pixels))[:, None, None] + 0.0 * pixels[..., :1]
    index = np.concatenate([pixels[..., ::-1], level], axis=-1)
    points = (index @ affine[:3, :3].T + affine[:3, 3])[None]
    return LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), [0.0])


def report_on(name: str, grid: bool = True):
    inputs = PITFALLS[name]["inputs"]
    affine = oblique_affine((inputs["inplane_spacing_mm"],) * 2 + (9.0,))
    predictions = {method: track_of(pairs(*predicted), affine) for method, predicted in inputs["predictions"].items()}
    truth = track_of(pairs(*inputs["ground_truth"]), affine)
    return compare_metrics(predictions, truth, affines=[affine] if grid else None)


FIELDS = {
    "volume distance mm": "volume_mm",
    "slice distance mm": "slice_mm",
    "upper bound mm": "slice_up_mm",
    "TPR": "tpr",
    "PPV": "ppv",
    "TPR 15 mm": "tpr15",
    "PPV 15 mm": "ppv15",
    "angle deg": "volume_angle_diff",
}


@pytest.mark.parametrize("name", [n for n, c in PITFALLS.items() if c["inputs"] and "predictions" in c["inputs"]])
def test_published_values_come_out_of_tracks_in_space(name):
    report = report_on(name)
    for method, expected in PITFALLS[name]["outputs"].items():
        for unit in ("line", "points"):
            for title, field in FIELDS.items():
                wanted = np.atleast_1d(np.array(expected[unit][field], dtype=float))
                found = report.values[f"published {title} ({unit})"][method]
                np.testing.assert_allclose(found, wanted.mean(), atol=1e-6, err_msg=f"{method} {title}")
    assert not report.assumed_grid


FOUND = {
    "missing_predictions_are_free": "misses are free",
    "volume_average_cancels_errors": "errors cancel",
    "volume_average_over_different_slices": "means of different slices",
    "line_or_point_detection": "line or points",
    "threshold_removes_from_recall": "recall is flattered",
    "no_threshold_counts_any_point": "recall is flattered",
    "upper_bound_dominates": "penalty decides",
    "false_positives_cost_no_distance": "false points are free",
    "empty_ground_truth_is_recall_zero": "empty volumes count as failures",
    "parallel_shift_has_no_angle_error": "angle forgives shifts",
    "angle_wraps": "angle wraps",
}


@pytest.mark.parametrize("name", FOUND)
def test_every_pitfall_is_recognised(name):
    assert FOUND[name] in {finding.name for finding in report_on(name).findings}


def test_every_kind_of_pitfall_is_absent_from_good_predictions():
    truth = moving_track(1, 6)
    rng = np.random.default_rng(0)
    predicted = changed(truth, truth.points + rng.normal(scale=0.5, size=truth.points.shape))
    report = compare_metrics({"good": predicted}, truth)
    assert report.findings == () and report.disagreements == ()
    assert report.ranks["recall (points)"] == {"good": 1}


def test_the_winner_of_the_plain_distance_is_explained():
    report = report_on("missing_predictions_are_free")
    assert report.winners("published slice distance mm (points)") == ("easy_only",)
    assert report.winners("recall (points)") == report.winners("capped distance mm (points)") == ("all_slices",)
    pair = ("capped distance mm (points)", "published slice distance mm (points)")
    [disagreement] = [d for d in report.disagreements if d.metrics == pair]
    assert disagreement.winners == (("all_slices",), ("easy_only",))
    assert any("1.00 mm against 2.50 mm" in reason and "0.25 against 1.00" in reason for reason in disagreement.reasons)


def test_a_winner_that_depends_on_the_cap():
    """Many far points against few misses."""
    truth = moving_track(1, 6)
    far, missing = truth.points.copy(), truth.points.copy()
    far += np.array([30.0, 0.0, 0.0])
    missing[:, 0] = np.nan
    missing[:, 1:] += np.array([13.0, 0.0, 0.0])
    report = compare_metrics({"far": changed(truth, far), "missing": changed(truth, missing)}, truth)
    names = [finding.name for finding in report.findings]
    # capped: far 30 at any cap of 30 and more; missing (5 x 13 + cap) / 6
    assert "the cap decides" not in names
    missing[:, 1] = np.nan
    report = compare_metrics({"far": changed(truth, far), "missing": changed(truth, missing)}, truth)
    [finding] = [finding for finding in report.findings if finding.name == "the cap decides"]
    assert "50 mm: 'missing'" in finding.sentence and "100 mm: 'far'" in finding.sentence


def test_ties_share_a_rank_and_undefined_values_come_last():
    truth = moving_track(1, 4)
    nothing = changed(truth, np.full(truth.points.shape, np.nan))
    report = compare_metrics({"a": truth, "b": truth, "none": nothing}, truth)
    assert report.ranks["distance mm (points)"] == {"a": 1, "b": 1, "none": 3}
    assert report.winners("recall (points)") == ("a", "b")


def test_without_a_grid_only_the_upper_bound_rests_on_an_assumption():
    given, assumed = report_on("upper_bound_dominates"), report_on("upper_bound_dominates", grid=False)
    assert assumed.assumed_grid
    for metric, row in given.values.items():
        if "upper bound" in metric:
            assert assumed.values[metric]["one_miss"] > 10
        else:
            np.testing.assert_allclose(assumed.values[metric]["one_miss"], row["one_miss"], atol=1e-6, err_msg=metric)


def test_the_report_is_plain_json():
    report = report_on("empty_ground_truth_is_recall_zero")
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["values"]["recall (points)"]["nothing_predicted"] is None
    assert content["methods"] == ["nothing_predicted", "something_predicted"]


def test_input_is_checked():
    track = moving_track(1, 3)
    with refused("predictions"):
        compare_metrics({}, track)
    with refused("2 affines", "1 tracks"):
        compare_metrics({"a": track}, track, affines=[AFFINE, AFFINE])
