"""The published evaluation as a table: columns are the published functions' numbers, in the right places."""

from __future__ import annotations

import numpy as np
import pytest
from landmark_hearts import numbers, pairs, published
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.rvip_metrics import RvipVolume, rvip_summary, rvip_table

CASES = published("metrics_per_volume")["cases"][:20]


def volume(case, **other) -> RvipVolume:
    inputs = case["inputs"]
    return RvipVolume(
        pairs(inputs["gt_anterior"], inputs["gt_inferior"]),
        pairs(inputs["pred_anterior"], inputs["pred_inferior"]),
        inputs["inplane_spacing_mm"],
        **other,
    )


@pytest.fixture(scope="module")
def table():
    return rvip_table([volume(case) for case in CASES])


@pytest.mark.parametrize(("unit", "end"), [("both_only", ""), ("single_also", "_point")])
def test_columns_are_the_published_numbers(table, unit, end):
    pair_columns = {
        "volume_distance_mm": ("mdists_{}", ""),
        "slice_mean_mm": ("mdists_{}_slice_wise", ""),
        "slice_mean_up_mm": ("mdists_{}_slice_wise_up", ""),
        "tpr": ("tpr_{}", ""),
        "ppv": ("ppv_{}", ""),
        "tpr_15mm": ("tpr_{}", "_th15"),
        "ppv_15mm": ("ppv_{}", "_th15"),
    }
    for key, (body, threshold) in pair_columns.items():
        expected = np.array([numbers(case["outputs"][unit][key]) for case in CASES], dtype=float)
        for index, kind in enumerate(("ant", "inf")):
            found = table[f"{body.format(kind)}{end}{threshold}"]
            np.testing.assert_allclose(found, expected[:, index], atol=1e-9, err_msg=key)
    for key, column in (
        ("volume_angle_gt", "mangle_gt"),
        ("volume_angle_pred", "mangle_pred"),
        ("volume_angle_diff", "mdiffs"),
    ):
        expected = np.array([numbers(case["outputs"][unit][key]) for case in CASES], dtype=float)
        np.testing.assert_allclose(table[f"{column}{end}"], expected, atol=1e-9, err_msg=key)


def test_angles_of_slices():
    # septa straight down and to the right in the labels, both down in the prediction; one slice is missed
    truth = np.array([[[0, 0], [9, 0]], [[0, 0], [0, 9]], [[0, 0], [9, 0]]], dtype=float)
    found = np.array([[[0, 0], [9, 0]], [[0, 0], [9, 0]], [[np.nan] * 2] * 2])
    table = rvip_table([RvipVolume(truth, found, 1.0)])
    assert table["mangle_gt_slice_wise"][0] == pytest.approx(60.0)
    assert table["mangle_pred_slice_wise"][0] == pytest.approx(90.0)
    assert table["mdiffs_slice_wise"][0] == pytest.approx(45.0)
    assert table["mdiffs_slice_wise_up"][0] == pytest.approx(90.0)


def test_other_observers_have_columns_of_their_own(table):
    cases = [volume(case, second_observer=volume(case).truth) for case in CASES]
    both = rvip_table(cases)
    assert len(both) == 2 * len(table) == 84
    assert all(np.array_equal(both[name], table[name], equal_nan=True) for name in table)
    labelled = both["tpr_ant_io"] > 0
    assert labelled.any() and (both["tpr_ant_io"][labelled] == 1).all() and (both["mdists_ant_io"][labelled] == 0).all()
    with refused("volumes", "second observer"):
        rvip_table([cases[0], volume(CASES[1])])
    with refused("no volumes"):
        rvip_table([])
    with pytest.raises(CardioDiTError, match="second_observer"):
        rvip_table([volume(CASES[0], second_observer=np.zeros((1, 2, 2)))])


def test_summary_skips_what_is_undefined_and_counts_it():
    summary = rvip_summary({"a": np.array([1.0, np.nan, 3.0]), "b": np.array([np.nan, 5.0, np.nan])})
    assert summary["a"] == (2.0, pytest.approx(np.sqrt(2.0)), 2)
    assert summary["b"][0] == 5.0 and np.isnan(summary["b"][1]) and summary["b"][2] == 1
