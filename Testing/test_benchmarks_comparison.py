"""The script that compares the baselines, from a pack to the page, at a tiny size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from CardioDiTLib.data.packing import write_cines
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError

# The benchmarks are scripts, not a package: they find each other through their own folder.
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import comparison
from tiny_bundle import write_tiny_bundle


def make_pack(path: Path) -> Path:
    images = []
    for seed in range(6):
        block = make_phantom(PhantomSpec(seed=seed)).cine.array[:16, 2:5].astype(float)
        edge = (block.shape[2] - 32) // 2, (block.shape[3] - 32) // 2
        block = block[:, :, edge[0] : edge[0] + 32, edge[1] : edge[1] + 32]
        images.append(np.clip(255 * (block - block.min()) / np.ptp(block), 0, 255))
    return write_cines(path, np.stack(images).astype(np.uint8), (1.5, 1.5, 10.0), groups=["a", "b"] * 3)


def test_from_a_pack_to_the_page(tmp_path, capsys):
    pack = make_pack(tmp_path / "pack.npz")
    bundle = write_tiny_bundle(tmp_path / "tiny").folder
    words = ["--data", pack, "--work", tmp_path / "work", "--out", tmp_path / "page.md", "--bundle", bundle]
    words += ["--seconds", 0.5, "--seeds", 2, "--samples", 4, "--steps", 2, "--copies", 1, "--batch", 2, "--no-labels"]
    words += ["--width", 32, "--depth", 2, "--heads", 2, "--patch", 1, 4, 4, 2, "--precision", "fp32"]
    words += ["--coordinates", 8, "--baselines", "slice2dt,full4d"]
    comparison.main([str(word) for word in words])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    for name in ("full4d", "slice2dt"):
        row = [line for line in lines if line.startswith(f"| {comparison.TITLES[name]} |")]
        assert len(row) == 2 and "±" in row[1]
    assert "real against real" in rows and "python Testing/benchmarks/comparison.py --data" in text
    record = json.loads((tmp_path / "work" / "full4d-1" / "report.json").read_text(encoding="utf-8"))
    assert record["steps"] >= 1 and record["report"]["n_synthetic"] == 4 and record["report"]["n_real"] == 6
    # with everything made, the page is made again without training or sampling
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()}
    comparison.main([str(word) for word in words])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == text
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()}
    changed = {path.name for path in before if before[path] != after.get(path)}
    assert changed <= {"about.json"}


def test_time_is_more_than_one_token():
    class Latents:
        latents = np.zeros((1, 4, 8, 16, 16, 4))

    assert comparison.seen_size(Latents(), (1, 4, 4, 2)) == [8, 4, 4, 2]
    with pytest.raises(CardioDiTError):
        comparison.seen_size(Latents(), (1, 4, 4, 4))


def test_intervals_over_seeds():
    mean, half = comparison.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.3027 / 3**0.5, rel=1e-3)
    assert comparison.interval([5.0])[0] == 5 and np.isnan(comparison.interval([5.0])[1])
    assert np.isnan(comparison.interval([float("nan")])[0])
