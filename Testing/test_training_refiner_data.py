"""What the refiner's examples ask the transformer for: class, quantities and guidance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import refused
from tiny_bundle import CODEC, DIT, tiny_manifest, write_tiny_bundle

from CardioDiTLib.data.packing import read_pack, write_cines
from CardioDiTLib.diffusion import NoiseSchedule
from CardioDiTLib.models import VQGAN, DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.training import refiner_data
from CardioDiTLib.training.config import GridConfig, LatentConfig, StageSettings, TrainingConfig
from CardioDiTLib.training.dit_stage import DitStageConfig
from CardioDiTLib.training.latent_augmentation import LatentAugmentation
from CardioDiTLib.training.loop import LoopConfig
from CardioDiTLib.training.refiner_data import RedrawSettings, RefinerData
from CardioDiTLib.training.refiner_stage import RefinerStageConfig
from CardioDiTLib.training.run import TrainingRun
from CardioDiTLib.training.vqgan_stage import VqganStageConfig


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """Arguments of all denoisers that are made."""
    made: list[dict] = []

    class Noted(refiner_data.Denoiser):
        def __init__(self, *parts, **named) -> None:
            made.append(named)
            super().__init__(*parts, **named)

    monkeypatch.setattr(refiner_data, "Denoiser", Noted)
    return made


def pack_of(folder):
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 3, 32, 32)).astype(np.uint8)
    labels = np.full(images.shape, 3, np.uint8)
    return write_cines(folder / "pack.npz", images, (1.5, 1.5, 10.0), groups=["DCM", "NOR"], labels=labels)


def test_a_pack_whose_groups_stand_in_another_order_than_the_classes_is_asked_for_its_own(tmp_path, asked):
    bundle = write_tiny_bundle(tmp_path / "start")
    assert bundle.manifest.class_names == ("NOR", "DCM")
    config = TrainingConfig(
        "tiny",
        GridConfig(3, 32, 16),
        StageSettings(LoopConfig(), VqganStageConfig(model=dict(CODEC))),
        LatentConfig(),
        StageSettings(
            LoopConfig(), DitStageConfig(model=dict(DIT), modes=True, schedule=dict(tiny_manifest().schedule))
        ),
        refiner=StageSettings(LoopConfig(), RefinerStageConfig(data=RedrawSettings(copies=1, steps=1))),
    )
    run = TrainingRun(config, pack_of(tmp_path), tmp_path / "run", bundle.folder)
    assert run.pack.group_names == ("DCM", "NOR") and run.pack.groups.tolist() == [0, 1]
    run._examples().make(run.pack, run.data)
    assert [one["labels"] for one in asked] == [[1], [0]]


def test_quantities_alone_are_guided_towards(asked):
    model = DiT4D(**{**DIT, "num_classes": 0, "class_dropout_prob": 0.0, "num_conditions": 4})
    scale = LatentScale(torch.zeros(4, 1, 1, 1, 1), torch.ones(4, 1, 1, 1, 1))
    data = RefinerData(
        "none",
        VQGAN(**CODEC),
        model,
        scale,
        NoiseSchedule("cosine", 300),
        size=32,
        ranges=LatentAugmentation(),
        settings=RedrawSettings(steps=1, guidance=2.0),
    )
    x0, quantities = torch.zeros(1, 4, 3, 8, 8, 4), torch.tensor([[100.0, 50.0, 90.0, 3.0]])
    for seed in range(8):
        data._redrawn(x0, 0, quantities, np.random.default_rng(seed))
    assert {(one["conditions"] is not None, one["guidance"]) for one in asked} == {(True, 2.0), (False, 1.0)}


def test_examples_belong_to_what_made_them_and_more_copies_are_added(tmp_path):
    pack = read_pack(pack_of(tmp_path))

    def examples(copies: int, seed: int) -> RefinerData:
        torch.manual_seed(seed)
        return RefinerData(
            tmp_path / "examples",
            VQGAN(**CODEC),
            DiT4D(**{**DIT, "num_classes": 0, "class_dropout_prob": 0.0}),
            LatentScale(torch.zeros(4, 1, 1, 1, 1), torch.ones(4, 1, 1, 1, 1)),
            NoiseSchedule("cosine", 300),
            size=32,
            ranges=LatentAugmentation(),
            settings=RedrawSettings(copies=copies, steps=1),
        )

    assert not examples(1, 0).is_whole and examples(1, 0).make(pack, tmp_path / "pack.npz")
    first = (tmp_path / "examples" / "copy-00.safetensors").read_bytes()
    more = examples(2, 0)
    assert examples(1, 0).is_whole and not more.is_whole and more.make(pack, tmp_path / "pack.npz")
    assert len(more.read().images) == 4 and (tmp_path / "examples" / "copy-00.safetensors").read_bytes() == first
    with refused("transformer", "examples"):
        _ = examples(2, 1).is_whole
    (tmp_path / "examples" / "about.json").unlink()  # as where the making was cut short
    assert examples(2, 1).make(pack, tmp_path / "pack.npz")
    assert (tmp_path / "examples" / "copy-00.safetensors").read_bytes() != first
