"""``cardiodit function``."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import problem
from function_shapes import beating

import CardioDiTLib as cd
from CardioDiTLib import cli
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.commands.options import named_paths
from CardioDiTLib.function import cardiac_function, from_json, to_csv, to_json
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.landmarks.files import load_landmarks, save_landmarks


def run(*words: object) -> int:
    return cli.main(["function", *(str(word) for word in words)])


@pytest.fixture()
def files(tmp_path):
    segmentation, landmarks = beating(frames=10, cycle_s=0.8)
    grey = (segmentation.array * 80).astype(np.int16)
    cine = Cine(grey, segmentation.affine, segmentation.frame_times, {"synthetic": True})
    save_segmentation(segmentation, tmp_path / "heart.nii.gz")
    save_cine(cine, tmp_path / "cine.seq.nrrd")
    for suffix in ("csv", "json"):
        save_landmarks(landmarks, tmp_path / f"points.{suffix}")
    return tmp_path, segmentation, landmarks


def test_everything_at_once(files, capsys):
    pytest.importorskip("matplotlib")
    folder, segmentation, landmarks = files
    words = (folder / "heart.nii.gz", "--cine", folder / "cine.seq.nrrd", "--landmarks", folder / "points.csv")
    assert run(*words, "-o", folder / "out") == 0
    shown = capsys.readouterr().out
    names = [f"heart_{n}" for n in ("curves.csv", "function.csv", "function.html", "function.json")]
    assert sorted(path.name for path in (folder / "out").iterdir()) == names
    expected = cardiac_function(segmentation, landmarks)
    report = from_json(folder / "out" / "heart_function.json")
    assert report.ef_percent == pytest.approx(expected.ef_percent, rel=1e-5)
    np.testing.assert_allclose(report.segment_thickness_es_mm, expected.segment_thickness_es_mm, rtol=1e-3)
    assert report.heart_rate_bpm == pytest.approx(75.0, rel=1e-4)
    assert report.synthetic and 'id="synthetic"' in (folder / "out" / "heart_function.html").read_text(encoding="utf-8")
    assert f"{expected.ef_percent:.1f} %" in shown and "heart_function.html" in shown


def test_landmarks_in_either_format_and_chosen_outputs(files):
    folder, _, _ = files
    for suffix in ("csv", "json"):
        out = folder / suffix
        assert run(folder / "heart.nii.gz", "--landmarks", folder / f"points.{suffix}", "-o", out, "-f", "json") == 0
        assert [path.name for path in out.iterdir()] == ["heart_function.json"]
    a, b = (json.loads((folder / s / "heart_function.json").read_text(encoding="utf-8")) for s in ("csv", "json"))
    np.testing.assert_allclose(a["segment_thickness_ed_mm"][:16], b["segment_thickness_ed_mm"][:16], rtol=1e-6)


def test_heart_rate_and_a_stack_that_is_vouched_for(files, capsys):
    folder, segmentation, _ = files
    affine = segmentation.affine.copy()
    cut = Segmentation(segmentation.array[:, 4:], affine, segmentation.frame_times)
    save_segmentation(cut, folder / "cut.nii")
    assert run(folder / "cut.nii", "-o", folder / "a", "-f", "json") == 0
    assert "may not cover the left ventricle" in capsys.readouterr().out
    assert np.isnan(from_json(folder / "a" / "cut_function.json").edv_ml)
    assert run(folder / "cut.nii", "-o", folder / "b", "-f", "json", "--stack-covers-heart", "--heart-rate", 60) == 0
    report = from_json(folder / "b" / "cut_function.json")
    assert report.cardiac_output_l_min == pytest.approx(report.sv_ml * 0.06)
    assert "note: The left ventricle reaches the first slice" in capsys.readouterr().out


def test_the_cine_lends_its_times(files, capsys):
    folder, segmentation, _ = files
    image = nibabel.Nifti1Image(segmentation.array.transpose(3, 2, 1, 0), segmentation.affine)
    image.header.set_zooms((*segmentation.spacing, 1.0))
    image.to_filename(folder / "s.nii")
    # a step of one second counts as unknown in NIfTI
    assert run(folder / "s.nii", "-o", folder / "a", "-f", "json") == 0
    assert np.isnan(from_json(folder / "a" / "s_function.json").heart_rate_bpm)
    assert "assumed" in capsys.readouterr().out
    assert run(folder / "s.nii", "--cine", folder / "cine.seq.nrrd", "-o", folder / "b", "-f", "json") == 0
    assert "assumed" not in capsys.readouterr().out
    assert from_json(folder / "b" / "s_function.json").heart_rate_bpm == pytest.approx(75.0, rel=1e-4)


def test_a_cine_without_times_takes_none_away(files, capsys):
    folder, segmentation, _ = files
    image = nibabel.Nifti1Image((segmentation.array * 80).astype(np.int16).transpose(3, 2, 1, 0), segmentation.affine)
    image.to_filename(folder / "timeless.nii")
    words = (folder / "heart.nii.gz", "-f", "json", "--stack-covers-heart", "-o")
    assert run(*words, folder / "a") == 0
    assert run(*words, folder / "b", "--cine", folder / "timeless.nii") == 0
    alone, beside = (from_json(folder / name / "heart_function.json") for name in "ab")
    assert beside.peak_ejection_rate_ml_s == pytest.approx(alone.peak_ejection_rate_ml_s) and beside.cycle_s > 0
    assert not beside.meta.get("frame_times_assumed") and "assumed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("absent.nii.gz",), "does not exist"),
        (("heart.nii.gz", "-f", "pdf"), "'pdf'"),
        (("heart.nii.gz", "--heart-rate", "900"), "900"),
        (("heart.nii.gz", "--landmarks", "absent.csv"), "absent.csv"),
        (("noisy.nii.gz",), "values"),
        (("heart.nii.gz", "--cine", "other.nii.gz"), "not on the same grid"),
        (("heart.nii.gz", "-o", "cine.seq.nrrd"), "is a file"),
    ],
)
def test_problems_are_one_line_and_leave_nothing(files, capsys, monkeypatch, words, expected):
    folder, segmentation, _ = files
    save_cine(
        Cine(segmentation.array[:5].astype(np.int16), segmentation.affine, np.arange(5) * 0.1), folder / "other.nii.gz"
    )
    noisy = np.random.default_rng(0).integers(0, 500, segmentation.shape).astype(np.int16)
    save_cine(Cine(noisy, segmentation.affine, segmentation.frame_times), folder / "noisy.nii.gz")
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert run(*words) == 1
    assert expected in problem(capsys)
    assert sorted(folder.iterdir()) == before


def test_a_tilde_is_the_home_folder_wherever_a_path_goes(files, monkeypatch):
    folder, segmentation, landmarks = files
    home = folder / "home"
    home.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(folder)
    assert save_landmarks(landmarks, "~/points.csv") == home / "points.csv"
    assert load_landmarks("~/points.csv").n_frames == landmarks.n_frames
    assert named_paths(["a=~/points.csv", "~/points.csv"]) == dict.fromkeys(("a", "points"), home / "points.csv")
    report = cd.cardiac_function("heart.nii.gz", "~/points.csv")
    files = cd.save_report(report, "~/out", "heart", segmentation, formats=("json", "csv"))
    assert {path.parent for path in files} == {home / "out"} and all(path.is_file() for path in files)
    assert to_json(report, "~/one.json").parent == to_csv({"a": report}, "~/one.csv").parent == home
    assert not (folder / "~").exists()
