"""`cardiodit segment`."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import problem, run
from refusals import names
from tiny_segmentation import tiny_model_folder

from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.io import load_cine, load_segmentation, save_cine
from CardioDiTLib.segmentation import model as model_module
from CardioDiTLib.segmentation.model import WEIGHTS_NAME, load_model
from CardioDiTLib.segmentation.segment import segment


@pytest.fixture()
def cine(tmp_path):
    spec = PhantomSpec(frames=3, slices=2, height=30, width=36, spacing_mm=(4.0, 4.5, 20.0))
    return save_cine(make_phantom(spec).cine, tmp_path / "heart.nii.gz")


@pytest.fixture()
def weights(tmp_path):
    return tiny_model_folder(tmp_path / "model")


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.seq.nrrd"])
@pytest.mark.parametrize("raw", [False, True])
def test_labels_of_a_cine(cine, weights, tmp_path, capsys, name, raw):
    extra = ["--raw"] if raw else ["--anyway"]  # the labels of a network that learned nothing show no heart
    assert run("segment", cine, tmp_path / name, "--weights", weights, "--device", "cpu", *extra) == 0
    assert name in capsys.readouterr().out
    written, source = load_segmentation(tmp_path / name), load_cine(cine)
    expected = segment(source, weights=load_model(weights), plausible=not raw)
    np.testing.assert_array_equal(written.array, expected.array)
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-4)
    np.testing.assert_allclose(written.frame_times, source.frame_times, atol=1e-6)


def test_problems_are_one_line(cine, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(model_module, "embedded_model_folder", lambda: tmp_path / "nothing")
    out = tmp_path / "labels.nii.gz"
    assert run("segment", cine, out) == 1
    assert names(problem(capsys), "segmentation", "--weights")
    assert run("segment", cine, tmp_path / "labels.png", "--weights", weights) == 1
    assert names(problem(capsys), "labels.png", ".nii.gz")
    assert run("segment", tmp_path / "absent.nii.gz", out, "--weights", weights) == 1
    assert names(problem(capsys), "absent.nii.gz")
    assert run("segment", cine, out, "--weights", weights, "--device", "abacus") == 1
    assert names(problem(capsys), "abacus", "cuda:1")
    with open(weights / WEIGHTS_NAME, "ab") as stream:
        stream.write(b"x")
    assert run("segment", cine, out, "--weights", weights) == 1
    assert names(problem(capsys), "network.safetensors", "bytes")
    assert not out.exists()


def test_nothing_is_replaced_unasked(cine, weights, tmp_path, capsys):
    out = tmp_path / "labels.nii.gz"
    out.write_text("mine", encoding="utf-8")
    assert run("segment", cine, out, "--weights", weights) == 1
    assert names(problem(capsys), "labels.nii.gz", "--overwrite") and out.read_text(encoding="utf-8") == "mine"
    assert run("segment", cine, out, "--weights", weights, "--overwrite", "--mirrored", "--anyway") == 0
    assert load_segmentation(out).shape == (3, 2, 30, 36)
