"""Insertion points of one slice: as published, and ours."""

from __future__ import annotations

import numpy as np
import pytest
from landmark_hearts import decoded, published, slice_labels, true_corners
from refusals import refused
from scipy import ndimage

from CardioDiTLib.landmarks.septal_contour import (
    edge_contour,
    largest_component,
    pixel_contour,
    rvip_points_of_slice,
    trace_septal_contour,
)

CASES = {case["name"]: case for case in published("points_from_segmentation")["cases"]}


def labels_of(name: str) -> np.ndarray:
    return decoded(CASES[name]["inputs"]["mask_rle"], CASES[name]["inputs"]["shape"])


@pytest.mark.parametrize("name", CASES)
def test_published_walk_agrees_with_the_published_function(name):
    expected = [None if p is None else (p[1], p[0]) for p in CASES[name]["outputs"]["xy_order_rev_false"]["value"]]
    assert list(rvip_points_of_slice(labels_of(name))) == expected


def test_published_walk_agrees_on_a_volume():
    case = published("points_from_segmentation")["volume_case"]
    found = [rvip_points_of_slice(decoded(runs, case["shape"])) for runs in case["masks_rle"]]
    for kind, column in enumerate(case["keepdim_true_rev_true"]):
        expected = [None if p is None else tuple(p) for p in column]
        assert [pair[kind] for pair in found] == expected


@pytest.mark.parametrize("name", [n for n in CASES if None not in CASES[n]["outputs"]["xy_order_rev_false"]["value"]])
def test_our_walk_agrees_with_the_published_one_where_that_is_right(name):
    """Within a pixel and a bit: ours lies on the outer edge of the border pixel."""
    wanted = rvip_points_of_slice(labels_of(name))
    walk = trace_septal_contour(labels_of(name))
    assert walk is not None
    assert np.abs(np.array([walk.first, walk.second]) - np.array(wanted)).max() <= 1.0


@pytest.mark.parametrize("name", ["stray_myo_component_below_is_taken_instead", "stray_rv_component_below"])
def test_stray_components_do_not_matter(name):
    whole = trace_septal_contour(labels_of("rv_rotated_0"))
    assert trace_septal_contour(labels_of(name)) == whole
    assert whole is not None and whole.confidence == 1.0


def test_walk_is_circular():
    assert rvip_points_of_slice(labels_of("random_6"))[1] is None
    walk = trace_septal_contour(labels_of("random_6"))
    assert walk is not None
    np.testing.assert_allclose(walk.first, (38, 55), atol=1.0)
    assert np.hypot(*np.subtract(walk.first, walk.second)) > 6.0


def test_longest_septum_wins_and_rivals_cost_confidence():
    walk = trace_septal_contour(labels_of("rv_both_sides"))
    alone = trace_septal_contour(labels_of("rv_rotated_0"))
    assert walk is not None and alone is not None
    assert (walk.first, walk.second) == (alone.first, alone.second)
    assert walk.confidence < 0.7 < alone.confidence


@pytest.mark.parametrize("name", ["no_rv", "no_myo", "rv_far_away"])
def test_nothing_is_found_where_there_is_no_septum(name):
    assert trace_septal_contour(labels_of(name)) is None


def test_a_gap_between_the_labels_halves_the_confidence():
    gap = trace_septal_contour(labels_of("rv_not_touching_gap_3"))
    touching = trace_septal_contour(labels_of("rv_rotated_0"))
    assert gap is not None and touching is not None
    assert gap.confidence == pytest.approx(0.5)
    assert np.abs(np.subtract(gap.first, touching.first)).max() < 4.0


def test_a_touch_of_few_pixels_is_no_septum():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 15:35] = 2
    labels[15:25, 20:30] = 3
    labels[10:12, 5:15] = 1
    assert trace_septal_contour(labels) is None
    labels[10:22, 5:15] = 1
    assert trace_septal_contour(labels) is not None


@pytest.mark.parametrize("angle", range(0, 360, 17))
def test_corners_are_found_whatever_the_rotation(angle):
    y, x = np.mgrid[:80, :80] - 39.3
    walk = trace_septal_contour(slice_labels(y, x, 26.0, angle))
    assert walk is not None
    errors = np.array([walk.first, walk.second]) - 39.3 - true_corners(26.0, angle)
    assert np.hypot(errors[:, 0], errors[:, 1]).max() < 1.3


def test_corners_are_on_average_right_to_a_fraction_of_a_pixel():
    """Over many positions and rotations: no bias outward or inward, and a small mean error."""
    y, x = np.mgrid[:80, :80].astype(float)
    rng = np.random.default_rng(3)
    radial, errors = [], []
    for angle in rng.uniform(0, 360, 40):
        cy, cx = 39.0 + rng.uniform(0, 1, 2)
        walk = trace_septal_contour(slice_labels(y - cy, x - cx, 26.0, angle))
        assert walk is not None
        radial += [np.hypot(p[0] - cy, p[1] - cx) - 26.0 for p in (walk.first, walk.second)]
        middle = np.array([cy, cx])
        errors += np.linalg.norm([walk.first, walk.second] - middle - true_corners(26.0, angle), axis=1).tolist()
    assert abs(np.mean(radial)) < 0.2
    assert np.mean(errors) < 0.6


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_turning_or_mirroring_the_array_turns_the_points_exactly(turns, mirror):
    labels = labels_of("random_3")
    size = labels.shape[0]
    index = np.stack(np.mgrid[:size, :size], -1).astype(float)
    turned = np.rot90(labels[:, ::-1] if mirror else labels, turns)
    places = np.rot90(index[:, ::-1] if mirror else index, turns)
    before, after = trace_septal_contour(labels), trace_septal_contour(turned)
    assert before is not None and after is not None
    ends = [
        tuple(ndimage.map_coordinates(places[..., k], np.array([p]).T, order=1)[0] for k in (0, 1))
        for p in (after.first, after.second)
    ]
    expected = (before.second, before.first) if mirror else (before.first, before.second)
    np.testing.assert_allclose(ends, expected, atol=1e-9)
    assert after.septum_mm == pytest.approx(before.septum_mm)


def test_length_and_clefts_are_in_millimetres():
    y, x = np.mgrid[:80, :80] - 39.5
    labels = slice_labels(y, x, 26.0)
    walk, double = trace_septal_contour(labels), trace_septal_contour(labels, (2.0, 2.0))
    half = np.arccos(12.0 / 26.0)
    assert walk is not None and double is not None
    assert walk.septum_mm == pytest.approx(2 * half * 26.0, rel=0.05)
    assert double.septum_mm == pytest.approx(2 * walk.septum_mm, rel=0.05)


def test_a_cleft_in_the_septum_is_bridged():
    y, x = np.mgrid[:80, :80] - 39.5
    labels = slice_labels(y, x, 26.0)
    whole = trace_septal_contour(labels)
    notched = labels.copy()
    notched[38:41][(labels == 1)[38:41]] = 0  # splits the right ventricle in two, open to the outside
    walk = trace_septal_contour(notched)
    assert whole is not None and walk is not None
    np.testing.assert_allclose(walk.first, whole.first, atol=0.3)
    np.testing.assert_allclose(walk.second, whole.second, atol=0.3)


@pytest.mark.parametrize("function", [trace_septal_contour, rvip_points_of_slice])
def test_only_slices_are_taken(function):
    with refused((3, 4, 5)):
        function(np.zeros((3, 4, 5)))


def test_edge_contour_is_closed_and_stays_with_4_connected_pixels():
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)  # the lower left pixel touches by a corner only
    mask = largest_component(mask)
    middles, outside = edge_contour(mask)
    assert len(middles) == 12  # perimeter of the five connected pixels
    assert not mask[2, 0]
    inside = np.pad(mask, 1)[tuple((outside + 1).T)]
    assert not inside.any()
    steps = np.abs(np.roll(middles, -1, axis=0) - middles).sum(axis=1)
    assert set(steps.tolist()) == {1.0}  # to the next edge, straight on or around a corner


def test_pixel_contour_of_thin_and_single_shapes():
    line = np.zeros((4, 6), bool)
    line[1, 1:4] = True
    assert pixel_contour(line).tolist() == [[1, 1], [1, 2], [1, 3], [1, 2]]
    assert pixel_contour(np.eye(1, dtype=bool)).tolist() == [[0, 0]]
    assert pixel_contour(np.zeros((3, 3), bool)).shape == (0, 2)
