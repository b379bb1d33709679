"""Outliers out, gaps filled, points kept nearly where they were."""

from __future__ import annotations

import numpy as np
import pytest
from landmark_hearts import changed, heart, moving_track

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import TrackingSettings, track_landmarks


def distances(one, other) -> np.ndarray:
    return np.linalg.norm(one.points - other.points, axis=-1)


def test_smooth_motion_is_left_alone():
    truth = moving_track()
    tracked = track_landmarks(truth)
    assert tracked.meta["tracking"]["outliers"] == 0 and tracked.meta["tracking"]["filled"] == 0
    assert distances(tracked, truth).max() < 0.3
    np.testing.assert_array_equal(tracked.confidence, truth.confidence)
    assert tracked.meta["source"] == "made up" and (tracked.frame_times == truth.frame_times).all()


def test_planted_outliers_are_replaced_and_their_neighbours_kept():
    truth = moving_track()
    points = truth.points.copy()
    planted = [(0, 2, 0), (7, 0, 1), (8, 3, 0), (15, 5, 1), (19, 2, 0)]  # first, last and neighbouring frames too
    rng = np.random.default_rng(1)
    for place in planted:
        direction = rng.normal(size=3)
        points[place] += 30.0 * direction / np.linalg.norm(direction)
    confidence = np.full(points.shape[:3], 0.8)
    tracked = track_landmarks(changed(truth, points, confidence))
    about = tracked.meta["tracking"]
    assert (about["outliers"], about["replaced"], about["filled"]) == (5, 5, 0)
    assert distances(tracked, truth).max() < 2.5
    marked = np.zeros(points.shape[:3], bool)
    marked[tuple(np.array(planted).T)] = True
    assert (tracked.confidence[marked] < 0.3).all() and (tracked.confidence[marked] > 0).all()
    np.testing.assert_array_equal(tracked.confidence[~marked], 0.8)


def test_swapped_names_in_one_frame_are_noticed():
    truth = moving_track()
    points = truth.points.copy()
    points[5, 1] = points[5, 1, ::-1]
    tracked = track_landmarks(changed(truth, points))
    assert tracked.meta["tracking"]["outliers"] == 2
    assert distances(tracked, truth).max() < 2.5


def test_a_slice_that_is_wrong_all_the_time_is_found_by_its_neighbours():
    truth = moving_track()
    points = truth.points.copy()
    points[:, 2, 0] += (0.0, 0.0, 40.0)
    tracked = track_landmarks(changed(truth, points))
    assert tracked.meta["tracking"]["outliers"] == truth.n_frames
    assert distances(tracked, truth).max() < 2.5
    assert (tracked.confidence[:, 2, 0] < 0.5).all() and (tracked.confidence[:, 2, 1] == 1).all()


def test_short_gaps_are_filled_with_less_confidence_and_long_ones_stay():
    truth = moving_track()
    points = truth.points.copy()
    points[19, 1, 0] = points[0, 1, 0] = np.nan  # across the turn of the cycle
    points[4:10, 5, 1] = np.nan  # six frames, in the last slice
    tracked = track_landmarks(changed(truth, points))
    assert tracked.found[[19, 0], 1, 0].all()
    np.testing.assert_allclose(tracked.confidence[[19, 0], 1, 0], 0.3)
    assert distances(tracked, truth)[[19, 0], 1, 0].max() < 1.0
    assert not tracked.found[4:10, 5, 1].any() and (tracked.confidence[4:10, 5, 1] == 0).all()
    assert tracked.meta["tracking"]["filled"] == 2


def test_without_a_period_nothing_is_filled_across_the_ends():
    truth = moving_track()
    points = truth.points.copy()
    points[19, 5, 0] = points[0, 5, 0] = np.nan
    tracked = track_landmarks(changed(truth, points), TrackingSettings(periodic=False))
    assert not tracked.found[[19, 0], 5, 0].any()
    assert tracked.found.sum() == truth.found.sum() - 2


def test_nothing_is_invented_beyond_the_ends_of_the_stack():
    truth = moving_track()
    points = truth.points.copy()
    points[:, 0] = np.nan
    points[:, 4:] = np.nan
    tracked = track_landmarks(changed(truth, points))
    assert not tracked.found[:, 0].any() and not tracked.found[:, 4:].any() and tracked.found[:, 1:4].all()


def test_a_missing_slice_is_filled_between_two_or_left():
    truth = moving_track()
    points = truth.points.copy()
    points[:, 2, 1] = np.nan
    missing = changed(truth, points)
    tracked = track_landmarks(missing)
    assert distances(tracked, truth)[:, 2, 1].max() < 1.0
    np.testing.assert_allclose(tracked.confidence[:, 2, 1], 0.3)
    left = track_landmarks(missing, TrackingSettings(fill_gap_slices=False))
    assert not left.found[:, 2, 1].any()


def test_noise_is_reduced_and_no_kept_point_moves_farther_than_it_may():
    truth = moving_track()
    rng = np.random.default_rng(5)
    noisy = changed(truth, truth.points + rng.normal(scale=0.8, size=truth.points.shape))
    for limit in (1.5, 0.4, 0.0):
        tracked = track_landmarks(noisy, TrackingSettings(largest_shift_mm=limit))
        assert tracked.meta["tracking"]["outliers"] == 0
        assert distances(tracked, noisy).max() <= limit + 1e-9
    tracked = track_landmarks(noisy)
    assert distances(tracked, truth).mean() < 0.85 * distances(noisy, truth).mean()


def test_unsure_points_pull_less():
    truth = moving_track()
    points, confidence = truth.points.copy(), truth.confidence.copy()
    points[6, 2, 0] += (5.0, 0.0, 0.0)
    sure = track_landmarks(changed(truth, points, confidence))
    confidence[6, 2, 0] = 0.05
    unsure = track_landmarks(changed(truth, points, confidence))
    assert distances(unsure, truth)[7, 2, 0] < 0.5 * distances(sure, truth)[7, 2, 0]


def test_a_turned_cycle_gives_a_turned_track():
    truth = moving_track()
    points = truth.points.copy()
    points[3, 1, 0] += 25.0
    points[10:12, 4, 1] = np.nan
    tracked = track_landmarks(changed(truth, points))
    rolled = track_landmarks(changed(truth, np.roll(points, 7, axis=0)))
    np.testing.assert_allclose(rolled.points, np.roll(tracked.points, 7, axis=0), atol=1e-9)
    np.testing.assert_allclose(rolled.confidence, np.roll(tracked.confidence, 7, axis=0), atol=1e-12)


@pytest.mark.parametrize(("frames", "slices"), [(1, 1), (2, 1), (1, 2), (2, 6), (4, 2)])
def test_few_frames_and_slices_are_left_as_they_are(frames, slices):
    truth = moving_track(frames, slices)
    np.testing.assert_allclose(track_landmarks(truth).points, truth.points)


def test_an_outlying_slice_of_a_pair_of_phases_is_lost_or_bridged():
    truth = moving_track(2, 6)
    points = truth.points.copy()
    points[1, 3, 0] += (0.0, 60.0, 0.0)
    tracked = track_landmarks(changed(truth, points))
    assert tracked.meta["tracking"]["outliers"] == 1
    assert distances(tracked, truth)[1, 3, 0] < 1.0 and tracked.confidence[1, 3, 0] < 0.5


def test_an_empty_track_stays_empty():
    truth = moving_track()
    empty = changed(truth, np.full(truth.points.shape, np.nan))
    assert not track_landmarks(empty).found.any()


def test_points_of_a_segmentation_can_be_followed():
    track = landmarks_from_segmentation(heart(shape=(12, 5, 72, 64)))
    tracked = track_landmarks(track)
    assert (tracked.found == track.found).all()
    assert np.nanmax(distances(tracked, track)) <= 1.5 + 1e-9
    assert set(tracked.meta) >= {"landmarks", "tracking", "source"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_frames": 0},
        {"window_frames": 1.5},
        {"longest_gap_frames": -1},
        {"temporal_limit_mm": -1.0},
        {"largest_shift_mm": float("nan")},
        {"filled_confidence": 1.5},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(CardioDiTError, match=next(iter(wrong))):
        TrackingSettings(**wrong)
