"""The benchmark of planted copies: its transformations, its counting, and a whole run on tiny data."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import tiny_encoder_folder

from CardioDiTLib.data.packing import write_cines

# The benchmarks are scripts, not a package: they find each other through their own folder.
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import copy_transformations as ct
import planted_copies as pc


def cine(seed: int = 0, frames: int = 4, slices: int = 3, size: int = 44) -> np.ndarray:
    """Smooth made-up patterns that beat, (T, Z, size, size) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    made = np.zeros((frames, slices, size, size), np.float32)
    for z in range(slices):
        for _ in range(4):
            a, b, c = rng.uniform(1, 4, 3)
            beat = 1 + 0.3 * np.cos(2 * np.pi * np.arange(frames) / frames + c)
            made[:, z] += beat[:, None, None] * np.sin(2 * np.pi * (a * x + b * y) + 6 * c)
    return (made / np.abs(made).max()).astype(np.float32)


def test_every_transformation_hides_and_keeps_the_shape():
    one, other = cine(0), cine(1)
    kinds = ct.transformations(None)
    assert len({(kind.kind, kind.strength) for kind in kinds}) == len(kinds)
    assert {"exact", "mirrored", "rotated", "shifted", "scaled", "cycle shifted", "blended", "cropped"} <= {
        kind.kind for kind in kinds
    }
    for kind in kinds:
        made = kind.apply(one, other)
        assert made.shape == one.shape and made.dtype == np.float32, kind
        assert np.isfinite(made).all() and np.abs(made).max() <= 1, kind
        if kind.kind != "cropped":  # the picture is smaller than what is kept
            assert np.array_equal(made, one) == (kind.kind == "exact"), kind
    by_name = {(kind.kind, kind.strength): kind for kind in kinds}
    np.testing.assert_allclose(by_name["mirrored", ""].apply(one, other), one[..., ::-1], atol=1e-6)
    np.testing.assert_allclose(by_name["cycle shifted", "0.5"].apply(one, other), np.roll(one, 2, axis=0), atol=1e-6)
    np.testing.assert_allclose(by_name["blended", "75 %"].apply(one, other), 0.75 * one + 0.25 * other, atol=1e-6)
    later = by_name["other slices", "+1"].apply(one, other)
    np.testing.assert_array_equal(later, one[:, [1, 2, 2]])
    large = cine(0, size=152)
    cropped = by_name["cropped", "120 mm"].apply(large, large)
    assert (cropped > -1).sum() == pytest.approx(large.size * (80 / 152) ** 2, rel=0.02)


def test_counting_by_hand():
    similar = np.array([[0.9, 0.1, 0.3], [0.2, 0.4, 0.8], [0.1, 0.95, 0.7]])
    right, wrong = pc.split(similar, np.array([0, 1, 2]), np.array([-1, 2, -1]), np.array([0, 1, 2]))
    assert right.tolist() == [0.9, 0.4, 0.7] and wrong.tolist() == [0.3, 0.2, 0.95]
    assert pc.area(np.array([1.0, 2.0]), np.array([0.0, 1.0, 3.0])) == pytest.approx((1.5 / 3 + 2 / 3) / 2)
    kinds = [ct.Transformation("a", "", lambda c, o: c, True), ct.Transformation("b", "", lambda c, o: c)]
    right, wrong = np.array([[0.9, 0.8], [0.2, 0.7]]), np.array([[0.1, 0.2], [0.3, 0.75]])
    found = pc.judge(right, wrong, np.array([4, 5]), kinds)
    tau = np.quantile(wrong, 0.95)
    assert found["thresholds"]["0.05"] == pytest.approx(tau)
    assert [row["sensitivity_0.05"] for row in found["rows"]] == [1.0, 0.0]
    assert found["rows"][1]["false_alarms_0.05"] == 0.5
    assert found["summary"]["sensitivity_0.05_bar"] == 1.0 and found["summary"]["sensitivity_0.05_all"] == 0.5


def test_structural_similarity_knows_equals_and_strangers():
    judge = pc.SsimJudge()
    pictures = [judge.describe(cine(seed, size=160)) for seed in range(3)]
    found = judge.compare(pictures[:2], pictures)
    np.testing.assert_allclose(np.diag(found), 1.0, atol=1e-4)
    assert found[0, 1] < 0.5 and found[0, 1] == pytest.approx(found[1, 0], abs=1e-5)


def test_one_strength_of_each_kind():
    kinds = ct.transformations(None)
    some = pc.middle_strengths(kinds)
    assert [kind.kind for kind in some] == list(dict.fromkeys(kind.kind for kind in kinds))
    assert {kind.strength for kind in some if kind.kind == "rotated"} == {"6 deg"}


def test_contoured_pictures_become_cines(tmp_path):
    y, x = np.mgrid[:60, :60]
    images, areas, instance = [], [], []
    for number, radius in ((8, 5), (20, 9), (28, 6), (40, 10), (60, 8), (68, 4), (80, 7)):
        inside = np.hypot(y - 30, x - 28) < radius
        images.append((50 + 100 * inside + radius).astype(np.uint8))
        areas.append(inside.astype(np.uint8))
        instance.append(number)
    np.savez(tmp_path / "A.npz", images=np.stack(images), lv_endo=np.stack(areas), instance=np.array(instance))
    np.savez(tmp_path / "B.npz", images=images[0][None], lv_endo=areas[0][None], instance=np.array([8]))
    (made,) = pc.stack_cines(tmp_path)
    assert made.shape == (2, 3, 60, 60)  # the slice without end-systole is left out
    assert [made.array[0, z].min() - 50 for z in range(3)] == [9, 10, 7]
    assert [made.array[1, z].min() - 50 for z in range(3)] == [5, 6, 4]
    assert pc.wide_grid([made], 132).shape == (1, 16, 8, 132, 132)


def test_a_whole_run_on_tiny_data(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    cines = np.stack([cine(seed, frames=4, size=132) for seed in range(5)])
    images = np.rint((cines + 1) * 127.5).astype(np.uint8)
    pack = write_cines(tmp_path / "pack.npz", images, (1.5, 1.5, 10.0), validation=[False, False, False, True, True])
    encoder = tiny_encoder_folder(tmp_path / "encoder")
    words = ["--pack", str(pack), "--encoder", str(encoder), "--codec", "none", "--out", str(tmp_path / "r" / "p.json")]
    with pytest.raises(SystemExit, match="grid"):  # 32 pixels of 6 mm are not the 128 of 1.5 mm that are cut
        pc.main(words)
    encoder = tiny_encoder_folder(tmp_path / "encoder128", size=64, spacing_mm=3.0)
    words[3] = str(encoder)
    pc.main(words)
    report = json.loads((tmp_path / "r" / "p.json").read_text(encoding="utf-8"))
    assert report["planted"] == 2 and report["references"] == 5
    assert set(report["methods"]) == {"encoder", "pixels", "SSIM"}
    rows = {(row["kind"], row["strength"]): row for row in report["methods"]["pixels"]["rows"]}
    assert rows["exact", ""]["sensitivity_0.05"] == 1.0 and rows["exact", ""]["lowest_copy"] == pytest.approx(
        1, abs=1e-3
    )
    own = {(row["kind"], row["strength"]): row for row in report["methods"]["encoder"]["rows"]}
    assert own["mirrored", ""]["lowest_copy"] == pytest.approx(1, abs=1e-3)
    assert "| mirrored * |" in (tmp_path / "r" / "p.md").read_text(encoding="utf-8")
    assert (tmp_path / "r" / "p.png").stat().st_size > 10_000
    assert "all with *" in capsys.readouterr().out


PUBLISHED = """
published: true
frames: 4
encoder:
  loop: {steps: 2, warmup_steps: 1, validate_every: 2, log_every: 1}
  stage: {downsample: [2, 4, 4], size: 16, spacing_mm: 12, batch: 3}
"""


def test_the_published_encoder_stands_beside_ours(tmp_path, monkeypatch):
    cines = np.stack([cine(seed, frames=4, slices=8, size=132) for seed in range(5)])
    images = np.rint((cines + 1) * 127.5).astype(np.uint8)
    pack = write_cines(tmp_path / "pack.npz", images, (1.5, 1.5, 10.0), validation=[False, False, False, True, True])
    (tmp_path / "published.yaml").write_text(PUBLISHED, encoding="utf-8")
    encoder = tiny_encoder_folder(tmp_path / "encoder128", size=64, spacing_mm=3.0)
    monkeypatch.setattr(pc, "transformations", lambda codec: ct.transformations(None)[:2])
    words = ["--pack", str(pack), "--encoder", str(encoder), "--codec", "none", "--no-picture"]
    words += ["--published", str(tmp_path / "run"), "--published-config", str(tmp_path / "published.yaml")]
    pc.main([*words, "--published-minutes", "5", "--out", str(tmp_path / "p.json")])
    report = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert list(report["methods"]) == ["encoder", "published", "pixels", "SSIM"]
    exact = report["methods"]["published"]["rows"][0]
    assert exact["kind"] == "exact" and exact["lowest_copy"] == pytest.approx(1, abs=1e-5)
    # what it sees is what it was trained on
    from CardioDiTLib.data.packing import read_pack
    from CardioDiTLib.training.dar_encoder_stage import VolumeEncoderStage
    from CardioDiTLib.training.network_tasks import EncoderRun

    config = EncoderRun(tmp_path / "published.yaml")
    stage = VolumeEncoderStage(config.settings.stage, read_pack(pack))
    stage.model.load_state_dict(pc.VolumeJudge(tmp_path / "run", config).network.state_dict())
    stage.model.eval()
    wanted = stage.model(stage.volumes[:1, None])[0].detach().numpy()
    made = pc.VolumeJudge(tmp_path / "run", config).describe(images[0].astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(made, wanted, atol=0.05 * np.abs(wanted).max())
