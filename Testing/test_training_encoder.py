"""The encoder's stage: what views do, that it learns, goes on to the bit, and becomes an encoder that can be used."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command_line import run
from refusals import names, refused
from tiny_bundle import write_tiny_bundle
from training_pieces import pieces_with_the_same_bits

from CardioDiTLib.data.packing import patients_of, read_pack, write_cines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.contrastive_cine import CineEmbedding, CineEmbeddingConfig
from CardioDiTLib.privacy.encoder import embed_pack, load_encoder
from CardioDiTLib.training.checkpoint import averaged_weights
from CardioDiTLib.training.encoder_decoded import decoded_cine, decoded_pack
from CardioDiTLib.training.encoder_stage import (
    FILE_NAME,
    EncoderStage,
    EncoderStageConfig,
    middle,
    moments,
    read_whitening,
    recognised,
    whitening,
    working_frames,
    write_whitening,
)
from CardioDiTLib.training.encoder_views import ViewMaker, ViewRanges
from CardioDiTLib.training.loop import LoopConfig, Trainer
from CardioDiTLib.training.network_tasks import EncoderRun

SETTINGS = """
name: tiny
frames: 4
encoder:
  loop: {steps: 3, warmup_steps: 1, validate_every: 2, log_every: 1, save_every_s: 0, threads: 1}
  stage:
    network: {channels: [8, 8], hidden: 16, dimension: 8, size: 16, spacing_mm: 6}
    views: {slices: 2}
    batch: 3
    frames: 4
    validation_views: 2
"""
PUBLISHED = """
published: true
encoder:
  loop: {steps: 2, warmup_steps: 1, final_lr_share: 0.5, validate_every: 2, log_every: 1, threads: 1}
  stage: {downsample: [1, 4, 4], size: 16, spacing_mm: 6, batch: 3, validation_views: 2}
"""
STILL = ViewRanges().eased(0.0)


def patterns(count: int, seed: int = 0, slices: int = 4) -> np.ndarray:
    """(N, 4, slices, 40, 40) uint8: blobs that differ from patient to patient and beat in the middle."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(count * slices, 1, 7, 7))).float()
    fields = torch.nn.functional.interpolate(coarse, (40, 40), mode="bicubic", align_corners=True)
    fields = fields.view(count, 1, slices, 40, 40)
    beat = torch.cos(2 * torch.pi * torch.arange(4) / 4).view(1, 4, 1, 1, 1)
    y, x = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(40.0) - 19.5, indexing="ij")
    beat = beat * (x.square() + y.square() < 100)
    return ((fields * (1 + 0.2 * beat)) * 50 + 120).clamp(0, 255).numpy().astype(np.uint8)


def make_pack(path, count=6, aside=(5,), **settings):
    return write_cines(
        path, patterns(count, **settings), (3.0, 3.0, 10.0), validation=[i in aside for i in range(count)]
    )


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "pack.npz")


@pytest.fixture()
def settings(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path / "tiny.yaml"


def test_a_patient_that_a_data_set_holds_twice_is_one():
    images = patterns(4)
    twice = np.concatenate([images, images[[2]], np.clip(images[[1]] * 0.9, 0, 255).astype(np.uint8)])
    assert patients_of(twice).tolist() == [0, 1, 2, 3, 2, 1]
    assert patients_of(images).tolist() == [0, 1, 2, 3]


def test_patients_kept_aside_are_not_learned_under_another_name(tmp_path):
    images = patterns(5)
    images = np.concatenate([images, images[[4]]])
    write_cines(tmp_path / "p.npz", images, (3.0, 3.0, 10.0), validation=[False] * 5 + [True])
    config = EncoderStageConfig(network=CineEmbeddingConfig(channels=(8, 8), size=16, spacing_mm=6.0), frames=4)
    stage = EncoderStage(config, read_pack(tmp_path / "p.npz"))
    assert stage.train_index.tolist() == [0, 1, 2, 3] and stage.validation_index.tolist() == [5]
    write_cines(tmp_path / "q.npz", images[[0, 0]], (3.0, 3.0, 10.0))
    with refused("two", "patients"):
        EncoderStage(config, read_pack(tmp_path / "q.npz"))


def test_recognition_by_hand():
    references = torch.eye(4)[:3]
    queries = torch.tensor([[1, 0.1, 0, 0], [0.5, 1.0, 0, 0], [0, 0.9, 0.5, 0], [0, 0, 1.0, 0]])
    found = recognised(queries, np.array([0, 1, 2, 2]), references, np.arange(3))
    right = np.array([np.corrcoef(queries[i], references[j])[0, 1] for i, j in enumerate((0, 1, 2, 2))])
    wrong = np.array([np.corrcoef(queries[i], references[j])[0, 1] for i, j in enumerate((1, 0, 1, 0))])
    assert found["first"] == 0.75
    assert found["threshold"] == pytest.approx(np.quantile(wrong, 0.95), abs=1e-6)
    assert found["sensitivity"] == ((right > found["threshold"]) & (right > wrong)).mean() == 0.75
    assert found["margin"] == pytest.approx((right - wrong).mean(), abs=1e-6)


def parts(count: int, seed: int = 0, slices: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Moments (N, 3, slices, 40, 40) and single frames (N, 4, ...) of patterns."""
    frames = torch.from_numpy(patterns(count, seed, slices))
    kept, singles = moments(frames, np.full(count, 2))
    return kept.float(), singles.float()


def plain_ranges(**changed: float) -> ViewRanges:
    return ViewRanges(**{**vars(STILL), "mirror": 0.0, "slices": 5, **changed})


def test_moments_are_of_the_beat_and_not_of_the_brightness_of_frames():
    frames = patterns(2)
    kept, singles = moments(torch.from_numpy(frames), np.array([2, 2]))
    assert kept.shape == (2, 3, 4, 40, 40) and singles.shape == (2, 4, 4, 40, 40)
    torch.testing.assert_close(kept[:, 0].float(), torch.from_numpy(frames).float().mean(1) / 255, atol=0.01, rtol=0)
    flicker = frames[:, :1] * np.array([1.0, 0.8, 0.6, 0.9])[:, None, None, None]
    flicker, angle = np.rint(flicker).astype(np.uint8), np.pi * np.arange(4) / 2
    found = moments(torch.from_numpy(flicker), np.array([2, 2]))[0][:, 1:].float().abs().mean()
    raw = np.abs(np.tensordot(np.cos(angle), flicker / 255.0, (0, 1))).mean() / 2
    assert found < 0.05 * raw
    assert kept[:, 1:].float().abs().mean() > 2 * found


def test_views_without_ranges_are_the_cine():
    cines, frames = parts(3)
    make = ViewMaker(plain_ranges(), 16, 6.0)
    mean, beat = make(cines, cines.flip(0), frames, torch.Generator().manual_seed(0))
    assert mean.shape == beat.shape == (3, 5, 16, 16)
    # a disc of 140 mm, from darkest to brightest; pixels of 6 mm of both
    inside = make._disc
    assert (mean[..., ~inside] == -1).all() and (beat[..., ~inside] == 0).all()
    seen = cines[:, 0][..., 12:-12, 12:-12][..., inside]
    for one, wanted in zip(mean[..., inside], seen):
        assert np.corrcoef(one.flatten(), wanted.flatten())[0, 1] > 0.999
    mirrored = ViewMaker(plain_ranges(mirror=1.0), 16, 6.0)
    flipped, _ = mirrored(cines, cines, frames, torch.Generator().manual_seed(0))
    torch.testing.assert_close(flipped, mean.flip(-1), atol=1e-3, rtol=0)
    still = ViewMaker(plain_ranges(still=1.0), 16, 6.0)
    assert still(cines, cines, frames, torch.Generator().manual_seed(0))[1].abs().max() == 0
    cines[0, :, 3:] = 0
    absent, _ = make(cines, cines, frames, torch.Generator())
    assert (absent[0, 3:] == -1).all() and absent[1, 3:].std() > 0.1


def test_each_range_changes_views_and_is_drawn_from_the_generator():
    (cines, frames), (others, _) = parts(8), parts(8, seed=1)
    changed = {"turn_deg": 40.0, "any_turn": 1.0, "shift_mm": 20.0, "scale": 0.2, "stretch": 0.1, "bend_mm": 6.0}
    changed |= {"slice_shift_mm": 4.0, "between": 1.0, "crop": 1.0, "two_frames": 1.0, "still": 1.0, "beatless": 1.0}
    changed |= {"gamma": 0.3, "slice_gain": 0.3, "field": 1.0, "blur_px": 2.0, "noise": 0.2}
    chance_free = ("two_frames", "beatless")  # every view, and always the same

    def draw(seed: int, **ranges: float) -> torch.Tensor:
        make = ViewMaker(plain_ranges(**ranges), 16, 6.0)
        return torch.stack(make(cines, others, frames, torch.Generator().manual_seed(seed)))

    plain = draw(1)
    for name, value in changed.items():
        view = draw(1, **{name: value})
        assert view.shape == plain.shape and view[0].abs().max() <= 1 and torch.isfinite(view).all()
        assert (view - plain).abs().mean() > 1e-3, name
        assert torch.equal(view, draw(1, **{name: value})), name
        if name not in chance_free:
            assert not torch.equal(view, draw(2, **{name: value})), name
    # the same gain and offset everywhere are levelled out
    for name in ("gain", "offset"):
        torch.testing.assert_close(draw(1, **{name: 0.2}), plain, atol=2e-3, rtol=0)
    assert 0 < (draw(1, blend=0.5, blended=1.0) - plain).abs().mean() < 1
    assert draw(1, slices=3).shape[2] == 3
    for wrong in ({"crop": 1.5}, {"noise": -0.1}, {"slices": 0}, {"gamma": float("nan")}, {"still": 0.9}):
        with pytest.raises(CardioDiTError):
            ViewRanges(**{"two_frames": 0.2, **wrong})


def test_whitening_gives_every_direction_the_same_variance(tmp_path):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, 5, generator=generator) * torch.tensor([10.0, 3.0, 1.0, 0.3, 1e-4]) + 7
    values = values @ torch.linalg.qr(torch.randn(5, 5, generator=generator))[0]
    mean, matrix = whitening(values, 0.0)
    even = (values - mean) @ matrix
    # the narrowest direction is a hundred thousandth of the widest: float32 keeps some of its digits
    torch.testing.assert_close(torch.cov(even.T), torch.eye(5), atol=5e-3, rtol=0)
    torch.testing.assert_close(matrix, matrix.T)
    mean, matrix = whitening(values, 0.01)
    variances = torch.linalg.eigvalsh(torch.cov(((values - mean) @ matrix).T))
    assert variances[0] < 1e-6 and variances[-1] == pytest.approx(1.0, abs=0.01)
    write_whitening(tmp_path, mean, matrix, 7)
    assert read_whitening(tmp_path, 8) is None and read_whitening(tmp_path / "no", 7) is None
    found = read_whitening(tmp_path, 7)
    assert found is not None and torch.equal(found[0], mean) and torch.equal(found[1], matrix)
    (tmp_path / FILE_NAME).write_bytes(b"damaged")
    assert read_whitening(tmp_path, 7) is None


def test_pictures_are_cut_or_continued_to_the_network_size():
    frames = torch.arange(20.0).expand(2, 20)
    torch.testing.assert_close(middle(frames.T.contiguous()[None], 2).shape, torch.Size([1, 2, 2]))
    assert middle(torch.arange(6.0).expand(6, 6), 4)[0].tolist() == [1, 2, 3, 4]
    assert middle(torch.arange(3.0).expand(3, 3), 7)[0].tolist() == [0, 0, 0, 1, 2, 2, 2]


def test_the_loss_falls_and_patients_never_seen_are_recognised(tmp_path):
    make_pack(tmp_path / "pack.npz", 24, tuple(range(18, 24)))
    config = EncoderStageConfig(
        network=CineEmbeddingConfig(channels=(8, 16), hidden=32, dimension=16, size=16, spacing_mm=6.0),
        views=ViewRanges(slices=4).eased(0.25),
        batch=12,
        frames=4,
        lr=5e-3,
        average_decay=0.9,
    )
    torch.manual_seed(0)
    stage = EncoderStage(config, read_pack(tmp_path / "pack.npz"))
    loop = LoopConfig(steps=50, warmup_steps=3, validate_every=50, log_every=5, device="cpu", threads=1)
    scores = Trainer(stage, loop, tmp_path / "run").run()
    losses = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [entry["loss"] for entry in losses if "loss" in entry]
    assert losses[-1] < 0.75 * losses[0]
    assert scores["first"] > 0.5 and scores["seen_first"] > 0.5  # one in 24 by chance
    assert {"sensitivity", "threshold", "seen_sensitivity"} <= set(scores)


def test_a_run_in_pieces_ends_with_the_same_bits(pack, settings, capsys):
    assert pieces_with_the_same_bits(capsys, "encoder", settings, pack) == 3


def test_a_run_becomes_an_encoder_that_embeds(pack, settings, tmp_path, capsys):
    assert run("train", "encoder", "--config", settings, "--data", pack, "--out", tmp_path / "run") == 0
    texts = {
        "version": "1.2.3",
        "licence": {"name": "CC0", "conditions": "None."},
        "training_data": {"data_source": "patterns"},
        "quality": {"planted": 0.5},
    }
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    words = ("train", "encoder-bundle", "--config", settings, "--out", tmp_path / "run", "--storage", "fp32")
    assert run(*words) == 1  # nowhere to write to
    words = (*words, "--bundle", tmp_path / "model", "--describe", tmp_path / "texts.json")
    assert run(*words) == 0
    encoder = load_encoder(tmp_path / "model")
    wanted = CineEmbedding(encoder.network.config)
    wanted.load_state_dict(averaged_weights(tmp_path / "run" / "encoder"))
    found = read_whitening(tmp_path / "run" / "encoder", 3)
    assert found is not None
    cines = torch.rand(3, 4, 2, 16, 16)
    with torch.inference_mode():
        even = (wanted.eval()(cines) - found[0]) @ found[1]
        torch.testing.assert_close(encoder.network(cines), even, atol=1e-3, rtol=1e-3)
    about = encoder.manifest
    assert (about.version, about.licence.name, about.provenance["steps"]) == ("1.2.3", "CC0", 3)
    assert about.quality["planted"] == 0.5 and about.quality["before_whitening"]["validation_step"] == 3
    assert about.grid.frames == 4 and about.grid.height == 32
    assert embed_pack(encoder, pack).shape == (5, 8)
    assert run(*words) == 1  # there is one already
    assert run(*words, "--overwrite") == 0
    (tmp_path / "run" / "encoder" / FILE_NAME).unlink()
    assert run(*words, "--overwrite") == 1
    assert names(capsys.readouterr().err, "end")
    assert run("train", "encoder", "--config", settings, "--data", pack, "--out", tmp_path / "run") == 0
    again = read_whitening(tmp_path / "run" / "encoder", 3)
    assert again is not None and torch.equal(again[1], found[1])
    (tmp_path / "texts.json").write_text('{"licens": 1}', encoding="utf-8")
    assert run(*words, "--overwrite") == 1
    assert "licens" in capsys.readouterr().err


def test_training_goes_on_from_an_encoder(pack, settings, tmp_path, capsys):
    words = ("train", "encoder", "--config", settings, "--data", pack, "--out")
    assert run(*words, tmp_path / "run") == 0
    export = ("train", "encoder-bundle", "--config", settings, "--bundle", tmp_path / "model", "--storage", "fp32")
    assert run(*export, "--out", tmp_path / "run") == 0
    settings.write_text(SETTINGS + f"    start: {tmp_path / 'model'}\n", encoding="utf-8")
    stage = EncoderStage(EncoderRun(settings).settings.stage, read_pack(pack))
    begun = load_encoder(tmp_path / "model").network.state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in stage.model.state_dict().items())
    settings.write_text(settings.read_text(encoding="utf-8").replace("hidden: 16", "hidden: 24"), encoding="utf-8")
    assert run(*words, tmp_path / "other") == 1
    assert "another network" in capsys.readouterr().err


def test_decoded_cines_are_kept_and_taken_up_again(tmp_path, capsys):
    codec = write_tiny_bundle(tmp_path / "bundle").vqgan.eval()
    data = read_pack(make_pack(tmp_path / "pack.npz", 11, ()))
    made = decoded_cine(codec, data.images[0], 2, seed=0)
    assert made.shape == (2, *data.images[0].shape) and made.dtype == np.uint8
    assert (made[0] != data.images[0]).mean() > 0.1 and (made[0] != made[1]).any()
    options = {"copies": 2, "frames": 4, "spacing_mm": 6.0}
    assert decoded_pack(codec, data, tmp_path / "d", **options, deadline=0.0) is None  # one file a call at least
    whole = decoded_pack(codec, data, tmp_path / "d", **options)
    assert whole is not None and whole.shape == (2, 11, 4, 4, 20, 20)
    torch.testing.assert_close(whole[:, 0], working_frames(made, 4, 3.0, 6.0))
    capsys.readouterr()
    again = decoded_pack(codec, data, tmp_path / "d", **options)
    assert again is not None and torch.equal(whole, again) and capsys.readouterr().out == ""
    (tmp_path / "d" / "decoded-000.safetensors").write_bytes(b"damaged")
    repaired = decoded_pack(codec, data, tmp_path / "d", **options)
    assert repaired is not None and torch.equal(whole, repaired)


def test_decoded_views_are_drawn(tmp_path, settings, pack):
    write_tiny_bundle(tmp_path / "bundle")
    settings.write_text(SETTINGS + f"    codec: {tmp_path / 'bundle'}\n    decoded_copies: 1\n", encoding="utf-8")
    words = ("train", "encoder", "--config", settings, "--data", pack, "--out", tmp_path / "run")
    assert run(*words) == 0
    assert len(list((tmp_path / "run" / "encoder" / "decoded").glob("*.safetensors"))) == 1
    config = EncoderRun(settings)
    data = read_pack(pack)
    decoded = torch.zeros((1, 6, 4, 4, 20, 20), dtype=torch.uint8)
    stage = EncoderStage(config.settings.stage, data, decoded)
    drawn = stage._views(
        np.repeat(stage.train_index, 20), stage.train_index, np.random.default_rng(0), torch.Generator().manual_seed(0)
    )
    black = (drawn[0].flatten(1).amax(1) <= 0).float().mean()
    assert 0.15 < black < 0.45


def test_the_published_pairs_and_network_can_be_trained(tmp_path, pack, capsys):
    (tmp_path / "published.yaml").write_text(PUBLISHED, encoding="utf-8")
    words = ("train", "encoder", "--config", tmp_path / "published.yaml", "--data", pack, "--out", tmp_path / "run")
    assert run(*words) == 0
    assert "val_sensitivity" in (tmp_path / "run" / "encoder" / "log.jsonl").read_text(encoding="utf-8")
    words = ("train", "encoder-bundle", "--config", tmp_path / "published.yaml", "--out", tmp_path / "run")
    assert run(*words, "--bundle", tmp_path / "model") == 1
    assert "for comparison" in capsys.readouterr().err
    (tmp_path / "published.yaml").write_text(PUBLISHED.replace("[1, 4, 4]", "[2, 4, 4]"), encoding="utf-8")
    words = ("train", "encoder", "--config", tmp_path / "published.yaml", "--data", pack, "--out", tmp_path / "other")
    assert run(*words) == 1
    assert "4 slices" in capsys.readouterr().err


def test_settings_that_come_with_the_software_can_be_read():
    from pathlib import Path

    folder = Path(__file__).resolve().parents[1] / "Resources" / "Training"
    ours = EncoderRun(folder / "encoder.yaml")
    assert not ours.dar and ours.settings.stage.codec == "acdc-mini"
    assert EncoderRun(folder / "encoder-published.yaml").dar


def test_wrong_settings_and_packs_are_refused(tmp_path, pack, settings, capsys):
    for text, *named in (
        ("name: x", "wrong.yaml", "encoder"),
        ("encoder: {loop: {}, stage: {depth: 2}}", "depth", "encoder.stage"),
        ("encoder: {loop: {}, stage: {batch: 1}}", "1 patients", "8 frames"),
        ("frames: 1\nencoder: {stage: {}}", "frames", 1),
        ("published: 3\nencoder: {stage: {}}", "published", 3),
        ("published: true\nencoder: {stage: {size: 32}}", 32, (2, 16, 16)),
        ("{", "wrong.yaml", "read"),
    ):
        (tmp_path / "wrong.yaml").write_text(text, encoding="utf-8")
        with refused(*named):
            EncoderRun(tmp_path / "wrong.yaml")
    assert run("train", "encoder", "--config", settings, "--out", tmp_path / "run") == 1
    assert names(capsys.readouterr().err, "--data")
    settings.write_text(SETTINGS.replace("spacing_mm: 6", "spacing_mm: 19"), encoding="utf-8")
    assert run("train", "encoder", "--config", settings, "--data", pack, "--out", tmp_path / "run") == 1
    assert "pixels" in capsys.readouterr().err


def test_a_cine_of_few_frames_is_repeated_for_a_view_of_more():
    images = np.arange(3, dtype=np.uint8)[None, :, None, None, None] * np.ones((1, 3, 2, 4, 4), np.uint8)
    assert working_frames(images, 8, 3.0, 3.0)[0, :, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 2, 0]
