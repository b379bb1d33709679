"""A frame in which the labels failed is no end-systole."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.phantom import make_phantom
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.function.failed_frames import failed_frames, sureness_note


def beating(frames: int) -> np.ndarray:
    labels = np.zeros((frames, 8, 48, 48), np.uint8)
    labels[:, 1:7, 8:40, 10:40] = 2
    labels[:, 1:7, 12:36, 4:10] = 1
    for t in range(frames):
        half = round(10 - 3 * np.sin(np.pi * t / frames))
        labels[t, 1:7, 24 - half : 24 + half, 24 - half : 24 + half] = 3
    return labels


def measured(labels: np.ndarray):
    whole = Segmentation(labels, np.diag([1.5, 1.5, 10.0, 1.0]), np.arange(len(labels)) * 0.05)
    return cardiac_function(whole, stack_covers_heart=True)


@pytest.mark.parametrize("left", [1, 3, 300])
def test_a_failed_frame_is_left_out_with_a_note(left):
    sound = measured(beating(20))
    labels = beating(20)
    cavity = np.argwhere(labels[7] == 3)
    for z, y, x in cavity[left:]:
        labels[7, z, y, x] = 2
    report = measured(labels)
    assert report.ef_percent == sound.ef_percent and report.esv_ml == sound.esv_ml
    assert np.isnan(report.lv_volume_ml[7])
    assert any("Frame 7" in note for note in report.notes)
    assert "Frame 7" in report.reasons["peak_ejection_rate_ml_s"]


def test_a_failed_frame_closes_no_ventricle():
    phantom = make_phantom()
    labels = phantom.segmentation.array[:, 5:].copy()  # cut through the middle: open at the base in every frame

    def report():
        return cardiac_function(Segmentation(labels, phantom.cine.affine, phantom.cine.frame_times))

    assert "reaches the first slice (base)" in report().reasons["edv_ml"]
    labels[11][labels[11] == 3] = 0
    labels[11, 2, 60:63, 60:63] = 3
    failed = report()
    assert any("Frame 11" in note for note in failed.notes)
    assert np.isnan(failed.edv_ml) and "reaches the first slice (base)" in failed.reasons["edv_ml"]
    labels[11] = 0
    labels[11, 2, 60:63, 60:63] = 3
    failed = report()
    assert np.isnan(failed.lv_mass_g) and "reaches the first slice (base)" in failed.reasons["lv_mass_g"]


def test_two_frames_of_which_one_failed_give_no_fraction():
    labels = beating(2)
    labels[1][labels[1] == 3] = 2
    labels[1, 4, 24, 24] = 3
    report = measured(labels)
    assert np.isnan(report.ef_percent) and "Frame 1" in report.reasons["ef_percent"]


def test_recorded_curves_pass_and_what_was_planted_in_them_is_found(shared_dir):
    rng = np.random.default_rng(0)
    found = tried = 0
    with open(shared_dir / "data" / "volume_curves.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        least, most = float(row["min_ml"]), float(row["max_ml"])
        curve = least + np.array([float(v) for k, v in row.items() if k.startswith("p0.")]) * (most - least)
        for frames in (10, 20, 30):
            at = np.arange(frames) / frames * len(curve)
            volume = np.interp(at, np.arange(len(curve) + 1), np.append(curve, curve[0]))
            volume *= 1 + 0.02 * rng.standard_normal(frames)
            assert not failed_frames(volume).any()
            broken = volume.copy()
            broken[rng.integers(frames)] *= 0.02
            found, tried = found + int(failed_frames(broken).sum() == 1), tried + 1
    assert found >= 0.95 * tried


def test_a_curve_that_is_noise_keeps_all_frames():
    assert not failed_frames(np.array([100.0, 10, 100, 10, 100, 10, 100, 10])).any()
    assert not failed_frames(np.full(6, np.nan)).any()


def test_unsure_labels_are_named():
    sure = {
        "expected_dice": {"RV": [0.95, 0.7], "LV": [0.97, 0.96]},
        "doubtful_slices": {"RV": [[], [0, 1]], "LV": [[], []]},
    }
    note = sureness_note({"segmentation": {"sureness": sure}}, {"RV": (0, 1), "LV": (0, 1)})
    assert "RV at end-systole (0.70)" in note and "slices 1, 2 at end-systole" in note and "LV" not in note
    assert sureness_note({}, {"RV": (0, 1)}) == ""


@pytest.mark.parametrize("frames", [20, 2])
def test_muscle_that_failed_at_end_diastole_weighs_nothing(frames):
    sound = measured(beating(20)[[0, 10]] if frames == 2 else beating(20))
    assert sound.lv_mass_g > 0
    labels = beating(20)[[0, 10]] if frames == 2 else beating(20)
    labels[0, 1:5][labels[0, 1:5] == 2] = 0
    report = measured(labels)
    assert np.isnan(report.lv_mass_g) and "frame 0" in report.reasons["lv_mass_g"]
    assert report.ef_percent == sound.ef_percent


def with_right_ventricle(frames: int) -> np.ndarray:
    """A beating heart whose right ventricle beats too."""
    labels = beating(frames)
    labels[labels == 1] = 0
    for t in range(frames):
        width = round(8 - 3 * np.sin(np.pi * t / frames))
        labels[t, 1:7, 12:36, 10 - width : 10] = 1
    return labels


@pytest.mark.parametrize("frames", [2, 20])
def test_a_right_ventricle_without_its_base_at_end_systole_is_told_with_the_frame(frames):
    labels = with_right_ventricle(20)
    labels = labels[[0, 10]] if frames == 2 else labels
    sound = measured(labels)
    assert not [note for note in sound.notes if "basal slices" in note and "experts" in note]
    for t in [1] if frames == 2 else range(8, 13):  # frames that fail together hide from their neighbours
        part = labels[t, 1:5]
        part[part == 1] = 0
    report = measured(labels)
    assert report.rv_ef_percent > 75
    (note,) = [note for note in report.notes if "basal slices at end-systole; look at that frame" in note]
    assert f"frame {report.rv_es_frame}" in note and "2 slices" in note


@pytest.mark.parametrize("label", [1, 3])
def test_a_frame_without_end_slices_of_its_neighbours_is_told(label):
    labels = with_right_ventricle(20)
    assert not [note for note in measured(labels).notes if "lacks slices" in note]
    part = labels[13, 1]
    part[part == label] = 0
    (note,) = [note for note in measured(labels).notes if "lacks slices" in note]
    assert "frame 13 without slice 2" in note
