"""`cardiodit landmarks` and `cardiodit evaluate landmarks`."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import problem, run
from landmark_hearts import changed, heart, moving_track
from refusals import names
from tiny_landmarks import tiny_model_folder

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.landmarks.detect import detect_landmarks
from CardioDiTLib.landmarks.files import load_landmarks, save_landmarks
from CardioDiTLib.landmarks.metrics import LandmarkScores
from CardioDiTLib.landmarks.model import PointRule
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.workflow.landmarks import LandmarkRequest
from CardioDiTLib.workflow.landmarks import run as find


@pytest.fixture()
def labels(tmp_path):
    return save_segmentation(heart(shape=(8, 5, 72, 64)), tmp_path / "labels.nii.gz")


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_points_of_a_file(labels, tmp_path, capsys, suffix):
    assert run("landmarks", labels, tmp_path / f"points.{suffix}") == 0
    assert "both points in 32 of 8 x 5 slices" in capsys.readouterr().out
    track = load_landmarks(tmp_path / f"points.{suffix}")
    expected = landmarks_from_segmentation(heart(shape=(8, 5, 72, 64)))
    np.testing.assert_allclose(track.points, expected.points, atol=1e-3)
    assert run("landmarks", labels, tmp_path / "tracked.csv", "--track", "--swap") == 0
    assert "tracking: 0 outliers" in capsys.readouterr().out
    tracked = load_landmarks(tmp_path / "tracked.csv")
    assert np.nanmax(np.abs(tracked.points[:, :, ::-1] - track.points)) <= 1.5
    assert tracked.meta["tracking"]["kept"] == 64


@pytest.fixture()
def cine(tmp_path):
    made = heart(shape=(3, 3, 72, 64))
    shades = np.array([0, 180, 90, 255], np.int16)
    return save_cine(Cine(shades[made.array], made.affine, made.frame_times), tmp_path / "cine.nii.gz")


def test_points_of_a_cine(cine, tmp_path, capsys):
    model = tiny_model_folder(tmp_path / "model")
    assert run("landmarks", cine, tmp_path / "a.csv", "--weights", model, "--method", "network") == 0
    assert "both points in 9 of 3 x 3 slices" in capsys.readouterr().out
    assert load_landmarks(tmp_path / "a.csv").meta["landmarks"]["source"] == "network"
    save_segmentation(heart(shape=(3, 3, 72, 64)), tmp_path / "labels.nii.gz")
    words = ("--segmentation", tmp_path / "labels.nii.gz")
    assert run("landmarks", cine, tmp_path / "b.csv", *words, "--method", "segmentation", "--from", "cine") == 0
    expected = landmarks_from_segmentation(heart(shape=(3, 3, 72, 64)))
    np.testing.assert_allclose(load_landmarks(tmp_path / "b.csv").points, expected.points, atol=1e-3)
    assert run("landmarks", cine, tmp_path / "c.json", *words, "--weights", model, "--track") == 0
    fused = load_landmarks(tmp_path / "c.json").meta
    assert fused["landmarks"]["source"] == "network and segmentation" and "tracking" in fused


def test_what_the_input_is_can_be_said_or_seen(cine, tmp_path, capsys):
    save_segmentation(heart(shape=(1, 3, 72, 64)), tmp_path / "single.nii.gz")
    assert run("landmarks", tmp_path / "single.nii.gz", tmp_path / "a.csv") == 0
    assert "both points in 2 of 1 x 3 slices" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    noisy = Cine(rng.integers(0, 500, (2, 3, 72, 64)).astype(np.int16), np.diag([1.5, 1.5, 10.0, 1.0]), [0.0, 0.4])
    save_cine(noisy, tmp_path / "noisy.nii.gz")
    assert run("landmarks", tmp_path / "noisy.nii.gz", tmp_path / "b.csv", "--from", "segmentation") == 1
    assert "no segmentation" in problem(capsys)
    made = heart(shape=(2, 3, 72, 64))
    save_segmentation(made, tmp_path / "labels.nii.gz")
    model = tiny_model_folder(tmp_path / "model", rule=PointRule(presence=1.0))
    words = ("--from", "cine", "--weights", model, "--method", "network")
    assert run("landmarks", tmp_path / "labels.nii.gz", tmp_path / "b.csv", *words) == 1
    assert names(problem(capsys), "labels.nii.gz", "--method")
    (tmp_path / "model" / "landmarks.json").unlink()
    assert run("landmarks", cine, tmp_path / "b.csv", "--weights", model, "--method", "network") == 1
    assert "landmarks.json" in problem(capsys)


def test_a_file_without_orientation_is_pointed_out(tmp_path, capsys):
    save_segmentation(heart(np.diag([1.5, 1.5, 10.0, 1.0])), tmp_path / "labels.nii.gz")
    assert run("landmarks", tmp_path / "labels.nii.gz", tmp_path / "a.csv") == 0
    assert "no orientation" in capsys.readouterr().out


def test_problems_of_landmarks_are_one_line(labels, tmp_path, capsys):
    assert run("landmarks", labels, tmp_path / "a.txt") == 1
    assert names(problem(capsys), "a.txt", ".csv", ".json")
    (tmp_path / "a.csv").write_text("mine", encoding="utf-8")
    assert run("landmarks", labels, tmp_path / "a.csv") == 1
    assert names(problem(capsys), "a.csv", "--overwrite")
    assert run("landmarks", tmp_path / "none.nii.gz", tmp_path / "b.csv") == 1
    assert names(problem(capsys), "none.nii.gz")
    empty = Segmentation(np.zeros((2, 3, 8, 8), np.uint8), np.diag([1.0, 1, 1, 1]), [0.0, 0.1])
    save_segmentation(empty, tmp_path / "empty.nii.gz")
    assert run("landmarks", tmp_path / "empty.nii.gz", tmp_path / "b.csv") == 1
    assert names(problem(capsys), "empty.nii.gz", "myocardium")
    assert not (tmp_path / "b.csv").exists()
    assert run("landmarks", labels, tmp_path / "a.csv", "--overwrite") == 0


@pytest.fixture()
def folders(tmp_path):
    """Truth of three patients, ED and ES each, and two methods: one sure and rare, one rough and complete."""
    rng = np.random.default_rng(0)
    for patient in range(3):
        for phase in ("ED", "ES"):
            name = f"p{patient}_{phase}"
            truth = moving_track(1, 5)
            save_landmarks(truth, tmp_path / "truth" / f"{name}.csv")
            rare = truth.points.copy()
            rare[:, 2:] = np.nan
            save_landmarks(changed(truth, rare), tmp_path / "rare" / f"{name}.json")
            rough = truth.points + rng.normal(scale=2.0, size=truth.points.shape)
            save_landmarks(changed(truth, rough), tmp_path / "rough" / f"{name}.csv")
    return tmp_path


def test_one_method_is_scored(folders, capsys):
    words = ("--truth", folders / "truth", "--predicted", folders / "rare", "--json", folders / "out.json")
    assert run("evaluate", "landmarks", *words, "--resamples", 200, "--cap-mm", 40) == 0
    out = capsys.readouterr().out
    assert "rare: 6 volumes of 3 patients" in out and "a miss costs 40 mm" in out and "ranking" not in out
    content = json.loads((folders / "out.json").read_text(encoding="utf-8"))
    scores = LandmarkScores.from_dict(content["scores"]["rare"])
    assert content["comparison"] is None and scores.n_groups == 3
    assert scores["line"].pooled["recall"].value == 0.4
    assert scores["line"].pooled["capped_distance_mm"].value == pytest.approx(0.6 * 40.0)


def test_two_methods_are_ranked(folders, capsys):
    words = ("--truth", folders / "truth", "--predicted", folders / "rare", f"other={folders / 'rough'}")
    assert run("evaluate", "landmarks", *words, "--resamples", 0, "--json", folders / "out.json") == 0
    out = capsys.readouterr().out
    assert "ranking by metric" in out and "misses are free" in out
    comparison = json.loads((folders / "out.json").read_text(encoding="utf-8"))["comparison"]
    assert comparison["ranks"]["published slice distance mm (points)"] == {"rare": 1, "other": 2}
    assert comparison["ranks"]["recall (points)"] == {"rare": 2, "other": 1}
    assert comparison["disagreements"]


def test_single_files_belong_together_and_unlabelled_frames_can_be_left_out(tmp_path, capsys):
    track = moving_track(6, 4)
    points = track.points.copy()
    points[1:] = np.nan
    save_landmarks(track, tmp_path / "mine.csv")
    save_landmarks(changed(track, points), tmp_path / "truth.json")
    words = ("evaluate", "landmarks", "--truth", tmp_path / "truth.json", "--resamples", 0)
    assert run(*words, "--predicted", tmp_path / "mine.csv") == 0
    assert "precision           0.167" in capsys.readouterr().out
    two = ("--predicted", tmp_path / "mine.csv", f"again={tmp_path / 'mine.csv'}", "--labelled-frames-only")
    assert run(*words, *two) == 0
    out = capsys.readouterr().out
    assert "precision           1.000" in out and "published PPV (points)" in out


def test_problems_of_evaluate_are_one_line(folders, capsys):
    truth = ("evaluate", "landmarks", "--truth", folders / "truth", "--predicted")
    (folders / "rare" / "p1_ES.json").unlink()
    assert run(*truth, folders / "rare") == 1
    assert names(problem(capsys), 1, 6, "p1_ES")
    save_landmarks(moving_track(1, 5), folders / "rough" / "p9_ED.csv")
    assert run(*truth, folders / "rough") == 1
    assert names(problem(capsys), 1, "p9_ED")
    assert run(*truth, folders / "none") == 1
    assert names(problem(capsys), folders / "none")
    assert run(*truth, folders / "truth", folders / "truth") == 1
    assert names(problem(capsys), folders / "truth", "NAME=PATH")
    (folders / "empty").mkdir()
    assert run(*truth, folders / "empty") == 1
    assert names(problem(capsys), folders / "empty", ".csv", ".json")
    save_landmarks(moving_track(1, 5), folders / "truth" / "p0_ED.json")
    assert run(*truth, folders / "truth") == 1
    assert names(problem(capsys), "p0_ED", ".csv", ".json")
    with pytest.raises(SystemExit) as exit_code:
        run("evaluate", "nothing")
    assert exit_code.value.code == 2


def test_a_file_holds_the_points_that_the_library_finds(tmp_path, monkeypatch):
    """Lines that turn away at the ends of the stack in systole are left out after points were followed: before, they
    would be filled in again."""
    track = moving_track(20, 8)
    points = track.points + np.random.default_rng(0).normal(0, 1.0, track.points.shape)
    for frame in (8, 10):
        middle, line = points[frame, 7].mean(axis=0), points[frame, 7, 1] - points[frame, 7, 0]
        across = np.cross(line, track.points[frame, 1].mean(axis=0) - track.points[frame, 6].mean(axis=0))
        turned = np.cos(0.8) * line + np.sin(0.8) * np.linalg.norm(line) * across / np.linalg.norm(across)
        points[frame, 7] = middle - turned / 2, middle + turned / 2
    found = changed(track, points)
    for name, stub in (
        ("_best", lambda *_: "fusion"),
        ("_landmark_model", lambda _: SimpleNamespace(network=torch.nn.Linear(1, 1))),
        ("_segmentation_model", lambda _: None),
        ("segment", lambda cine, **_: Segmentation(np.zeros(cine.shape, np.uint8), cine.affine, cine.frame_times)),
        ("landmarks_from_network", lambda *_, **__: found),
        ("landmarks_from_segmentation", lambda *_, **__: found),
        ("fused_tracks", lambda one, other: one),
    ):
        monkeypatch.setattr(f"CardioDiTLib.landmarks.detect.{name}", stub)
    cine = Cine(np.zeros((20, 8, 4, 4), np.int16), np.diag([1.5, 1.5, 10.0, 1.0]), track.frame_times)
    expected = detect_landmarks(cine)
    assert expected.meta["landmarks"]["turned_ends"] == 2 and not expected.found[[8, 10], 7].any()
    find(LandmarkRequest(cine, destination=str(tmp_path / "points.json")))
    written = load_landmarks(tmp_path / "points.json")
    np.testing.assert_allclose(written.points, expected.points)
    np.testing.assert_allclose(written.confidence, expected.confidence)
