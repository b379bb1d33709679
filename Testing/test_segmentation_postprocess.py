"""Planted errors are removed, real hearts are left alone, end-systole is not blurred."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.segmentation.postprocess import (
    TemporalLabelFilter,
    clean_labels,
    dice_per_label,
    extreme_frames,
    outside_the_wall,
)

SPACING = (2.0, 2.0, 10.0)


@pytest.fixture(scope="module")
def heart():
    """(T, Z, Y, X) labels of a beating phantom, apex and base included."""
    spec = PhantomSpec(frames=20, slices=11, height=96, width=96, spacing_mm=SPACING, ejection_fraction=0.65)
    labels = make_phantom(spec).segmentation.array
    labels.setflags(write=False)
    return labels


def test_a_heart_stays_as_it_is(heart):
    np.testing.assert_array_equal(clean_labels(heart, SPACING), heart)


def test_shifted_slices_still_belong_together(heart):
    shifted = np.stack([np.roll(heart[:, z], 2 if z % 2 else 0, axis=2) for z in range(heart.shape[1])], axis=1)
    np.testing.assert_array_equal(clean_labels(shifted, SPACING), shifted)


def test_islands_of_every_label_are_removed(heart):
    wrong = heart.copy()
    for label, row in ((1, 4), (2, 14), (3, 84)):
        wrong[3:6, 2:5, row : row + 6, 4:10] = label
    np.testing.assert_array_equal(clean_labels(wrong, SPACING), heart)


def test_a_cavity_in_another_run_of_slices_is_removed(heart):
    wrong = heart.copy()
    used = (heart[0] == 3).any(axis=(1, 2)).nonzero()[0]
    gap = used[len(used) // 2 :][:2]
    wrong[0, gap] = 0
    cleaned = clean_labels(wrong, SPACING)[0]
    left = (cleaned == 3).any(axis=(1, 2)).nonzero()[0]
    assert len(left) and (np.diff(left) == 1).all()
    assert (cleaned[left] == wrong[0, left]).all()


def test_one_missing_slice_does_not_cost_the_apex(heart):
    wrong = heart.copy()
    used = (heart[0] == 3).any(axis=(1, 2)).nonzero()[0]
    wrong[0, used[len(used) // 2]] = 0
    np.testing.assert_array_equal(clean_labels(wrong, SPACING), wrong)


def test_holes_are_filled_with_what_is_around(heart):
    wrong = heart.copy()
    middle = int((heart[0] == 3).sum(axis=(1, 2)).argmax())
    ys, xs = (heart[0, middle] == 3).nonzero()
    y, x = round(ys.mean()), round(xs.mean())
    wrong[0, middle, y - 2 : y + 1, x - 2 : x + 1] = 0
    wrong[1, middle, y - 1 : y + 2, x : x + 2] = 2
    systole = int((heart == 3).sum(axis=(1, 2, 3)).argmin())  # the wall is thickest
    muscle = heart[systole, 5] == 2
    cross = [muscle, *(np.roll(muscle, shift, axis) for shift in (-1, 1) for axis in (0, 1))]
    wrong[systole, 5][tuple(np.argwhere(np.all(cross, axis=0))[0])] = 0
    assert (wrong != heart).sum() == 9 + 6 + 1
    np.testing.assert_array_equal(clean_labels(wrong, SPACING), heart)


def test_a_ring_without_a_cavity_gets_one(heart):
    wrong = heart.copy()
    used = (heart[0] == 3).any(axis=(1, 2)).nonzero()[0]
    last = used[-2]
    wrong[0, last][wrong[0, last] == 3] = 0
    np.testing.assert_array_equal(clean_labels(wrong, SPACING), heart)


def test_the_right_ventricle_lies_next_to_the_septum(heart):
    wrong = heart.copy()
    where = heart == 1
    for t in range(len(wrong)):  # a liver much larger than the ventricle
        wrong[t, :, 60:94, 2:14] = np.where(wrong[t, :, 60:94, 2:14] == 0, 1, wrong[t, :, 60:94, 2:14])
    assert ((wrong == 1) & ~where).sum() > where[0].sum()
    np.testing.assert_array_equal(clean_labels(wrong, SPACING), heart)


def test_nothing_and_only_a_right_ventricle_are_possible():
    empty = np.zeros((2, 3, 20, 20), np.uint8)
    assert not clean_labels(empty, SPACING).any()
    empty[:, 1, 5:12, 5:12] = 1
    np.testing.assert_array_equal(clean_labels(empty, SPACING), empty)


def probabilities(labels, sure=0.9):
    """(Z, 4, Y, X) of a frame."""
    probabilities = np.full((4, *labels.shape), (1 - sure) / 3, np.float32)
    for label in range(4):
        probabilities[label][labels == label] = sure
    return probabilities.transpose(1, 0, 2, 3)


def repaired(labels, sure=None):
    repair = TemporalLabelFilter(len(labels))
    for t, frame in enumerate(labels):
        repair.add(frame, probabilities(frame, (sure or {}).get(t, 0.9)))
    return repair.apply(labels)


def volumes(labels, label=3):
    return (labels == label).sum(axis=(1, 2, 3))


def test_end_systole_and_end_diastole_are_not_blurred(heart):
    """Coarse in time the rim moves in for one frame and out again, which a plain median undoes."""
    for every in (1, 2):
        beat = heart[::every]
        found = clean_labels(repaired(beat), SPACING)
        for label in (1, 3):
            before, after = volumes(beat, label), volumes(found, label)
            assert after.min() == before.min() and after.max() == before.max()
            assert after.argmin() == before.argmin()
            assert np.abs(after - before).max() <= 0.02 * before.max()


def test_a_plain_median_would_fail_that_test(heart):
    beat = heart[::2]
    around = np.stack([np.roll(beat == 3, shift, axis=0) for shift in (-1, 0, 1)])
    assert np.median(around, axis=0).sum(axis=(1, 2, 3)).min() > 1.02 * volumes(beat).min()


@pytest.mark.parametrize("frame", [0, 1, 12, 19])
def test_a_flicker_of_one_frame_is_undone_round_the_cycle(heart, frame):
    wrong = heart.copy()
    wrong[frame, 5][wrong[frame, 5] == 3] = 0
    found = repaired(wrong, {frame: 0.5})
    lost = int((heart[frame, 5] == 3).sum())
    assert (found[frame, 5] != heart[frame, 5]).sum() < 0.15 * lost


def test_what_lasts_two_frames_or_is_sure_beside_unsure_frames_stays(heart):
    wrong = heart.copy()
    wrong[11:13, 5][wrong[11:13, 5] == 3] = 0
    found = repaired(wrong)
    assert (found[11:13, 5] == 3).sum() < 0.1 * (heart[11:13, 5] == 3).sum()


def test_a_missing_piece_does_not_pass_for_end_systole(heart):
    curve = volumes(heart).astype(int)
    true = int(curve.argmin())
    curve[15] = 0
    assert extreme_frames(curve) == {true, int(np.argmax(curve))} and 15 not in extreme_frames(curve)
    assert extreme_frames(np.zeros(8, int)) == set()


def test_short_cycles_are_left_alone(heart):
    few = heart[::4].copy()
    few[2] = 0
    np.testing.assert_array_equal(repaired(few), few)


def test_memory_does_not_grow_with_the_number_of_frames():
    rng = np.random.default_rng(0)
    labels = np.zeros((4, 40, 40), np.uint8)
    peaks = []
    for frames in (8, 64):
        repair = TemporalLabelFilter(frames)
        tracemalloc.start()
        for _ in range(frames):
            repair.add(labels, rng.random((4, 4, 40, 40), dtype=np.float32))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_dice():
    truth = np.array([0, 1, 1, 2, 2, 0])
    found = np.array([0, 1, 0, 2, 2, 2])
    scores = dice_per_label(found, truth)
    assert scores["RV"] == pytest.approx(2 / 3) and scores["myocardium"] == pytest.approx(0.8)
    assert np.isnan(scores["LV"])


def test_an_uncertain_rim_is_no_wall():
    probabilities = np.zeros((1, 4, 8, 8), np.float32)
    probabilities[0, 2], probabilities[0, 0, :, :4] = 0.7, 0.3  # 0.43 of the muscle's
    probabilities[0, 0, :, 4:], probabilities[0, 1, :, 4:] = 0.2, 0.1
    labels = probabilities.argmax(axis=1).astype(np.uint8)
    assert (labels == 2).all()
    gone = outside_the_wall(labels, probabilities)
    assert gone[0, :, :4].all() and not gone[0, :, 4:].any()
    labels[:] = 3
    assert not outside_the_wall(labels, probabilities).any()
