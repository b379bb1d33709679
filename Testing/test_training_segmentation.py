"""The segmentation stage: it learns, goes on to the bit, and its model can be written and used."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command_line import run
from refusals import refused
from training_pieces import pieces_with_the_same_bits

from CardioDiTLib.data.packing import PackedCines, read_pack, write_cines
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.models.slice_unet import NetworkConfig
from CardioDiTLib.segmentation.model import load_model
from CardioDiTLib.segmentation.segment import segment
from CardioDiTLib.training.checkpoint import averaged_weights
from CardioDiTLib.training.loop import LoopConfig, Trainer
from CardioDiTLib.training.network_tasks import SegmentationRun
from CardioDiTLib.training.segmentation_stage import SegmentationStage, SegmentationStageConfig, segmentation_loss
from CardioDiTLib.training.slice_augment import ImageAugmenter, SegmentationAugmentation
from CardioDiTLib.training.stage import LabelledPack

SETTINGS = """
name: tiny
frames: 4
field_mm: 144
segmentation:
  loop: {steps: 4, warmup_steps: 1, validate_every: 2, log_every: 1, save_every_s: 0, threads: 1}
  stage:
    network: {channels: [4, 8, 8], res_units: 1, spacing_mm: 3}
    batch: 2
    crop: 32
"""
OFF = {name: 0.0 for name in SegmentationAugmentation.__dataclass_fields__} | {"coarse": 1.0}


def make_pack(path, aside=(False, False, True), labels=True):
    cines = [
        make_phantom(
            PhantomSpec(
                frames=4,
                slices=3,
                height=48,
                width=48,
                spacing_mm=(3.0, 3.0, 18.0),
                seed=seed,
                septum_deg=150.0 + 30 * seed,
            )
        )
        for seed in range(len(aside))
    ]
    images = np.stack([np.clip(made.cine.array / 4, 0, 255) for made in cines]).astype(np.uint8)
    truth = np.stack([made.segmentation.array for made in cines]) if labels else None
    return write_cines(path, images, (3.0, 3.0, 18.0), validation=aside, labels=truth)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "pack.npz")


@pytest.fixture()
def settings(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path / "tiny.yaml"


def test_the_loss_falls_and_hearts_never_seen_are_found(pack, tmp_path):
    torch.manual_seed(0)
    config = SegmentationStageConfig(
        network=NetworkConfig(channels=(8, 16, 24), res_units=1, spacing_mm=3.0),
        augmentation=SegmentationAugmentation(**{**OFF, "turn_deg": 40.0, "scale": 0.05, "gamma": 0.1}),
        batch=6,
        crop=48,
        lr=1e-2,
        average_decay=0.95,
    )
    stage = SegmentationStage(config, read_pack(pack))
    loop = LoopConfig(steps=140, warmup_steps=5, validate_every=140, log_every=10, device="cpu", threads=1)
    scores = Trainer(stage, loop, tmp_path / "run").run()
    losses = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [entry["loss"] for entry in losses if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert set(scores) == {"dice"} | {f"dice_{m}_{n}" for m in ("ED", "ES") for n in ("RV", "myocardium", "LV")}
    assert scores["dice"] > 0.6 and scores["dice_ED_LV"] > 0.7


def test_a_run_in_pieces_ends_with_the_same_bits(pack, settings, capsys):
    assert pieces_with_the_same_bits(capsys, "segmentation", settings, pack) == 4


def test_a_run_becomes_a_model_that_segments(pack, settings, tmp_path, capsys):
    assert run("train", "segmentation", "--config", settings, "--data", pack, "--out", tmp_path / "run") == 0
    (tmp_path / "texts.json").write_text(
        json.dumps(
            {
                "version": "1.2.3",
                "licence": {"name": "CC0", "conditions": "None."},
                "training_data": {"data_source": "phantoms"},
                "quality": {"note": "a test"},
            }
        ),
        encoding="utf-8",
    )
    words = ("train", "segmentation-bundle", "--config", settings, "--out", tmp_path / "run")
    assert run(*words, "--bundle", tmp_path / "model", "--describe", tmp_path / "texts.json", "--storage", "fp32") == 0
    model = load_model(tmp_path / "model")
    about = model.manifest
    assert (about.name, about.version, about.licence.name, about.field_mm) == ("tiny", "1.2.3", "CC0", 144.0)
    assert about.provenance["steps"] == 4 and about.quality["note"] == "a test"
    assert about.quality["validation_step"] == 4 and 0 <= about.quality["validation"]["dice"] <= 1
    trained = averaged_weights(tmp_path / "run" / "segmentation")
    assert all(torch.equal(value, trained[name]) for name, value in model.network.state_dict().items())
    cine = make_phantom(PhantomSpec(frames=2, slices=2, height=40, width=40, spacing_mm=(3.0, 3.0, 18.0))).cine
    assert segment(cine, weights=model).shape == cine.shape
    capsys.readouterr()
    assert run(*words, "--bundle", tmp_path / "model") == 1
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, says",
    [
        (("batch: 2", "bach: 2"), ("bach",)),
        (("batch: 2", "batch: 0"), ("batch", 0)),
        (("spacing_mm: 3", "spacing_mm: -3"), ("spacing_mm", -3)),
        (("batch: 2", "augmentation: {gamma: -1}"), ("gamma", -1)),
        (("frames: 4", "frames: none"), ("frames", "none")),
        (("segmentation:", "something:"), ("segmentation",)),
    ],
)
def test_settings_that_are_not_possible_are_refused(settings, tmp_path, change, says):
    settings.write_text(SETTINGS.replace(*change), encoding="utf-8")
    with refused(*says):
        SegmentationRun(settings)


def test_the_settings_that_come_along_can_be_read():
    from pathlib import Path

    config = SegmentationRun(Path(__file__).parents[1] / "Resources" / "Training" / "segmentation.yaml")
    assert config.settings.stage.network == NetworkConfig()
    assert config.settings.stage.crop % config.settings.stage.network.multiple == 0


def test_problems_are_one_line(pack, settings, tmp_path, capsys):
    def problem(*words):
        assert run(*words) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and "Traceback" not in lines[0]
        return lines[0]

    train = ("train", "segmentation", "--config", settings, "--out", tmp_path / "run")
    assert "no training pack" in problem(*train)
    assert "no labels" in problem(*train, "--data", make_pack(tmp_path / "plain.npz", labels=False))
    assert "holds all" in problem(*train, "--data", make_pack(tmp_path / "aside.npz", (True, True)))
    bundle = ("train", "segmentation-bundle", "--config", settings, "--out", tmp_path / "run")
    assert "no folder" in problem(*bundle)
    assert "no checkpoint" in problem(*bundle, "--bundle", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert run(*train, "--data", pack) == 0
    capsys.readouterr()
    (tmp_path / "texts.json").write_text('{"author": "me"}', encoding="utf-8")
    assert "author" in problem(*bundle, "--bundle", tmp_path / "model", "--describe", tmp_path / "texts.json")
    settings.write_text(SETTINGS.replace("[4, 8, 8]", "[4, 8, 16]"), encoding="utf-8")
    assert "another network" in problem(*bundle, "--bundle", tmp_path / "model")


def test_without_ranges_pictures_stay_what_they_are():
    augment = ImageAugmenter(SegmentationAugmentation(**OFF), 24, 1.5, (1.5, 1.5))
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 24, 24)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 4, (2, 24, 24)).astype(np.uint8))
    drawn, moved = augment(pictures, labels, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, pictures, atol=1e-4, rtol=0)
    assert torch.equal(moved, labels.long())


def test_labels_move_with_the_picture_and_the_draw_is_repeatable():
    ranges = SegmentationAugmentation(
        **{**OFF, "turn_deg": 180, "mirror": 0.5, "scale": 0.15, "stretch": 0.05, "shift_mm": 10, "bend_mm": 2}
    )
    augment = ImageAugmenter(ranges, 64, 1.5, (2.0, 1.0))
    y, x = np.mgrid[0:70, 0:40].astype(np.float32)
    labels = torch.from_numpy((np.hypot(y - 30, 2 * (x - 22)) < 16).astype(np.uint8))[None].repeat(8, 1, 1)
    pictures = (labels.float() * 2 - 1)[:, None].repeat(1, 3, 1, 1)
    drawn, moved = augment(pictures, labels, torch.Generator().manual_seed(3))
    inside = drawn[:, 1] > 0
    assert inside.any(dim=(1, 2)).all()
    assert 2 * (inside & (moved == 1)).sum() / (inside.sum() + (moved == 1).sum()) > 0.95
    again = augment(pictures, labels, torch.Generator().manual_seed(3))
    assert torch.equal(again[0], drawn) and torch.equal(again[1], moved)
    other = augment(pictures, labels, torch.Generator().manual_seed(4))
    assert not torch.equal(other[1], moved)


def test_full_augmentation_keeps_its_range_and_does_not_invert_contrast():
    augment = ImageAugmenter(SegmentationAugmentation(turn_deg=0, shift_mm=0, mirror=0), 32, 1.5, (1.5, 1.5))
    pictures = torch.full((64, 3, 32, 32), -0.6)
    pictures[:, :, 12:20, 12:20] = 0.4
    drawn, _ = augment(pictures, torch.zeros(64, 32, 32), torch.Generator().manual_seed(0))
    assert torch.isfinite(drawn).all() and drawn.abs().max() <= 1
    bright, dark = drawn[:, 1, 14:18, 14:18].mean(dim=(1, 2)), drawn[:, 1, 5:8, 14:18].mean(dim=(1, 2))
    assert (bright > dark).float().mean() > 0.95
    assert drawn.std(dim=0).mean() > 0.1


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.randint(0, 4, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    right = torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float() * 30
    assert float(segmentation_loss(right, labels)) < 0.01
    assert float(segmentation_loss(right.roll(1, 1), labels)) > 5


def test_frames_and_cines_that_nobody_labelled_are_not_learned_as_empty():
    labels = np.zeros((3, 6, 2, 8, 8), np.uint8)
    labels[0, 0, :, 2:6, 2:6] = labels[0, 2, :, 3:5, 3:5] = 3
    labels[1, 3, :, 2:6, 2:6] = 3
    pack = PackedCines(
        images=np.zeros(labels.shape, np.uint8),
        labels=labels,
        slice_valid=np.ones((3, 2), bool),
        groups=np.full(3, -1),
        group_names=(),
        validation=np.zeros(3, bool),
        spacing=(1.5, 1.5, 10.0),
        cycle_s=np.ones(3),
        turn_deg=np.zeros(3),
        affine=None,
    )
    known = LabelledPack(pack)
    assert known.train_index.tolist() == [0, 1] and known.systole[:2].tolist() == [2, 3]
    for share in (0.0, 1.0):
        drawn = {known.draw_frame(np.random.default_rng(seed), share) for seed in range(40)}
        assert drawn == {(0, 0), (0, 2), (1, 3)}
