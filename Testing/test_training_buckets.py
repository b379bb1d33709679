"""Training on latents of several shapes: cines cut to their own slices, beats of several lengths, one shape a batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from test_training_run import assert_same, weights
from test_training_v2 import context

from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.data.packing import write_cines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import GenerationRequest, Generator
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.training.buckets import LatentShapes, channel_scale, drawn_bucket
from CardioDiTLib.training.config import read_config
from CardioDiTLib.training.dit_stage import DitStage
from CardioDiTLib.training.export import export_bundle
from CardioDiTLib.training.latents import read_buckets, read_latents
from CardioDiTLib.training.run import TrainingRun

SETTINGS = """
name: tiny
grid: {slices: 4, size: 16, frames: 8}
vqgan:
  loop: {steps: 1, warmup_steps: 1, validate_every: 1, log_every: 1}
  stage:
    model:
      {num_channels: [8, 8], num_res_channels: [8, 8], num_res_layers: 1, num_embeddings: 16, embedding_dim: 3,
       downsample_parameters: [[2, 4, 1, 1], [2, 4, 1, 1]], upsample_parameters: [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]]}
    batch: 2
    crop: 16
    adversarial_start: 1.0
    discriminator_channels: 4
    discriminator_layers: 2
latents: {quantised: false, augmentation: {copies: 3}, shapes: {own_slices: true, frames: [6, 8, 13]}}
dit:
  loop: {steps: 8, warmup_steps: 1, validate_every: 4, log_every: 1, save_every_s: 0}
  stage:
    model: {input_size: [4, 4, 4, 2], max_input_size: [4, 4, 4, 4], variable_shape: true, patch_size: [1, 2, 2, 2],
            in_channels: 3, hidden_size: 32, depth: 1, num_heads: 2, pos_embed_mode: rope4d, qk_norm: true}
    schedule: {name: flow_matching, num_train_timesteps: 1000}
    batch: 2
    loss: mse
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Settings and a pack whose cines have 4, 3, 3, 2, 4 and 3 slices, the 3 not at one place."""
    folder = tmp_path_factory.mktemp("buckets")
    rng = np.random.default_rng(0)
    valid = np.ones((6, 4), bool)
    valid[1, 3] = valid[2, 0] = valid[3, [0, 3]] = valid[5, 0] = False
    beat = np.sin(2 * np.pi * np.arange(8) / 8)[None, :, None, None, None]
    images = 120 + 60 * beat + rng.normal(0, 20, (6, 8, 4, 16, 16))
    images *= valid[:, None, :, None, None]
    pack = write_cines(
        folder / "pack.npz",
        images.clip(0, 255).astype(np.uint8),
        (1.5, 1.5, 10.0),
        validation=[False] * 5 + [True],
        slice_valid=valid,
    )
    (folder / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    return folder, pack


def run_in(place, folder: Path, text: str = SETTINGS) -> TrainingRun:
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(text, encoding="utf-8")
    return TrainingRun(read_config(path), place[1], folder)


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    run = run_in(place, tmp_path_factory.mktemp("run") / "whole")
    assert run.train_all()
    return run


def borrow(folder: Path, finished: TrainingRun, *stages: str) -> None:
    folder.mkdir()
    for stage in stages:
        (folder / stage).symlink_to(finished.folder / stage)


def test_cines_are_encoded_on_grids_of_their_own(finished):
    sets = read_buckets(finished.folder / "latents")
    shapes = [tuple(one.latents.shape[2:]) for one in sets]
    # 6 and 8 frames are two latents, 13 are 16 with the first three once more: four; patches take two at a time
    assert set(shapes) == {(z, 4, 4, t) for z in (2, 3, 4) for t in (2, 4)} and len(set(shapes)) == len(shapes)
    own = {0: 4, 1: 3, 2: 3, 3: 2, 4: 4, 5: 3}
    for one in sets:
        assert all(own[int(cine)] == one.latents.shape[2] for cine in one.cine) and one.slice_valid.all()
        assert len(one.groups) == len(one.quantities) == len(one.validation) == len(one.latents)
        assert torch.equal(one.validation, one.cine == 5)
    assert sum(len(one.cine) for one in sets) == 5 * 3 + 1
    with refused("latents", "6 shapes"):
        read_latents(finished.folder / "latents")


def test_a_beat_goes_on_with_its_own_beginning_and_slices_are_cut():
    cine = np.linspace(-1, 1, 6 * 5 * 2 * 2).reshape(6, 5, 2, 2)
    valid = np.array([False, True, True, True, False])
    made, left = LatentShapes(True, (6,)).cut(cine, valid, 6, (2, 4))
    assert made.shape == (8, 4, 2, 2) and left.tolist() == [True, True, True, False]
    np.testing.assert_array_equal(made[:6, :3], cine[:, 1:4])
    np.testing.assert_array_equal(made[6:, :3], cine[:2, 1:4])
    assert (made[:, 3] == -1).all()
    longer, _ = LatentShapes(frames=(12,)).cut(cine, valid, 12, (1, 1))
    assert longer.shape == (12, 5, 2, 2)
    np.testing.assert_allclose(longer[::2], cine, atol=1e-6)


def test_lengths_of_beats_are_drawn_by_cine_and_copy_alone():
    shapes = LatentShapes(frames=(20, 25, 30))
    drawn = [shapes.frames_of((0, cine, copy), 16) for cine in range(40) for copy in range(5)]
    assert drawn == [shapes.frames_of((0, cine, copy), 16) for cine in range(40) for copy in range(5)]
    assert min(drawn.count(frames) for frames in (20, 25, 30)) > 45
    assert LatentShapes(own_slices=True).frames_of((0, 1, 2), 16) == 16
    for wrong in ((1,), (16.0,), 16, (True,)):
        with pytest.raises(CardioDiTError, match="frames"):
            LatentShapes(frames=wrong)


def test_a_batch_holds_one_shape_drawn_as_often_as_it_has_cines(finished):
    sets = read_buckets(finished.folder / "latents")
    torch.manual_seed(0)
    stage = DitStage(finished.config.dit.stage, sets)
    seen = []
    stage._loss = lambda model, x0, *a, **k: seen.append(tuple(x0.shape)) or next(model.parameters()).sum().expand(2)
    for step in range(600):
        stage.step(context(step))
    counts = np.array([int((~one.validation).sum()) for one in sets])
    shares = np.array([np.mean([shape[2:] == tuple(one.latents.shape[2:]) for shape in seen]) for one in sets])
    assert {shape[:2] for shape in seen} == {(2, 3)}
    np.testing.assert_allclose(shares, counts / counts.sum(), atol=0.06)


def test_where_there_is_one_shape_nothing_more_is_drawn():
    rng = np.random.default_rng(0)
    assert drawn_bucket([7], rng) == 0
    assert rng.random() == np.random.default_rng(0).random()
    assert {drawn_bucket([1, 0, 1], rng) for _ in range(40)} == {0, 2}


def test_every_shape_gives_a_step_that_changes_the_weights(finished):
    for one in read_buckets(finished.folder / "latents"):
        if not (~one.validation).any():
            continue
        torch.manual_seed(0)
        stage = DitStage(finished.config.dit.stage, [one], channel_scale([(one.latents, one.slice_valid)]))
        before = stage.model.final_layer.linear.weight.detach().clone()
        assert np.isfinite(float(stage.step(context())["loss"]))
        assert not torch.equal(before, stage.model.final_layer.linear.weight)


def test_an_interrupted_run_ends_with_the_same_bits(place, finished, tmp_path):
    borrow(tmp_path / "pieces", finished, "vqgan", "latents")
    run = run_in(place, tmp_path / "pieces")
    pieces = 0
    while not run.train("dit", minutes=1e-6):
        pieces += 1
        assert pieces < 20
    assert pieces >= 3
    assert_same(weights(finished.folder, "dit"), weights(run.folder, "dit"))


def test_latents_made_again_are_the_same(place, finished, tmp_path):
    borrow(tmp_path / "again", finished, "vqgan")
    run = run_in(place, tmp_path / "again")
    assert not run.train("latents", minutes=1e-9)
    assert run.train("latents")
    for one, other in zip(read_buckets(finished.folder / "latents"), read_buckets(run.folder / "latents")):
        assert torch.equal(one.latents, other.latents) and torch.equal(one.cine, other.cine)


def test_the_scale_is_that_of_all_latents_together():
    torch.manual_seed(0)
    whole = torch.randn(6, 3, 4, 2, 2, 4) * torch.tensor([1.0, 2.0, 0.5]).reshape(3, 1, 1, 1, 1) + 1
    valid = torch.ones(6, 4, dtype=torch.bool)
    valid[0, 3] = False
    wanted = LatentScale.fit(whole, valid)
    # the same numbers in two shapes: slices 0 and 1 of all, slices 2 and 3 of all
    made = channel_scale([(whole[:, :, :2], valid[:, :2]), (whole[:, :, 2:], valid[:, 2:])])
    torch.testing.assert_close(made.mean, wanted.mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(made.std, wanted.std, atol=1e-6, rtol=0)


def test_a_bundle_of_it_makes_other_grids(finished, tmp_path):
    bundle = load_bundle(export_bundle(finished.config, finished.folder, tmp_path / "mine", storage="fp32"))
    generator = Generator(bundle, "cpu", "fp32")
    for slices, frames in ((None, None), (2, 13), (3, 6)):
        request = GenerationRequest(steps=2, slices=slices, frames=frames)
        assert generator.generate(request)[0].cine.shape == (frames or 8, slices or 4, 16, 16)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("variable_shape: true", "variable_shape: false", ("variable_shape",)),
        ("max_input_size: [4, 4, 4, 4], ", "", (4, 2)),
        ("frames: [6, 8, 13]", "frames: [1]", ("frames", 1, 2)),
        ("own_slices: true", "own_slice: true", ("own_slice",)),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_encoded(place, finished, tmp_path, old, new, named):
    borrow(tmp_path / "wrong", finished, "vqgan")
    with refused(*named):
        run_in(place, tmp_path / "wrong", SETTINGS.replace(old, new)).train("latents")
    assert not (tmp_path / "wrong" / "latents").exists()


@pytest.mark.parametrize("setting", [{"place_mean": True}, {"modes": True}, {"heart_floor": 0.5}])
def test_settings_of_one_grid_are_refused(finished, setting):
    sets = read_buckets(finished.folder / "latents")
    with pytest.raises(CardioDiTError, match=next(iter(setting))):
        DitStage(dataclasses.replace(finished.config.dit.stage, **setting), sets)


def test_latents_of_other_shapes_than_asked_for_are_refused(place, finished, tmp_path):
    borrow(tmp_path / "other", finished, "vqgan", "latents")
    for new in ("frames: [6, 8]", "frames: []"):
        with refused("shapes", "latents"):
            run_in(place, tmp_path / "other", SETTINGS.replace("frames: [6, 8, 13]", new)).train("dit")
