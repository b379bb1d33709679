"""The benchmark of the published landmark variants: in pieces, to its table and chart."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_training_landmarks import PUBLISHED
from test_training_segmentation import make_pack

from CardioDiTLib.data.packing import read_pack
from CardioDiTLib.landmarks.pitfalls import compare_metrics
from CardioDiTLib.training.network_tasks import LandmarkRun
from CardioDiTLib.training.rvip_stage import RvipLandmarkStage, RvipStageConfig

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import published_landmarks as pl


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "pack.npz")


def test_all_variants_are_trained_in_pieces_judged_and_drawn(pack, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "tiny.yaml").write_text(PUBLISHED, encoding="utf-8")
    words = ["--pack", str(pack), "--config", str(tmp_path / "tiny.yaml"), "--work", str(tmp_path / "runs")]
    pl.main([*words, "--minutes", "1e-9"])
    assert "call it again" in capsys.readouterr().out
    out = tmp_path / "made" / "table.md"
    pl.main([*words, "--out", str(out), "--picture", str(tmp_path / "chart.jpg"), "--resamples", "20"])
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| | Base | Var.1 | Var.2 | Var.3 |" and "| corrected: recall |" in out.read_text(
        encoding="utf-8"
    )
    content = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert content["steps"] == dict.fromkeys(pl.TITLES, 3) and set(content["values"]["recall (points)"]) == {
        "Base",
        "Var.1",
        "Var.2",
        "Var.3",
    }
    assert 5_000 < (tmp_path / "chart.jpg").stat().st_size < 150_000
    weights = [pl.averaged_weights(tmp_path / "runs" / name / "landmarks", "landmarks") for name in ("base", "var3")]
    assert any(not np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_truth_itself_is_found_without_fault(pack):
    """Pixels, millimetres and names agree between what is found and what it is held against."""
    data = read_pack(pack)
    truth, places = pl.truth_and_pixels(data)
    assert len(truth) == 2 * len(places) == 2 * int(data.validation.sum())
    report = compare_metrics({"same": truth, "moved": pl.tracks_of(*_moved(truth, data))}, truth)
    assert report.values["recall (points)"]["same"] == report.values["precision (points)"]["same"] == 1
    assert report.values["hit distance mm (points)"]["same"] == pytest.approx(0)
    assert report.values["hit distance mm (points)"]["moved"] == pytest.approx(2 * data.spacing[0])


def _moved(truth, data):
    points = np.stack([track.points[0, ..., :2] for track in truth]) / np.asarray(data.spacing[:2])
    return points + np.array([2.0, 0.0]), data


def test_the_network_may_begin_with_the_guess_that_points_are_rare(pack):
    data = read_pack(pack)
    settings = LandmarkRun(pl.CONFIG).settings.stage
    assert settings.first_share < 0.01 and RvipStageConfig().first_share == 0.5
    stage = RvipLandmarkStage(settings, data)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-stage.model.last.bias.detach().numpy())), settings.first_share, rtol=1e-5
    )
