"""The digital phantom: its truths are true."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.data.phantom import PhantomSpec, contraction, make_phantom
from CardioDiTLib.errors import CardioDiTError


@pytest.fixture(scope="module")
def fine():
    """Thin slices and no base motion, so that counting voxels measures the formula."""
    return make_phantom(
        PhantomSpec(frames=8, slices=60, spacing_mm=(1.5, 1.5, 2.0), shortening_mm=0.0, ejection_fraction=0.55)
    )


def volumes(phantom, label):
    return (phantom.segmentation.array == label).sum(axis=(1, 2, 3)) * phantom.cine.voxel_volume_ml


def test_labels_hold_the_volume_asked_for(fine):
    np.testing.assert_allclose(volumes(fine, 3), fine.lv_volume_ml, rtol=0.015)
    assert fine.lv_volume_ml.max() == pytest.approx(140.0)
    assert 1 - fine.lv_volume_ml.min() / fine.lv_volume_ml.max() == pytest.approx(0.55)


def test_muscle_is_neither_made_nor_lost(fine):
    muscle = volumes(fine, 2)
    assert np.ptp(muscle) < 0.02 * muscle.mean()


def test_right_ventricle_empties_too(fine):
    right = volumes(fine, 1)
    assert 0.3 < 1 - right.min() / right.max() < 0.7


def test_insertion_points_touch_both_ventricles_outer_borders(fine):
    index = fine.cine.ras_to_index(fine.landmarks.points[0])
    labels = fine.segmentation.array[0]
    checked = 0
    for z in range(labels.shape[0]):
        if not fine.landmarks.found[0, z].all() or (labels[z] == 1).sum() < 200:
            continue
        for side in range(2):
            x, y, k = index[z, side]
            assert k == pytest.approx(z, abs=1e-6)
            around = labels[z, int(y) - 2 : int(y) + 4, int(x) - 2 : int(x) + 4]
            assert {0, 1, 2} <= set(np.unique(around))
            checked += 1
        assert index[z, 0, 1] < index[z, 1, 1]  # anterior above inferior in the picture
    assert checked > 40


def test_the_curve_starts_at_rest_is_periodic_and_peaks_at_systole():
    assert contraction(0.0) == 0.0 and contraction(1.0) == 0.0
    assert contraction(0.4, systole=0.4) == pytest.approx(1.0)
    fineness = contraction(np.linspace(0, 1, 400))
    assert fineness.min() >= 0 and fineness.max() <= 1 and np.abs(np.diff(fineness)).max() < 0.03


def test_blood_is_bright_and_muscle_dark():
    phantom = make_phantom(PhantomSpec(frames=4))
    image, labels = phantom.cine.array, phantom.segmentation.array
    assert image[labels == 3].mean() > 2 * image[labels == 2].mean() > 0


def test_any_frames_slices_spacing_septum_and_start():
    spec = PhantomSpec(
        frames=25,
        slices=7,
        height=90,
        width=110,
        spacing_mm=(2.0, 1.8, 12.0),
        end_diastole=9,
        septum_deg=120.0,
        base_first=False,
    )
    phantom = make_phantom(spec)
    assert phantom.cine.array.shape == (25, 7, 90, 110)
    assert phantom.cine.spacing == pytest.approx((2.0, 1.8, 12.0))
    assert int(np.argmax(phantom.lv_volume_ml)) == 9
    right = np.argwhere(phantom.segmentation.array[9] == 1)[:, 1:].mean(axis=0)
    left = np.argwhere(phantom.segmentation.array[9] == 3)[:, 1:].mean(axis=0)
    assert right[0] < left[0] and right[1] < left[1]  # up and to the left
    area = (phantom.segmentation.array[9] == 3).sum(axis=(1, 2))
    assert area[:3].sum() < area[-3:].sum()


def test_the_same_seed_gives_the_same_phantom():
    one, two, other = (make_phantom(PhantomSpec(frames=3, slices=3, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.cine.array, two.cine.array)
    assert not np.array_equal(one.cine.array, other.cine.array)


def test_impossible_hearts_are_refused():
    with pytest.raises(CardioDiTError):
        PhantomSpec(ejection_fraction=1.2)
    with pytest.raises(CardioDiTError):
        make_phantom(affine=np.eye(4))
