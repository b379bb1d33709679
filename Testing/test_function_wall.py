"""Wall thickness on rings that are known, AHA segments however the array is stored, and the septum."""

from __future__ import annotations

import numpy as np
import pytest
from function_shapes import SHAPE, SPACING, beating, oblique_affine, plane_mm, stored_otherwise, ventricles
from scipy.spatial.transform import Rotation

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.function import SEGMENT_NAMES, cardiac_function
from CardioDiTLib.function.aha import level_of_slices, segment_labels, segment_layout, segment_of_angle
from CardioDiTLib.function.septum import septal_curves, slice_normal, turning_axis
from CardioDiTLib.function.wall_thickness import closed_ring, ring_thickness

TABLES = (
    *("segment_thickness_ed_mm", "segment_thickness_es_mm"),
    *("segment_thickening_percent", "segment_mass_ed_g"),
)


def ring(inner, outer, *, pixel=(1.4, 1.4), size=80, shift=(0.0, 0.0), squeeze=1.0):
    x, y = plane_mm((1, size, size), (*pixel, 1.0))
    radius = np.hypot(x - shift[0], (y - shift[1]) * squeeze)
    return np.where(radius < inner, 3, np.where(radius < outer, 2, 0)).astype(np.uint8)


@pytest.mark.parametrize("pixel", [(0.8, 0.8), (1.4, 1.4), (1.9, 1.9), (1.2, 1.8)])
@pytest.mark.parametrize(("inner", "outer"), [(24.0, 33.0), (20.0, 25.5), (10.0, 24.0)])
@pytest.mark.parametrize("shift", [(0.37, -0.61), (0.2, 0.5)])
def test_thickness_of_a_ring_within_3_percent(pixel, inner, outer, shift):
    found = ring_thickness(ring(inner, outer, pixel=pixel, shift=shift, size=110), pixel)
    assert found is not None
    assert found.mean_mm(pixel) == pytest.approx(outer - inner, rel=0.03)
    # at single points the two contours' staircases remain, each less than half a pixel
    assert np.abs(found.thickness_mm - (outer - inner)).max() < max(pixel)
    assert np.std(found.thickness_mm) < 0.3 * max(pixel)


@pytest.mark.parametrize("pixel", [1.0, 1.4, 1.9])
@pytest.mark.parametrize(("inner", "outer"), [(24.0, 33.0), (26.0, 30.0), (8.0, 20.0)])
def test_thickness_agrees_with_the_circles_of_equal_area(pixel, inner, outer):
    """What the pixels really hold: here the middle lies on a corner of the grid, where they are off by up to 4 %."""
    labels = ring(inner, outer, pixel=(pixel, pixel), size=110)
    expected = np.sqrt((labels > 0).sum() / np.pi) - np.sqrt((labels == 3).sum() / np.pi)
    found = ring_thickness(labels, (pixel, pixel))
    assert found is not None
    assert found.mean_mm((pixel, pixel)) == pytest.approx(expected * pixel, rel=0.02)


def test_thickness_of_an_eccentric_ring():
    """Inner circle 3 mm off: the wall is 9 - 3 cos(angle) thick to first order, 6 and 12 mm at the ends."""
    pixel = (1.0, 1.0)
    x, y = plane_mm((1, 110, 110), (*pixel, 1.0))
    labels = np.where(np.hypot(x - 3.0, y) < 24.0, 3, np.where(np.hypot(x, y) < 33.0, 2, 0))
    found = ring_thickness(labels, pixel)
    assert found is not None
    offset = (found.points - found.centre) * pixel
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    assert found.thickness_mm[np.abs(angle) < 0.1].mean() == pytest.approx(6.0, rel=0.04)
    assert found.thickness_mm[np.abs(angle) > np.pi - 0.1].mean() == pytest.approx(12.0, rel=0.03)


def test_a_wall_is_measured_at_right_angles_not_along_rays():
    """A flat ellipse with a wall of 8 mm: rays from the middle overestimate it by up to a fifth."""
    pixel = (0.8, 0.8)
    x, y = plane_mm((1, 140, 140), (*pixel, 1.0))
    t = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    from scipy.spatial import cKDTree

    edge = np.column_stack([32.0 * np.cos(t), 18.0 * np.sin(t)])
    distance = cKDTree(edge).query(np.column_stack([x.ravel(), y.ravel()]))[0].reshape(x.shape)
    inside = np.hypot(x / 32.0, y / 18.0) < 1
    labels = np.where(inside, 3, np.where(distance < 8.0, 2, 0))
    found = ring_thickness(labels, pixel)
    assert found is not None
    assert found.mean_mm(pixel) == pytest.approx(8.0, rel=0.03)
    assert np.abs(found.thickness_mm - 8.0).max() < 0.6


def test_only_closed_rings_are_measured():
    whole = ring(20.0, 28.0)
    assert ring_thickness(whole, (1.4, 1.4)) is not None
    small_gap, wide_gap = whole.copy(), whole.copy()
    small_gap[40, :40][small_gap[40, :40] == 2] = 0
    wide_gap[36:44, :40][wide_gap[36:44, :40] == 2] = 0
    closed = closed_ring(small_gap)
    assert closed is not None and closed[1].sum() == (whole > 0).sum()
    assert closed_ring(wide_gap) is None and ring_thickness(wide_gap, (1.4, 1.4)) is None
    assert closed_ring(np.where(whole == 2, 0, whole)) is None
    assert closed_ring(np.where(whole == 3, 0, whole)) is None
    assert closed_ring(np.zeros_like(whole)) is None


def test_stray_labels_and_holes_do_not_change_the_thickness():
    clean = ring(20.0, 28.0)
    dirty = clean.copy()
    dirty[2:5, 2:5] = 3
    dirty[70:73, 5:9] = 2
    dirty[40, 40] = 2
    a, b = (ring_thickness(labels, (1.4, 1.4)).mean_mm((1.4, 1.4)) for labels in (clean, dirty))
    assert a == b


def test_a_ring_at_the_edge_of_the_picture():
    clean = ring(20.0, 28.0)
    rows, columns = np.nonzero(clean)
    tight = clean[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert ring_thickness(tight, (1.4, 1.4)).mean_mm((1.4, 1.4)) == pytest.approx(8.0, rel=0.03)


def test_thickness_and_thickening_of_a_beating_heart():
    report = cardiac_function(*beating(wall_mm=9.0))
    assert report.wall_thickness_ed_mm == pytest.approx(9.0, rel=0.03)
    assert report.wall_thickness_es_mm == pytest.approx(12.0, rel=0.03)
    assert report.wall_thickening_percent == pytest.approx(100 / 3, abs=3)
    np.testing.assert_allclose(report.segment_thickness_ed_mm[:16], 9.0, rtol=0.05)
    np.testing.assert_allclose(report.segment_thickness_es_mm[:16], 12.0, rtol=0.05)
    assert np.isnan(report.ring_thickness_ed_mm[[0, 8, 9]]).all()
    np.testing.assert_allclose(report.ring_thickness_ed_mm[1:8], 9.0, rtol=0.05)
    assert "long axis" in report.reasons["segment_thickness_ed_mm[17]"]


def test_rings_are_measured_without_landmarks():
    segmentation, landmarks = beating()
    report = cardiac_function(segmentation)
    assert report.wall_thickness_ed_mm == cardiac_function(segmentation, landmarks).wall_thickness_ed_mm
    for name in TABLES:
        assert np.isnan(getattr(report, name)).all()
        assert report.reasons[name] == "No insertion points were given."
    assert np.isnan(report.septal_angle_deg).all() and "insertion" in report.reasons["septal_length_mm"]


# --- segments ---------------------------------------------------------------------------------------------------------


def marked(**other):
    """A heart whose wall is thickest anteriorly (up) and a little thicker on the septum (left) than laterally."""

    def wall(angle, outer):
        return outer + 2.0 * np.sin(angle) - 1.0 * np.cos(angle)

    return beating(wall=wall, **other)


def test_numbering_from_the_anatomy():
    """Up in the usual picture is anterior, left is the septum: every segment's mean lies where its name says."""
    table = cardiac_function(*marked()).segment_thickness_ed_mm
    # mean of 9 + 2 sin - cos over each segment's arc, segments centred on these angles of the usual picture
    for first in (0, 6):
        for number, degrees in enumerate((90, 150, 210, 270, 330, 30)):
            a, half = np.radians(degrees), np.radians(30)
            expected = 9.0 + (2 * np.sin(a) - np.cos(a)) * np.sin(half) / half
            assert table[first + number] == pytest.approx(expected, abs=0.35), SEGMENT_NAMES[first + number]
    for number, degrees in enumerate((90, 180, 270, 0)):
        a, half = np.radians(degrees), np.radians(45)
        expected = 9.0 + (2 * np.sin(a) - np.cos(a)) * np.sin(half) / half
        assert table[12 + number] == pytest.approx(expected, abs=0.35), SEGMENT_NAMES[12 + number]
    assert int(np.nanargmax(table)) in (0, 6, 12)


@pytest.mark.parametrize("rv", [True, False])
@pytest.mark.parametrize(
    ("flips", "transpose"),
    [((3,), False), ((2,), False), ((1,), False), ((2, 3), False), ((1, 2, 3), False), ((), True), ((1, 3), True)],
)
def test_the_same_heart_stored_otherwise_has_the_same_table(flips, transpose, rv):
    segmentation, landmarks = marked(frames=8)
    if not rv:
        array = np.where(segmentation.array == 1, 0, segmentation.array)
        segmentation = Segmentation(array, segmentation.affine, segmentation.frame_times)
    report = cardiac_function(segmentation, landmarks)
    other = cardiac_function(*stored_otherwise(segmentation, landmarks, flips=flips, transpose=transpose))
    assert np.isfinite(report.segment_thickness_ed_mm[:16]).all()
    # the crescent of these labels keeps its volume, which is told
    assert all("ventricles eject" in note for note in report.notes)
    for name in TABLES:
        np.testing.assert_allclose(getattr(other, name), getattr(report, name), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(other.septal_angle_deg, report.septal_angle_deg, atol=1e-6)
    np.testing.assert_allclose(other.septal_length_mm, report.septal_length_mm)


def test_a_heart_turned_in_the_patient_has_the_same_table():
    segmentation, landmarks = marked(frames=8)
    turn = np.eye(4)
    # as hearts lie in patients: one that stands on its head contradicts its header, and its base is not told
    turn[:3, :3] = Rotation.from_euler("xyz", (20, -15, 30), degrees=True).as_matrix()
    turned = Segmentation(segmentation.array, turn @ segmentation.affine, segmentation.frame_times)
    points = LandmarkTrack(landmarks.points @ turn[:3, :3].T + turn[:3, 3], landmarks.confidence, landmarks.frame_times)
    a, b = cardiac_function(segmentation, landmarks), cardiac_function(turned, points)
    np.testing.assert_allclose(a.segment_thickness_ed_mm, b.segment_thickness_ed_mm, rtol=1e-6)


def test_a_mirrored_heart_is_told_by_its_right_ventricle():
    """An affine that lost its handedness: the septum is still the side of the RV, and a note says so."""
    segmentation, landmarks = marked(frames=8)
    mirror = segmentation.affine.copy()
    mirror[:3, 0] *= -1
    wrong = Segmentation(segmentation.array, mirror, segmentation.frame_times)
    points = LandmarkTrack(
        wrong.index_to_ras(segmentation.ras_to_index(landmarks.points)), landmarks.confidence, landmarks.frame_times
    )
    a, b = cardiac_function(segmentation, landmarks), cardiac_function(wrong, points)
    np.testing.assert_allclose(a.segment_thickness_ed_mm, b.segment_thickness_ed_mm, rtol=1e-6)
    assert any("lost its orientation" in note for note in b.notes)


@pytest.mark.parametrize("half", [40.0, 60.0, 75.0])
def test_septal_segments_lie_between_the_insertion_points(half):
    segmentation, landmarks = beating(frames=2, half_septum_deg=half)
    rings = {z: ring_thickness(segmentation.array[0, z], SPACING[:2]) for z in range(1, 8)}
    axis, note = turning_axis(segmentation, landmarks, "first")
    assert axis is not None and not note
    layout = segment_layout(segmentation, landmarks, 0, rings, "first", axis)
    numbers = segment_labels(segmentation, layout, rings)
    x, y = plane_mm(SHAPE, SPACING)
    from_left = np.degrees(np.mod(np.arctan2(-y, x), 2 * np.pi)) - 180.0  # negative is up (anterior)
    for z, offset in ((1, 0), (2, 0), (3, 6), (5, 6)):
        septal = np.isin(numbers[z], (2 + offset, 3 + offset))
        assert np.abs(from_left[septal]).max() < half + 2
        assert (from_left[numbers[z] == 2 + offset] < 2).all() and (from_left[numbers[z] == 3 + offset] > -2).all()
        rest = (numbers[z] > 0) & ~septal
        assert np.abs(from_left[rest]).min() > half - 2
        sizes = np.bincount(numbers[z].ravel(), minlength=18)[1 + offset : 7 + offset]
        shares = sizes / sizes.sum() * 360
        others = (360 - 2 * half) / 4
        np.testing.assert_allclose(shares, [others, half, half, others, others, others], atol=4)
    assert np.abs(from_left[numbers[7] == 14]).max() < 47
    assert set(np.unique(numbers[8])) == {0, 17} and not numbers[[0, 9]].any()


def test_masses_of_the_segments_add_up():
    report = cardiac_function(*beating())
    assert np.nansum(report.segment_mass_ed_g) == pytest.approx(report.lv_mass_g)
    assert report.segment_mass_ed_g[16] == pytest.approx(np.pi * 81 * 10 / 1000 * 1.05, rel=0.05)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, (1, 1, 1)), (4, (1, 2, 1)), (6, (2, 2, 2)), (7, (2, 3, 2)), (8, (3, 2, 3)), (9, (3, 3, 3))],
)
def test_thirds(count, expected):
    levels = level_of_slices(list(range(5, 5 + count)), "first")
    assert tuple(np.bincount(list(levels.values()), minlength=3)) == expected
    assert list(levels.values()) == sorted(levels.values())
    mirrored = level_of_slices(list(range(5, 5 + count)), "last")
    assert list(mirrored.values())[::-1] == sorted(levels.values()) or sorted(mirrored.values()) == sorted(
        levels.values()
    )
    assert mirrored[5 + count - 1] == 0 and mirrored[5] == 2


def test_segment_of_an_angle():
    septum = np.radians(120)
    degrees = np.radians([1, 59, 61, 119, 121, 179, 181, 239, 241, 299, 301, 359])
    np.testing.assert_array_equal(segment_of_angle(degrees, septum, 0), [2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 1, 1])
    np.testing.assert_array_equal(
        segment_of_angle(degrees, septum, 1), np.array([2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 1, 1]) + 6
    )
    degrees = np.radians([16, 104, 106, 194, 196, 284, 286, 14])
    np.testing.assert_array_equal(segment_of_angle(degrees, septum, 2), [14, 14, 15, 15, 16, 16, 13, 13])


def test_slices_without_points_take_those_of_the_nearest():
    segmentation, landmarks = marked(frames=8)
    points = landmarks.points.copy()
    points[:, [1, 2, 5, 6, 7]] = np.nan
    points[:, 4, 1] = points[:, 4, 0] + 0.5  # two points in one place bound no septum
    few = LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), landmarks.frame_times)
    a, b = cardiac_function(segmentation, landmarks), cardiac_function(segmentation, few)
    np.testing.assert_allclose(b.segment_thickness_ed_mm[:16], a.segment_thickness_ed_mm[:16], atol=0.15)


def test_reasons_for_missing_segments():
    segmentation, landmarks = beating(frames=8)
    none = LandmarkTrack(
        np.full_like(landmarks.points, np.nan), np.zeros(landmarks.points.shape[:3]), landmarks.frame_times
    )
    report = cardiac_function(segmentation, none)
    assert "two insertion points" in report.reasons["segment_thickness_ed_mm"]
    assert "no point" in report.reasons["septal_angle_deg"]

    array = segmentation.array.copy()
    array[:, 3:] = 0
    report = cardiac_function(Segmentation(array, segmentation.affine, segmentation.frame_times), landmarks)
    assert "only 2 slices" in report.reasons["segment_thickness_ed_mm"]

    # a cylinder along the patient's axes, nothing tells which end is the base
    inner = np.zeros((8, 10))
    inner[:, 2:8] = np.linspace(24, 18, 8)[:, None]
    flat, points = ventricles(inner, np.where(inner > 0, inner + 9, 0), affine=np.diag([-1.4, -1.4, 10.0, 1.0]))
    report = cardiac_function(flat, points)
    assert "which end of the stack is the base" in report.reasons["segment_thickness_ed_mm"]
    bare = Segmentation(np.where(flat.array == 1, 0, flat.array), flat.affine, flat.frame_times)
    assert "on which side" in cardiac_function(bare, points).reasons["segment_thickness_ed_mm"]
    assert np.isfinite(report.wall_thickness_ed_mm)


# --- septum -----------------------------------------------------------------------------------------------------------


def test_septal_angle_and_length_are_those_that_were_drawn():
    frames, slices = 9, 4
    segmentation = Segmentation(
        np.zeros((frames, slices, 20, 20), np.uint8), np.diag([-1.0, -1.0, 8.0, 1.0]), np.arange(frames)
    )
    degrees = np.linspace(150, 210, frames)  # passes 180
    # the slices are axial: left is the zero, and seen from below (the apex side) up is anterior
    direction = np.stack([-np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), np.zeros(frames)], axis=1)
    start = np.array([10.0, -4.0, 0.0]) + np.arange(slices)[None, :, None] * [0, 0, 8.0] + np.zeros((frames, 1, 1))
    end = start + 40.0 * direction[:, None]
    track = LandmarkTrack(np.stack([start, end], axis=2), np.ones((frames, slices, 2)), np.arange(frames))
    curves = septal_curves(segmentation, track)
    np.testing.assert_allclose(curves.angle_deg, np.where(degrees > 180, degrees - 360, degrees), atol=1e-9)
    np.testing.assert_allclose(curves.length_mm, 40.0)
    assert ((curves.angle_deg > -180) & (curves.angle_deg <= 180)).all()
    np.testing.assert_allclose(slice_normal(segmentation), [0, 0, -1])


def test_slices_that_come_and_go_do_not_move_the_septal_curves():
    segmentation, landmarks = beating(frames=10)
    points = landmarks.points.copy()
    points[3:6, 1] = np.nan
    part = LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), landmarks.frame_times)
    always = landmarks.points[:, 2:8]
    expected = np.linalg.norm(always[:, :, 1] - always[:, :, 0], axis=-1).mean(axis=1)
    np.testing.assert_allclose(septal_curves(segmentation, part).length_mm, expected)
    points[7] = np.nan
    gap = LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), landmarks.frame_times)
    report = cardiac_function(segmentation, gap)
    assert np.isnan(report.septal_length_mm[7]) and np.isfinite(report.septal_length_mm[:7]).all()
    assert "1 of 10 frames" in report.reasons["septal_angle_deg"]
    points[0, :5], points[1, 5:] = np.nan, np.nan
    none = LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), landmarks.frame_times)
    assert "no slice holds both" in septal_curves(segmentation, none).length_reason


def test_sagittal_slices_have_a_length_and_no_angle():
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = 1.0, 1.0, 8.0, 1.0
    segmentation = Segmentation(np.zeros((2, 1, 8, 8), np.uint8), affine, [0, 1])
    points = np.zeros((2, 1, 2, 3))
    points[:, :, 1, 1] = 30.0
    curves = septal_curves(segmentation, LandmarkTrack(points, np.ones((2, 1, 2)), [0, 1]))
    np.testing.assert_allclose(curves.length_mm, 30.0)
    assert np.isnan(curves.angle_deg).all() and curves.angle_reason


def test_oblique_affine_is_what_the_tests_take_it_for():
    affine = oblique_affine(SPACING)
    seen_from_apex = np.cross(affine[:3, 0], -affine[:3, 1])
    assert seen_from_apex @ affine[:3, 2] > 0 and affine[0, 0] < 0 and affine[1, 1] < 0


def test_points_of_another_cine_are_told():
    segmentation, landmarks = beating()
    assert not any("insertion points lie" in note for note in cardiac_function(segmentation, landmarks).notes)
    for move, said in ((np.array([400.0, 0, 0]), "beside the pictures"), (None, "mm from their slices")):
        points = landmarks.points[:, ::-1] if move is None else landmarks.points + move
        confidence = landmarks.confidence[:, ::-1] if move is None else landmarks.confidence
        other = LandmarkTrack(points, confidence, landmarks.frame_times)
        told = [note for note in cardiac_function(segmentation, other).notes if "insertion points lie" in note]
        assert len(told) == 1 and said in told[0]
    # one that a user moved by hand out of its plane says nothing of the others
    points = landmarks.points.copy()
    points[0, np.flatnonzero(landmarks.found[0].all(axis=1))[0], 0] += 100.0
    moved = LandmarkTrack(points, landmarks.confidence, landmarks.frame_times)
    assert not any("insertion points lie" in note for note in cardiac_function(segmentation, moved).notes)
