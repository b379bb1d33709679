"""Published checkpoints as bundles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from CardioDiTLib.bundles import Licence, import_published, load_bundle, verify
from CardioDiTLib.errors import CardioDiTError

DATA = Path(__file__).parent / "data"
STAGE1 = {"stage1": {"params": json.loads((DATA / "vqgan_tiny.json").read_text(encoding="utf-8"))["config"]}}
DIT = {
    "dit": {"params": json.loads((DATA / "dit_tiny.json").read_text(encoding="utf-8"))["config"]},
    "training": {"scale_factor": 0.8, "num_train_timesteps": 300, "schedule": "cosine"},
}
FILES = (DATA / "vqgan_tiny.pth", STAGE1, DATA / "dit_tiny.pth", DIT)


@torch.no_grad()
def test_an_imported_pair_gives_the_published_outputs(tmp_path):
    report = import_published(*FILES, tmp_path / "mine")
    assert report.name == "mine" and report.shape == (16, 2, 32, 32) and report.folder == tmp_path / "mine"
    assert any("averaged (EMA) weights" in note for note in report.notes)
    assert any("more than one beat" in note for note in report.notes)
    assert json.dumps(report.to_dict())
    assert verify(report.folder) == []

    bundle = load_bundle(report.folder)
    codec, dit = np.load(DATA / "vqgan_tiny.npz"), np.load(DATA / "dit_tiny.npz")
    recon = bundle.vqgan(torch.from_numpy(codec["x"]))[0]
    torch.testing.assert_close(recon, torch.from_numpy(codec["recon"]), atol=1e-5, rtol=0)
    out = bundle.dit(torch.from_numpy(dit["x"]), torch.from_numpy(dit["t"]))
    torch.testing.assert_close(out, torch.from_numpy(dit["out_ema"]), atol=1e-5, rtol=0)
    manifest = bundle.manifest
    assert manifest.latents.scale_factor == 0.8 and manifest.grid.spacing_mm == (1.0, 1.0, 10.0)
    assert (bundle.schedule.name, bundle.schedule.num_train_timesteps) == ("cosine", 300)
    assert bundle.schedule.prediction_type == "v_prediction" and not bundle.schedule.continuous
    assert manifest.provenance["dit"]["averaged_weights"] is True
    assert all(note in bundle.model_card for note in report.notes)


def test_what_is_given_goes_into_the_manifest(tmp_path):
    report = import_published(
        *FILES,
        tmp_path / "folder",
        name="other",
        spacing_mm=(1.4, 1.4, 8),
        cycle_s=0.9,
        licence=Licence("CC0", "None."),
        data_source="Twelve patients.",
        scale_factor=0.5,
        use_ema=False,
    )
    manifest = load_bundle(report.folder).manifest
    assert manifest.name == "other" and manifest.grid.spacing_mm == (1.4, 1.4, 8.0) and manifest.grid.cycle_s == 0.9
    assert manifest.licence.name == "CC0" and manifest.training_data.data_source == "Twelve patients."
    assert manifest.latents.scale_factor == 0.5 and manifest.provenance["dit"]["averaged_weights"] is False


@pytest.mark.parametrize(
    ("change", "word"),
    [({"spacing_mm": (1, 1)}, "spacing"), ({"cycle_s": 0}, "cycle_s"), ({"class_names": ["a"]}, "class names")],
)
def test_impossible_wishes_leave_nothing_behind(tmp_path, change, word):
    with pytest.raises(CardioDiTError, match=word):
        import_published(*FILES, tmp_path / "x", **change)
    assert list(tmp_path.iterdir()) == []


def test_swapped_files_leave_nothing_behind(tmp_path):
    with pytest.raises(CardioDiTError, match="swapped"):
        import_published(FILES[2], STAGE1, FILES[0], DIT, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
