"""The landmark stages: points move with their pictures, it learns, goes on to the bit, and its model can be used."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command_line import run
from refusals import names, refused
from test_training_segmentation import OFF, make_pack
from tiny_segmentation import tiny_manifest, tiny_network
from tiny_segmentation import tiny_network as tiny_segmentation_network
from training_pieces import pieces_with_the_same_bits

from CardioDiTLib.data.packing import read_pack
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.landmarks.detect import detect_landmarks
from CardioDiTLib.landmarks.model import PointRule, load_model
from CardioDiTLib.landmarks.septal_contour import trace_septal_contour
from CardioDiTLib.models.slice_unet import LandmarkNetwork, LandmarkNetworkConfig, label_logits
from CardioDiTLib.segmentation.model import write_model
from CardioDiTLib.training.checkpoint import averaged_weights
from CardioDiTLib.training.landmark_stage import (
    LandmarkStage,
    LandmarkStageConfig,
    PackReferences,
    heatmap_loss,
    moved_points,
    point_scores,
)
from CardioDiTLib.training.loop import LoopConfig, Trainer
from CardioDiTLib.training.network_tasks import LandmarkRun
from CardioDiTLib.training.slice_augment import ImageAugmenter, SegmentationAugmentation

SETTINGS = """
name: tiny
frames: 4
field_mm: 144
rule: {presence: 0.4, window_mm: 6}
landmarks:
  loop: {steps: 4, warmup_steps: 1, validate_every: 2, log_every: 1, save_every_s: 0, threads: 1}
  stage:
    network: {channels: [4, 8, 8], res_units: 1, spacing_mm: 3}
    batch: 2
    crop: 32
"""
PUBLISHED = """
name: tiny-published
frames: 4
field_mm: 144
published:
  loop: {steps: 3, warmup_steps: 0, validate_every: 3, log_every: 1, save_every_s: 0, threads: 1}
  stage:
    network: {channels: [4, 8, 8], dropout: [0.1, 0.1, 0.1], spacing_mm: 3, size: 48}
    variant: var2
    normalisation: joint
    batch: 2
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "pack.npz")


@pytest.fixture()
def settings(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path / "tiny.yaml"


def test_references_are_the_ends_of_the_septum_of_the_labels(pack):
    data = read_pack(pack)
    references = PackReferences.of_pack(data)
    walk = trace_septal_contour(data.labels[1, 2, 0], (3.0, 3.0))
    points, confidence = references.points(1, 2, 0)
    np.testing.assert_allclose(points, [walk.first[::-1], walk.second[::-1]])
    assert confidence == walk.confidence
    nothing = PackReferences(np.zeros((1, 1, 1, 8, 8), np.uint8), (1.0, 1.0, 1.0)).points(0, 0, 0)
    assert np.isnan(nothing[0]).all() and nothing[1] == 0


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_points_move_with_the_picture_and_change_places_in_a_mirrored_one(mirror):
    ranges = SegmentationAugmentation(
        **{**OFF, "turn_deg": 180, "mirror": mirror, "scale": 0.15, "stretch": 0.05, "shift_mm": 10, "bend_mm": 2}
    )
    labels = make_phantom(PhantomSpec(frames=2, slices=3, height=64, width=72, spacing_mm=(2.0, 2.2, 18.0)))
    plane = labels.segmentation.array[0, 1]
    walk = trace_septal_contour(plane, (2.2, 2.0))
    middle = [(72 - 1) / 2, (64 - 1) / 2]
    points = (np.array([walk.first[::-1], walk.second[::-1]]) - middle) * [2.0, 2.2]
    augment = ImageAugmenter(ranges, 80, 2.0, (2.0, 2.2))
    given = torch.from_numpy(plane)[None].repeat(6, 1, 1)
    _, moved, places = augment.with_places(given[:, None].float() - 1, given, torch.Generator().manual_seed(1))
    there = moved_points(torch.from_numpy(points)[None].repeat(6, 1, 1).float(), places, 2.0)
    judged = 0
    for labels_drawn, pair in zip(moved.numpy(), there.numpy()):
        again = trace_septal_contour(labels_drawn.astype(np.uint8), (2.0, 2.0))
        if again is None or np.isnan(pair).any():
            continue
        np.testing.assert_allclose(pair, [again.first[::-1], again.second[::-1]], atol=2.0)
        judged += 1
    assert judged >= 4
    outside = moved_points(torch.tensor([[[500.0, 0.0], [float("nan")] * 2]]), places[:1], 2.0)
    assert torch.isnan(outside).all()


def test_heat_like_the_gaussian_costs_nothing_and_far_heat_much():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    points = torch.tensor([[[12.3, 20.6], [float("nan")] * 2]])
    logits = torch.zeros(1, 2, 32, 40)
    logits[0, 0] = -((x - 12.3) ** 2 + (y - 20.6) ** 2) / (2 * 2.0**2)
    place, distance = heatmap_loss(logits, points, torch.ones(1, 2), 2.0)
    assert float(place) == pytest.approx(0, abs=1e-4) and float(distance) < 0.05
    place, distance = heatmap_loss(logits.roll(10, 3), points, torch.ones(1, 2), 2.0)
    assert float(place) > 5 and float(distance) == pytest.approx(10, abs=0.5)
    nowhere = heatmap_loss(logits, torch.full((1, 2, 2), float("nan")), torch.zeros(1, 2), 2.0)
    assert float(nowhere[0]) == 0 and float(nowhere[1]) == 0


def test_scores_count_misses_and_false_points():
    truth = np.full((4, 2, 2), np.nan)
    truth[:3, 0], truth[:3, 1] = [10.0, 10.0], [10.0, 50.0]
    found = truth.copy()
    found[0] += [3.0, 4.0]
    found[1, 0] += 30.0
    found[2, 1] = np.nan
    found[3, 0] = [0.0, 0.0]
    scores = point_scores(found, truth)
    assert scores["first_mm"] == 5.0 and scores["second_mm"] == 2.5
    assert scores["recall"] == pytest.approx(4 / 6) and scores["precision"] == pytest.approx(4 / 6)


def test_the_loss_falls_and_points_of_hearts_never_seen_are_found(pack, tmp_path):
    torch.manual_seed(0)
    config = LandmarkStageConfig(
        network=LandmarkNetworkConfig(channels=(8, 16, 24), res_units=1, spacing_mm=3.0),
        augmentation=SegmentationAugmentation(**{**OFF, "turn_deg": 40.0, "gamma": 0.1}),
        batch=6,
        crop=48,
        sigma_mm=6.0,
        lr=1e-2,
        average_decay=0.95,
    )
    stage = LandmarkStage(config, read_pack(pack))
    loop = LoopConfig(steps=80, warmup_steps=5, validate_every=80, log_every=10, device="cpu", threads=1)
    scores = Trainer(stage, loop, tmp_path / "run").run()
    losses = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [entry["loss"] for entry in losses if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert scores["recall"] > 0.6 and scores["first_mm"] < 9 and scores["second_mm"] < 9


def test_a_run_in_pieces_ends_with_the_same_bits(pack, settings, capsys):
    assert pieces_with_the_same_bits(capsys, "landmarks", settings, pack) == 4


def test_a_run_becomes_a_model_that_finds_points(pack, settings, tmp_path, capsys):
    assert run("train", "landmarks", "--config", settings, "--data", pack, "--out", tmp_path / "run") == 0
    (tmp_path / "texts.json").write_text(
        json.dumps(
            {"version": "1.2.3", "licence": {"name": "CC0", "conditions": "None."}, "quality": {"note": "a test"}}
        ),
        encoding="utf-8",
    )
    words = ("train", "landmarks-bundle", "--config", settings, "--out", tmp_path / "run")
    assert run(*words, "--bundle", tmp_path / "model", "--describe", tmp_path / "texts.json", "--storage", "fp32") == 0
    model = load_model(tmp_path / "model")
    about = model.manifest
    assert (about.name, about.version, about.licence.name, about.field_mm) == ("tiny", "1.2.3", "CC0", 144.0)
    assert about.rule == PointRule(0.4, 6.0) and about.provenance == {"steps": 4}
    assert about.quality["note"] == "a test" and about.quality["validation_step"] == 4
    trained = averaged_weights(tmp_path / "run" / "landmarks")
    assert all(torch.equal(value, trained[name]) for name, value in model.network.state_dict().items())
    cine = make_phantom(PhantomSpec(frames=2, slices=2, height=40, width=40, spacing_mm=(3.0, 3.0, 18.0))).cine
    assert detect_landmarks(cine, method="network", weights=model).points.shape == (2, 2, 2, 3)
    capsys.readouterr()
    assert run(*words, "--bundle", tmp_path / "model") == 1
    assert "already" in capsys.readouterr().err
    assert run(*words) == 1
    assert names(capsys.readouterr().err, "--bundle")


def test_a_segmentation_model_to_start_from_is_taken_over_whole(pack, settings, tmp_path, capsys):
    network = tiny_segmentation_network()
    start = write_model(tmp_path / "labels", tiny_manifest(network), network, storage="fp32")
    words = ("train", "landmarks", "--config", settings, "--data", pack, "--out", tmp_path / "run", "--start-from")
    stage = LandmarkStage(LandmarkRun(settings).settings.stage, read_pack(pack))
    assert stage.start_with(network.state_dict()) == sum(value.numel() for value in network.state_dict().values())
    assert isinstance(stage.model, LandmarkNetwork)
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(label_logits(stage.model.eval()(pictures)), network(pictures))
    assert run(*words, start) == 0
    capsys.readouterr()
    bundle = (
        "train",
        "landmarks-bundle",
        "--config",
        settings,
        "--out",
        tmp_path / "run",
        "--bundle",
        tmp_path / "model",
    )
    assert run(*bundle) == 0
    about = load_model(tmp_path / "model").manifest.provenance["started_from"]
    assert about["name"] == "tiny" and len(about["sha256"]) == 64
    on = ("train", "landmarks", "--config", settings, "--data", pack, "--out", tmp_path / "on", "--start-from")
    assert run(*on, tmp_path / "model") == 0
    assert (
        json.loads((tmp_path / "on" / "landmarks" / "start.json").read_text(encoding="utf-8"))["provenance"]["steps"]
        == 4
    )
    other = tiny_network(channels=(6, 10, 10))
    wrong = write_model(tmp_path / "other", tiny_manifest(other), other, storage="fp32")
    again = ("train", "landmarks", "--config", settings, "--data", pack, "--out", tmp_path / "more", "--start-from")
    assert run(*again, wrong) == 1
    assert names(capsys.readouterr().err, "fit")


@pytest.mark.parametrize("variant", ["base", "var1", "var2"])
def test_the_published_stage_trains_and_its_model_can_be_used(pack, tmp_path, variant):
    (tmp_path / "published.yaml").write_text(PUBLISHED.replace("var2", variant), encoding="utf-8")
    words = ("--config", tmp_path / "published.yaml", "--out", tmp_path / "run")
    assert run("train", "landmarks", *words, "--data", pack) == 0
    log = [
        json.loads(line)
        for line in (tmp_path / "run" / "landmarks" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert all(-1 <= entry["loss"] < 2 for entry in log if "loss" in entry)
    assert any("val_recall" in entry for entry in log)
    assert run("train", "landmarks-bundle", *words, "--bundle", tmp_path / "model") == 0
    model = load_model(tmp_path / "model")
    assert model.manifest.design == "published"
    cine = make_phantom(PhantomSpec(frames=2, slices=2, height=40, width=40, spacing_mm=(3.0, 3.0, 18.0))).cine
    assert detect_landmarks(cine, method="network", weights=model, track=False).points.shape == (2, 2, 2, 3)


@pytest.mark.parametrize(
    "change, says",
    [
        (("batch: 2", "bach: 2"), ("bach",)),
        (("batch: 2", "batch: 0"), ("batch", 0)),
        (("batch: 2", "sigma_mm: 0"), ("sigma", 0.0)),
        (("spacing_mm: 3", "spacing_mm: -3"), ("landmark network", -3)),
        (("presence: 0.4", "presence: 4"), ("presence", 4)),
        (("frames: 4", "frames: none"), ("frames", "none")),
        (("landmarks:", "something:"), ("landmarks",)),
    ],
)
def test_settings_that_are_not_possible_are_refused(settings, change, says):
    settings.write_text(SETTINGS.replace(*change), encoding="utf-8")
    with refused(*says):
        LandmarkRun(settings)


def test_settings_of_the_published_stage_are_checked_too(tmp_path):
    for change, says in [
        (("var2", "var9"), ("variant", "var9")),
        (("joint", "both"), ("normalisation", "both")),
        (("size: 48", "size: 50"), ("size", 50)),
    ]:
        (tmp_path / "a.yaml").write_text(PUBLISHED.replace(*change), encoding="utf-8")
        with refused(*says):
            LandmarkRun(tmp_path / "a.yaml")


def test_the_settings_that_come_along_can_be_read():
    from pathlib import Path

    folder = Path(__file__).parents[1] / "Resources" / "Training"
    ours, published = (LandmarkRun(folder / f"{name}.yaml") for name in ("landmarks", "landmarks-published"))
    assert ours.settings.stage.network == LandmarkNetworkConfig() and not ours.rvip
    assert ours.settings.stage.crop % ours.settings.stage.network.multiple == 0
    assert published.rvip and published.settings.stage.network.size == 224
