"""What lies beyond the apex or the valve of the right ventricle, or beside no left cavity, is no right ventricle."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.segmentation.postprocess import trim_rv_apex, trim_rv_base

SPACING = (1.0, 1.0, 10.0)


def heart(radii: list[int], with_cavity: list[bool] | None = None) -> np.ndarray:
    """(1, Z, 64, 64): right ventricles of these radii beside a left cavity."""
    y, x = np.mgrid[:64, :64]
    labels = np.zeros((1, len(radii), 64, 64), np.uint8)
    for z, radius in enumerate(radii):
        labels[0, z][np.hypot(x - 20, y - 30) < radius] = 1
        if with_cavity is None or with_cavity[z]:
            labels[0, z][np.hypot(x - 45, y - 30) < 8] = 3
    return labels


def both_ways(labels):
    straight = trim_rv_apex(labels, "first", SPACING)
    turned = trim_rv_apex(labels[:, ::-1], "last", SPACING)[:, ::-1]
    np.testing.assert_array_equal(straight, turned)
    return straight


def test_a_heart_that_tapers_stays():
    labels = heart([9, 10, 9, 7, 5, 2, 0])
    np.testing.assert_array_equal(both_ways(labels), labels)


def test_a_stomach_beyond_the_apex_goes():
    labels = heart([9, 10, 8, 6, 4, 0, 0])
    truth = labels.copy()
    labels[0, 4, 44:60, 14:30] = 1  # larger than the slice above, far from it
    labels[0, 5, 44:60, 14:30] = 1
    found = both_ways(labels)
    np.testing.assert_array_equal(found[0, 4], truth[0, 4])
    assert (found[0, 5] == 1).sum() == 0
    np.testing.assert_array_equal(found[0, :4], truth[0, :4])


def test_what_is_far_from_the_slice_above_goes_even_if_small():
    labels = heart([10, 9, 8, 7])
    labels[0, 2, 58:61, 20:23] = 1
    found = both_ways(labels)
    np.testing.assert_array_equal(found, heart([10, 9, 8, 7]))


def test_basal_slices_may_be_smaller_and_elsewhere():
    labels = heart([0, 10, 9, 6])
    labels[0, 0, 2:12, 2:12] = 1  # an outflow tract
    np.testing.assert_array_equal(both_ways(labels), labels)


def test_no_right_ventricle_without_a_left_cavity():
    labels = heart([9, 10, 8], with_cavity=[False, True, True])
    for base in ("first", None):
        found = trim_rv_apex(labels, base, SPACING)
        assert not (found[0, 0] == 1).any()
        np.testing.assert_array_equal(found[0, 1:], labels[0, 1:])
    alone = heart([9, 10, 8], with_cavity=[False] * 3)
    np.testing.assert_array_equal(trim_rv_apex(alone, "first", SPACING), alone)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 10.0), (0.5, 0.5, 10.0)])
def test_reach_is_measured_in_millimetres(spacing):
    labels = heart([6, 5, 5])
    labels[0, 1, 30, 20 : 20 + 18] = 1  # leaves the outline above by some 12 pixels
    found = trim_rv_apex(labels, "first", spacing)
    assert (found[0, 1, 30, 20:38] == 1).all()
    labels[0, 1, 30, 20 : 20 + 22] = 1
    kept = (trim_rv_apex(labels, "first", spacing)[0, 1, 30, 20:42] == 1).sum()
    assert (kept == 22) if spacing[0] == 0.5 else (kept < 20)


@pytest.mark.parametrize("radii", [[9, 10, 9, 7, 5, 0], [8, 10, 9, 6], [10, 9]])
def test_a_right_ventricle_that_ends_at_full_width_keeps_its_base(radii):
    labels = heart(radii)
    for base in ("first", None):
        np.testing.assert_array_equal(trim_rv_base(labels, base, SPACING), labels)


def test_the_atrium_beyond_the_valve_goes_in_the_frame_that_shows_it():
    full, shows = heart([10, 10, 9, 7, 5, 0]), heart([3, 6, 9, 7, 5, 0])
    labels = np.concatenate([full, shows])
    expected = np.concatenate([full, heart([0, 0, 9, 7, 5, 0])])
    np.testing.assert_array_equal(trim_rv_base(labels, "first", SPACING), expected)
    np.testing.assert_array_equal(trim_rv_base(labels[:, ::-1], "last", SPACING), expected[:, ::-1])


def test_an_atrium_wider_than_the_ventricle_goes_where_it_narrows_between():
    labels = heart([11, 3, 10, 8, 6, 4])
    np.testing.assert_array_equal(trim_rv_base(labels, "first", SPACING), heart([0, 0, 10, 8, 6, 4]))


def test_the_base_is_compared_ten_millimetres_down_and_never_taken_whole():
    labels = heart([5, 8, 9, 9, 8, 6])
    np.testing.assert_array_equal(trim_rv_base(labels, "first", (1.0, 1.0, 5.0)), heart([0, 8, 9, 9, 8, 6]))
    np.testing.assert_array_equal(trim_rv_base(labels, "first", (1.0, 1.0, 17.0)), labels)
    cone = heart([2, 4, 6, 8])
    assert [(plane == 1).any() for plane in trim_rv_base(cone, "first", SPACING)[0]] == [False, False, True, True]
