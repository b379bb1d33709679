"""Augmentation: one draw a cine, and time is never mixed with space."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.data.augment import AugmentationDraw, CineAugmentation
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError

SPACING = (1.5, 1.5, 10.0)
SPATIAL = CineAugmentation(gamma=(1, 1), gain=(1, 1), offset=0, field=0, noise_sd=(0, 0))


def dot_centres(array):
    """Centre of mass (x, y) of what is brighter than black, a frame and slice."""
    mass = array + 1.0
    yy, xx = np.mgrid[: array.shape[2], : array.shape[3]]
    total = mass.sum(axis=(2, 3))
    return np.stack([(mass * xx).sum(axis=(2, 3)), (mass * yy).sum(axis=(2, 3))], axis=-1) / total[..., None]


def resting_dot(frames=12, slices=3):
    array = np.full((frames, slices, 64, 64), -1.0, np.float32)
    array[:, :, 20:23, 40:43] = 1.0
    return array


@pytest.mark.parametrize("seed", range(5))
def test_a_resting_dot_rests_in_every_frame_and_slice(seed):
    array, _ = SPATIAL(resting_dot(), np.random.default_rng(seed), spacing_mm=SPACING)
    centres = dot_centres(array)
    assert np.ptp(centres, axis=(0, 1)).max() < 1e-4
    assert np.hypot(*(centres[0, 0] - (41, 21))) > 0.5  # it was moved, though


@pytest.mark.parametrize("seed", range(3))
def test_brightness_does_not_change_over_time_either(seed):
    augment = CineAugmentation(noise_sd=(0, 0))
    still = np.repeat(make_phantom(PhantomSpec(frames=2, slices=4)).cine.array[:1] / 500 - 1, 6, axis=0)
    result, _ = augment(np.clip(still, -1, 1), np.random.default_rng(seed), spacing_mm=SPACING)
    np.testing.assert_array_equal(result, np.repeat(result[:1], 6, axis=0))


def test_labels_move_with_the_images():
    phantom = make_phantom(PhantomSpec(frames=4, slices=4))
    blood = np.where(phantom.segmentation.array == 3, 1.0, -1.0).astype(np.float32)
    for seed in range(5):
        image, labels = SPATIAL(blood, np.random.default_rng(seed), phantom.segmentation.array, SPACING)
        assert labels.dtype == np.uint8 and set(np.unique(labels)) <= {0, 1, 2, 3}
        overlap = ((image > 0) & (labels == 3)).sum() * 2 / ((image > 0).sum() + (labels == 3).sum())
        assert overlap > 0.985


def test_the_turn_is_counter_clockwise_as_displayed_and_rigid_in_mm():
    array = np.full((2, 1, 65, 65), -1.0, np.float32)
    array[:, :, 31:34, 51:54] = 1.0  # right of the middle
    turned = AugmentationDraw(rotation_deg=90.0, order=1).apply(array)
    np.testing.assert_allclose(dot_centres(turned)[0, 0], (32, 12), atol=0.01)  # above the middle
    wide = AugmentationDraw(rotation_deg=90.0, order=1).apply(array, (1.0, 2.0, 10.0))
    np.testing.assert_allclose(dot_centres(wide)[0, 0], (32, 22), atol=0.3)  # 20 mm are 10 rows of 2 mm


def test_shift_scale_and_mirror():
    array = resting_dot()
    moved = AugmentationDraw(shift_mm=(6.0, -3.0)).apply(array, SPACING)
    np.testing.assert_allclose(dot_centres(moved)[0, 0], (45, 19), atol=0.01)
    grown = AugmentationDraw(scale=1.2, order=1).apply(array, SPACING)
    np.testing.assert_allclose(dot_centres(grown)[0, 0], (31.5 + 1.2 * 9.5, 31.5 - 1.2 * 10.5), atol=0.1)
    mirrored = AugmentationDraw(mirror=True).apply(array, SPACING)
    np.testing.assert_allclose(mirrored, array[..., ::-1], atol=1e-6)


def test_mirroring_and_cycle_shift_are_off_unless_asked_for():
    rng = np.random.default_rng(0)
    draws = [CineAugmentation().draw(rng) for _ in range(200)]
    assert not any(draw.mirror or draw.cycle_shift for draw in draws)
    asked = [CineAugmentation(mirror=True, cycle_shift=True).draw(rng) for _ in range(200)]
    assert 60 < sum(draw.mirror for draw in asked) < 140
    assert all(0 <= draw.cycle_shift < 1 for draw in asked)


def test_cycle_shift_rolls_images_and_labels_alike():
    array = np.linspace(-1, 1, 8, dtype=np.float32)[:, None, None, None] * np.ones((8, 2, 6, 6), np.float32)
    draw = AugmentationDraw(cycle_shift=0.25)
    np.testing.assert_allclose(draw.apply(array), np.roll(array, 2, axis=0), atol=1e-6)
    labels = (np.arange(8)[:, None, None, None] % 4 * np.ones((8, 2, 6, 6))).astype(np.uint8)
    np.testing.assert_array_equal(draw.apply_labels(labels), np.roll(labels, 2, axis=0))


def test_draws_stay_within_their_ranges_and_use_them():
    augment, rng = CineAugmentation(), np.random.default_rng(3)
    draws = [augment.draw(rng) for _ in range(500)]
    angles = [draw.rotation_deg for draw in draws]
    assert -15 <= min(angles) < -13 and 13 < max(angles) <= 15
    assert all(0.9 <= draw.scale <= 1.1 and 0.8 <= draw.gamma <= 1.25 for draw in draws)
    fields = np.log([draw.brightness_field((3, 9, 9)) for draw in draws[:50]])
    assert 0.02 < np.abs(fields).max() <= augment.field


def test_the_generator_handed_in_decides():
    array = np.random.default_rng(9).uniform(-1, 1, (3, 2, 32, 32)).astype(np.float32)
    augment = CineAugmentation()
    one, two = (augment(array, np.random.default_rng(5))[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.random.seed(0)  # noqa: NPY002  (the global generator must not matter)
    np.testing.assert_array_equal(augment(array, np.random.default_rng(5))[0], one)
    assert not np.array_equal(augment(array, np.random.default_rng(6))[0], one)
    off = CineAugmentation(rotation_deg=0.0).draw(np.random.default_rng(5))
    assert off.scale == augment.draw(np.random.default_rng(5)).scale


def test_the_input_is_left_alone_and_the_output_in_range():
    array = np.random.default_rng(9).uniform(-1, 1, (3, 2, 32, 32)).astype(np.float32)
    before = array.copy()
    result, _ = CineAugmentation(noise_sd=(0.5, 0.5))(array, np.random.default_rng(0))
    AugmentationDraw().apply(array)
    np.testing.assert_array_equal(array, before)
    assert result.dtype == np.float32 and result.min() >= -1 and result.max() <= 1
    np.testing.assert_allclose(AugmentationDraw().apply(array), array, atol=1e-6)


@pytest.mark.parametrize("change", [{"scale": (1.1, 0.9)}, {"gamma": (0.0, 1.0)}, {"rotation_deg": -1.0}])
def test_impossible_ranges_are_refused(change):
    with pytest.raises(CardioDiTError):
        CineAugmentation(**change)


def test_a_single_volume_is_refused():
    with pytest.raises(CardioDiTError):
        AugmentationDraw().apply(np.zeros((3, 8, 8), np.float32))
