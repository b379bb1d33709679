"""The script that measures quality against minutes of training, at a tiny size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from test_benchmarks_comparison import make_pack
from tiny_bundle import write_tiny_bundle

# The benchmarks are scripts, not a package: they find each other through their own folder.
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import training_curve


def settings(path: Path, bundle) -> Path:
    """Settings of a transformer like the bundle's."""
    stage = {"model": dict(bundle.manifest.dit.params), "schedule": bundle.manifest.schedule, "batch": 2, "loss": "mse"}
    text = {
        "name": "tiny",
        "grid": {"slices": 3, "size": 32, "frames": 16},
        "vqgan": {"loop": {"steps": 1}, "stage": {"model": dict(bundle.manifest.codec.params)}},
        "latents": {"augmentation": {"copies": 2}},
        "dit": {"loop": {"steps": 5, "precision": "fp32", "validate_every": 1, "save_every_s": 0}, "stage": stage},
    }
    path.write_text(yaml.safe_dump(json.loads(json.dumps(text))), encoding="utf-8")
    return path


def test_each_mark_is_measured_once_and_the_bundle_comes_last(tmp_path, capsys):
    made = write_tiny_bundle(tmp_path / "tiny")
    words = ["--data", make_pack(tmp_path / "pack.npz"), "--work", tmp_path / "work", "--out", tmp_path / "table.md"]
    words += ["--config", settings(tmp_path / "tiny.yaml", made), "--bundle", made.folder, "--minutes", "0.005,0.02"]
    words += ["--samples", 4, "--steps", 2, "--no-labels"]
    training_curve.main([str(word) for word in words])
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].strip("| ") for line in text.splitlines()]
    assert rows[0] == "minutes" and rows[2:] == ["0.005", "0.02", "the bundle's own", "real against real"]
    first, second = (json.loads((tmp_path / "work" / f"report-{mark}.json").read_text()) for mark in ("0.005", "0.02"))
    assert 1 <= first["steps"] < second["steps"] and first["losses"][1] is not None
    assert second["report"]["n_synthetic"] == 4 and second["report"]["n_real"] == 6
    kept = [*words, "--work", tmp_path / "again", "--checkpoints", tmp_path / "work" / "dit"]
    training_curve.main([str(word) for word in kept])
    (last,) = (
        json.loads(path.read_text()) for path in (tmp_path / "again").glob(f"report-step-*{second['steps']}.json")
    )
    assert last["steps"] == second["steps"] and last["report"] == second["report"]
    training_curve.main([str(word) for word in words])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "dit").rglob("*")}
    training_curve.main([str(word) for word in words])
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "dit").rglob("*")}


def test_losses_are_the_last_that_were_known_by_then(tmp_path):
    log = [{"step": 1, "loss": 2.0}, {"step": 5, "val_loss": 0.9, "val_seen_loss": 0.8}, {"step": 9, "val_loss": 0.7}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, log)), encoding="utf-8")
    assert training_curve.losses(tmp_path, 8) == (0.9, 0.8)
    assert training_curve.losses(tmp_path, 4) == (None, None)
    assert training_curve.losses(tmp_path, 9) == (pytest.approx(0.7), None)


def test_a_mark_that_the_run_is_past_is_refused(tmp_path, monkeypatch):
    made = write_tiny_bundle(tmp_path / "tiny")
    words = ["--data", make_pack(tmp_path / "pack.npz"), "--work", tmp_path / "work", "--bundle", made.folder]
    words += ["--config", settings(tmp_path / "tiny.yaml", made), "--samples", 2, "--steps", 1, "--no-labels"]
    training_curve.main([str(word) for word in [*words, "--minutes", 0.002]])
    (tmp_path / "work" / "report-0.002.json").unlink()
    monkeypatch.setattr(training_curve, "_LATE_S", 0.0)
    with pytest.raises(SystemExit, match="past"):
        training_curve.main([str(word) for word in [*words, "--minutes", 0.00001]])
    assert not (tmp_path / "work" / "report-1e-05.json").exists()
