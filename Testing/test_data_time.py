"""One cycle is one period: periodic resampling, repetition, and end-diastole."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.data.time import (
    cycle_seconds,
    end_diastole_from_images,
    end_diastole_from_labels,
    repeat_cycle,
    resample_cycle,
    roll_to_end_diastole,
)
from CardioDiTLib.errors import CardioDiTError

SMOOTH = ("monotone", "linear", "cubic", "fourier")


def wave(phase):
    return 100 + 30 * np.cos(2 * np.pi * phase) + 10 * np.sin(4 * np.pi * phase)


@pytest.mark.parametrize(
    ("method", "tolerance"), [("fourier", 1e-4), ("cubic", 1.0), ("monotone", 3.0), ("linear", 4.0)]
)
def test_twelve_frames_become_sixteen_of_exactly_one_cycle(method, tolerance):
    source = wave(np.arange(12) / 12)
    result = resample_cycle(source, 16, method=method)
    np.testing.assert_allclose(result, wave(np.arange(16) / 16), atol=tolerance)
    # Every quarter of the cycle falls on a recorded frame, which comes back untouched.
    np.testing.assert_allclose(result[[0, 4, 8, 12]], source[[0, 3, 6, 9]], atol=1e-4)


@pytest.mark.parametrize("method", SMOOTH)
def test_last_frame_joins_the_first_as_neighbours_do(method):
    result = resample_cycle(wave(np.arange(12) / 12), 48, method=method)
    steps = np.abs(np.diff(np.append(result, result[0])))
    assert steps[-1] <= steps.max() and steps.max() < 8.0


@pytest.mark.parametrize("method", (*SMOOTH, "nearest"))
def test_same_frames_come_back_unchanged(method):
    array = np.random.default_rng(0).normal(size=(11, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(resample_cycle(array, 11, method=method), array, atol=1e-5)


def test_the_default_does_not_ring_where_a_border_passes():
    square = np.zeros(20)
    square[5:12] = 1.0
    kept = resample_cycle(square, 37)
    assert kept.min() >= 0.0 and kept.max() <= 1.0
    assert resample_cycle(square, 37, method="fourier").max() > 1.1


@pytest.mark.parametrize("method", SMOOTH)
def test_uneven_frame_times_give_the_true_curve(method):
    times = np.arange(24) * 0.04 + 0.03 * np.sin(np.pi * np.arange(24) / 24) ** 2
    values = wave(times / 0.96)
    even = resample_cycle(values, 32, frame_times=times, cycle_s=0.96, method=method)
    np.testing.assert_allclose(even, wave(np.arange(32) / 32), atol=2.0)
    ignored = resample_cycle(values, 32, method=method)
    assert np.abs(ignored - wave(np.arange(32) / 32)).max() > 4.0


def test_the_cycle_includes_the_last_frame():
    assert cycle_seconds(np.arange(20) * 0.05) == pytest.approx(1.0)
    assert cycle_seconds([0.0, 0.1, 0.9]) == pytest.approx(1.35)
    assert cycle_seconds([0.0, 0.01, 0.02, 0.9]) == pytest.approx(0.91)


def test_there_and_back_through_other_phases():
    source = wave(np.arange(20) / 20)
    grid = resample_cycle(source, 16, method="fourier", start_phase=7 / 20)
    back = resample_cycle(grid, method="fourier", target_phases=np.arange(20) / 20 - 7 / 20)
    np.testing.assert_allclose(back, source, atol=1e-3)


def test_labels_stay_labels():
    labels = np.random.default_rng(0).integers(0, 4, (10, 2, 5, 5)).astype(np.uint8)
    result = resample_cycle(labels, 16, method="nearest")
    assert result.dtype == np.uint8 and result.shape == (16, 2, 5, 5)
    np.testing.assert_array_equal(result[8], labels[5])


def test_repetition_is_the_published_one():
    array = np.arange(12)
    np.testing.assert_array_equal(repeat_cycle(array, 16), [*range(12), 0, 1, 2, 3])
    np.testing.assert_array_equal(resample_cycle(array, 32, method="repeat"), np.arange(32) % 12)
    np.testing.assert_array_equal(repeat_cycle(np.arange(40), 32), np.arange(32))


def test_fourier_drops_what_fewer_frames_cannot_hold():
    phase = np.arange(32) / 32
    source = np.cos(2 * np.pi * phase) + np.cos(2 * np.pi * 12 * phase)
    np.testing.assert_allclose(
        resample_cycle(source, 16, method="fourier"), np.cos(2 * np.pi * np.arange(16) / 16), atol=1e-5
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_frames": 8, "method": "sinc"},
        {"n_frames": 0},
        {},
        {"n_frames": 8, "frame_times": [0.0, 0.1]},
        {"n_frames": 8, "frame_times": np.arange(6) * 0.1, "cycle_s": 0.2},
        {"n_frames": 8, "frame_times": [0.0, 0.2, 0.1, 0.3, 0.4, 0.5]},
    ],
)
def test_what_makes_no_sense_is_refused(arguments):
    with pytest.raises(CardioDiTError):
        resample_cycle(np.zeros((6, 2)), **arguments)


def test_fourier_refuses_hopelessly_uneven_frames():
    times = np.append(np.arange(9) * 0.01, 0.9)
    with pytest.raises(CardioDiTError, match="unevenly"):
        resample_cycle(np.zeros(10), 8, frame_times=times, cycle_s=1.0, method="fourier")


def test_roll_to_end_diastole():
    np.testing.assert_array_equal(roll_to_end_diastole(np.arange(5), 3), [3, 4, 0, 1, 2])
    np.testing.assert_array_equal(roll_to_end_diastole(np.arange(5), None), np.arange(5))


def test_end_diastole_from_labels_is_the_largest_cavity():
    labels = np.zeros((6, 2, 10, 10), np.uint8)
    for frame, size in enumerate((5, 6, 8, 7, 4, 3)):
        labels[frame, :, :size, :size] = 3
    assert end_diastole_from_labels(labels) == 2
    labels[[0, 1, 3, 4]] = 0
    assert end_diastole_from_labels(labels) == 2
    labels[5] = 0
    assert end_diastole_from_labels(labels) is None
    assert end_diastole_from_labels(np.full((4, 2, 5, 5), 3, np.uint8)) is None


def test_end_diastole_is_not_told_where_nothing_tells_it():
    spacing, centre = (1.5, 1.5, 10.0), (32.0, 32.0)
    noise = np.random.default_rng(0).normal(100, 20, (16, 4, 64, 64))
    assert end_diastole_from_images(noise, spacing, centre) is None
    assert end_diastole_from_images(np.ones((16, 4, 64, 64)), spacing, centre) is None
    assert end_diastole_from_images(noise[:3], spacing, centre) is None
