"""Robust brightness range and levelling of slices."""

from __future__ import annotations

import json

import numpy as np
import pytest

from CardioDiTLib.data.intensity import IntensityRange, SliceLevels, level_slices, robust_range
from CardioDiTLib.data.phantom import make_phantom
from CardioDiTLib.errors import CardioDiTError


def test_one_hot_pixel_does_not_darken_the_cine():
    array = np.random.default_rng(0).uniform(0, 200, (8, 4, 32, 32))
    plain = robust_range(array)
    array[3, 2, 5, 5] = 1e6
    hot = robust_range(array)
    assert hot.high == pytest.approx(plain.high, rel=0.01)
    scaled = hot.scale(array)
    assert scaled.dtype == np.float32 and scaled.min() == -1.0 and scaled.max() == 1.0


def test_unscale_is_the_inverse_within_the_range():
    limits = IntensityRange(20.0, 1200.0)
    values = np.linspace(20, 1200, 50)
    np.testing.assert_allclose(limits.unscale(limits.scale(values)), values, atol=1e-3)
    assert limits.unscale(limits.scale(np.array([5000.0])))[0] == pytest.approx(1200.0)
    assert IntensityRange.from_dict(json.loads(json.dumps(limits.to_dict()))) == limits


@pytest.mark.parametrize("array", [np.full((2, 2), 7.0), np.array([1.0, np.nan]), np.zeros((0,))])
def test_blank_images_are_refused(array):
    with pytest.raises(CardioDiTError):
        robust_range(array)


def test_mostly_black_images_keep_their_full_range():
    array = np.zeros(1000)
    array[:2] = 5.0
    assert robust_range(array) == IntensityRange(0.0, 5.0)


def test_gains_of_single_slices_are_found_and_put_back():
    array = make_phantom().cine.array
    gains = np.array([1.0, 1.5, 0.7, 1.2, 0.8, 1.4, 1.0, 0.6, 1.3, 0.9])
    spoilt = array * gains[None, :, None, None].astype(np.float32)
    _, natural = level_slices(array)
    levelled, levels = level_slices(spoilt)
    # What is found beyond the phantom's own differences between slices is what was done to it.
    found = np.asarray(levels.gains) / np.asarray(natural.gains)
    np.testing.assert_allclose(found / found.mean(), gains / gains.mean(), rtol=0.08)
    assert np.abs(np.log(natural.gains)).max() < 0.2
    np.testing.assert_allclose(levels.undo(levelled), spoilt, rtol=1e-4, atol=1e-2)
    restored = SliceLevels.from_dict(json.loads(json.dumps(levels.to_dict())))
    np.testing.assert_allclose(restored.apply(spoilt), levelled)


def test_levelling_never_changes_the_motion_within_a_slice():
    array = make_phantom().cine.array
    levelled, levels = level_slices(array)
    change, original = levelled[5] - levelled[0], array[5] - array[0]
    np.testing.assert_allclose(change * np.asarray(levels.gains)[:, None, None], original, rtol=1e-3, atol=0.05)
