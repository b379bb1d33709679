"""The published definitions agree with the published functions, faults included."""

from __future__ import annotations

import numpy as np
import pytest
from landmark_hearts import numbers, pairs, points, published

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks import rvip_metrics as metrics

ANGLES = published("angles")
VOLUMES = published("metrics_per_volume")["cases"]
PITFALLS = {case["name"]: case for case in published("pitfalls")["cases"]}


@pytest.mark.parametrize("case", ANGLES["cases"], ids=lambda case: case["name"])
def test_septum_angle(case):
    found = metrics.septum_angle(*(numbers(case["inputs"][kind]) for kind in ("anterior", "inferior")))
    np.testing.assert_allclose(found, numbers(case["outputs"]["value"]), atol=1e-9)


@pytest.mark.parametrize("case", ANGLES["lists"])
def test_lists_of_angles(case):
    both = pairs(case["inputs"]["anterior"], case["inputs"]["inferior"])
    angles, swapped = metrics.septum_angles(both), metrics.septum_angles(both[:, ::-1])
    np.testing.assert_allclose(angles, numbers(case["angles"]), atol=1e-9)
    np.testing.assert_allclose(swapped, numbers(case["angles_swapped_roles"]), atol=1e-9)
    differences = [metrics.angle_difference(a, b) for a, b in zip(angles, swapped)]
    np.testing.assert_allclose(differences, numbers(case["get_differences"]), atol=1e-9)


@pytest.mark.parametrize("case", ANGLES["get_diff_cases"])
def test_angle_difference(case):
    found = metrics.angle_difference(*numbers(case["inputs"]))
    np.testing.assert_allclose(found, numbers(case["output"]["value"]))


@pytest.mark.parametrize("case", ANGLES["get_diffs_text_cases"])
def test_mean_angle_difference(case):
    truth, predicted = numbers(case["inputs"]["gt"]), numbers(case["inputs"]["pred"])
    for key, bound in (("get_diffs", False), ("get_diffs_upper_bound", True)):
        found = metrics.mean_angle_difference(truth, predicted, upper_bound=bound)
        np.testing.assert_allclose(found, numbers(case[key]["value"]))


@pytest.mark.parametrize("case", VOLUMES, ids=lambda case: case["name"])
@pytest.mark.parametrize("unit", ["both_only", "single_also"])
def test_metrics_of_a_volume(case, unit):
    inputs = case["inputs"]
    expected = {k: points(v) if k.startswith("mean_") else numbers(v) for k, v in case["outputs"][unit].items()}
    truth = pairs(inputs["gt_anterior"], inputs["gt_inferior"])
    predicted = pairs(inputs["pred_anterior"], inputs["pred_inferior"])
    if unit == "both_only":
        predicted = metrics.line_points(predicted)
    spacing = inputs["inplane_spacing_mm"]
    slices = metrics.slice_distances(truth, predicted, spacing)
    bound = metrics.slice_distances_upper_bound(truth, predicted, spacing)
    angles = [metrics.septum_angle(*metrics.volume_mean_points(p)) for p in (truth, predicted)]

    found = {
        "mean_gt": metrics.volume_mean_points(truth),
        "mean_pred": metrics.volume_mean_points(predicted),
        "volume_distance_mm": metrics.volume_distances(truth, predicted, spacing),
        "volume_angle_gt": angles[0],
        "volume_angle_pred": angles[1],
        "volume_angle_diff": metrics.angle_difference(*angles),
        "slice_distances_mm": slices.T,
        "slice_mean_mm": metrics.mean_over_slices(slices),
        "slice_distances_threshold15_mm": metrics.slice_distances(truth, predicted, spacing, 15.0).T,
        "slice_distances_up_mm": bound.T,
        "slice_mean_up_mm": metrics.mean_over_slices(bound),
        "tpr": metrics.true_positive_rate(truth, predicted),
        "ppv": metrics.positive_predictive_value(truth, predicted),
        "tpr_15mm": metrics.true_positive_rate(truth, predicted, spacing, 15.0),
        "ppv_15mm": metrics.positive_predictive_value(truth, predicted, spacing, 15.0),
    }
    assert set(found) == set(expected)
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], atol=1e-9, err_msg=key)


WITH_PREDICTIONS = [name for name, case in PITFALLS.items() if case["inputs"] and "predictions" in case["inputs"]]


@pytest.mark.parametrize("name", WITH_PREDICTIONS)
@pytest.mark.parametrize("unit", ["line", "points"])
def test_rows_of_the_pitfalls(name, unit):
    inputs = PITFALLS[name]["inputs"]
    for method, predicted in inputs["predictions"].items():
        row = metrics.rvip_row(
            pairs(*inputs["ground_truth"]), pairs(*predicted), inputs["inplane_spacing_mm"], unit == "line"
        )
        expected = PITFALLS[name]["outputs"][method][unit]
        fields = {
            "volume_mm": row.volume_mm,
            "volume_angle_diff": row.volume_angle_deg,
            "slice_mm": row.slice_mm,
            "slice_up_mm": row.slice_upper_bound_mm,
            "tpr": row.tpr,
            "ppv": row.ppv,
            "tpr15": row.tpr_15mm,
            "ppv15": row.ppv_15mm,
        }
        assert set(fields) == set(expected)
        for key, value in fields.items():
            np.testing.assert_allclose(value, numbers(expected[key]), atol=1e-9, err_msg=f"{method} {key}")


def test_the_same_miss_costs_more_at_a_coarser_spacing():
    case = PITFALLS["same_miss_other_spacing"]
    truth = np.full((1, 2, 2), np.nan)
    truth[0, 0] = case["inputs"]["point"]
    for spacing, expected in case["outputs"].items():
        bound = metrics.slice_distances_upper_bound(truth, np.full((1, 2, 2), np.nan), float(spacing))
        # the file's names are rounded spacings
        assert bound[0, 0] == pytest.approx(expected, rel=1e-4)


def test_points_of_a_wrong_shape_are_refused():
    with pytest.raises(CardioDiTError, match=r"\(3, 2\)"):
        metrics.slice_distances(np.zeros((3, 2)), np.zeros((3, 2)), 1.0)
