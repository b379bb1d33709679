"""`cardiodit complete` and `cardiodit vary`: files in, files out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import run
from test_completion import own_cine
from tiny_bundle import write_tiny_bundle

from CardioDiTLib.io import load_cine, save_cine


@pytest.fixture()
def bundle(tmp_path):
    write_tiny_bundle(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture()
def cine(tmp_path):
    return save_cine(own_cine(), tmp_path / "heart.nii.gz")


def test_a_cine_is_completed(bundle, cine, tmp_path, capsys):
    out = tmp_path / "full.seq.nrrd"
    words = ("complete", cine, out, "-m", bundle, "--missing-slices", "1", "--missing-frames", "4-6", "-q")
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert "made up by the model: slices 1 and frames 4, 5, 6" in said and "synthetic" in said
    made, source = load_cine(out), load_cine(cine)
    assert np.abs(made.array[0, 0].astype(int) - source.array[0, 0]).max() <= 1
    assert made.meta["completion"]["missing_frames"] == [4, 5, 6]
    assert run(*words) == 1 and "--overwrite" in capsys.readouterr().err
    assert run(*words, "--overwrite", "--source-grid") == 0
    assert (load_cine(out).array[0, 0] == source.array[0, 0]).all()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--missing-slices", "5-2"), "--missing-slices"),
        (("--missing-slices", "9"), "no slice 9"),
        ((), "Nothing is missing"),
        (("--missing-frames", "1", "--edv-ml", "120"), "edv_ml"),
    ],
)
def test_problems_are_one_sentence_and_leave_nothing(bundle, cine, tmp_path, capsys, words, sentence):
    assert run("complete", cine, tmp_path / "out.nii.gz", "-m", bundle, "-q", *words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and sentence in lines[0]
    assert not (tmp_path / "out.nii.gz").exists()


def test_variations_of_a_cine(bundle, cine, tmp_path, capsys):
    folder = tmp_path / "made"
    words = ("vary", cine, "-m", bundle, "--strength", "0.4", "-n", "2", "-o", folder, "-q")
    assert run(*words) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        f"heart_variation_00{index}.{suffix}" for index in range(2) for suffix in ("json", "nii.gz")
    ]
    about = json.loads((folder / "heart_variation_001.json").read_text(encoding="utf-8"))
    assert about["kind"] == "variation of a synthetic cine" and about["variation"]["strength"] == 0.4
    assert "carries no embeddings" in capsys.readouterr().out
    assert run(*words) == 1 and "--overwrite" in capsys.readouterr().err
    assert run("vary", cine, "-m", bundle, "--strength", "2", "-o", folder, "--overwrite") == 1
    assert "strength" in capsys.readouterr().err
