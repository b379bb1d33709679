"""A whole tiny training: codec, latents, transformer, bundle; interrupted and resumed; losses that fall; motion that
is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused

from CardioDiTLib.data.packing import read_pack, write_cines
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from CardioDiTLib.training.config import read_config
from CardioDiTLib.training.latent_augmentation import LatentAugmentation, augmented, smooth_displacement
from CardioDiTLib.training.latents import read_latents
from CardioDiTLib.training.run import TrainingRun
from CardioDiTLib.training.vqgan_stage import codec_scores

SETTINGS = """
name: tiny
grid: {slices: 2, size: 32, frames: 8}
vqgan:
  loop: {steps: 6, warmup_steps: 1, validate_every: 3, log_every: 1, save_every_s: 0}
  stage:
    model: &codec
      num_channels: [8, 16]
      num_res_channels: [8, 16]
      num_res_layers: 1
      downsample_parameters: [[2, 4, 1, 1], [2, 4, 1, 1]]
      upsample_parameters: [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]]
      num_embeddings: 32
      embedding_dim: 4
      cyclic_time: true
    batch: 2
    crop: 32
    adversarial_start: 0.5
    discriminator_channels: 4
    discriminator_layers: 2
decoder:
  loop: {steps: 2, warmup_steps: 1, validate_every: 2, log_every: 1}
  stage: {model: *codec, batch: 2, crop: 32, adversarial_start: 1.0, decoder_only: true, latent_noise: 0.2,
          motion_energy_weight: 1, ssim_weight: 0.1}
latents: {quantised: false, augmentation: {copies: 2}}
dit:
  loop: {steps: 6, warmup_steps: 1, validate_every: 3, log_every: 1, save_every_s: 0}
  stage:
    model: {input_size: [2, 8, 8, 2], patch_size: [1, 2, 2, 1], in_channels: 4, hidden_size: 32, depth: 2, num_heads: 2,
            class_dropout_prob: 0.2, num_classes: 2}
    batch: 2
    optimizer: muon
    log_snr_mean: 0
    schedule: {name: cosine, num_train_timesteps: 300, continuous: true}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    images = []
    for index in range(5):
        phantom = make_phantom(PhantomSpec(seed=index))
        block = phantom.cine.array[::2][:8, 2:4]
        rows = (block.shape[2] - 40) // 2
        columns = (block.shape[3] - 40) // 2
        cut = block[:, :, rows : rows + 40, columns : columns + 40].astype(float)
        images.append(np.clip(255 * (cut - cut.min()) / np.ptp(cut), 0, 255))
    pack = write_cines(
        folder / "pack.npz",
        np.stack(images).astype(np.uint8),
        (1.5, 1.5, 10.0),
        groups=["a", "b", "a", "b", "a"],
        validation=[False] * 4 + [True],
    )
    (folder / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    return folder, pack


@pytest.fixture(scope="module")
def finished(place):
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, folder / "run")
    assert run.train_all()
    return run


def borrow(folder: Path, finished: TrainingRun) -> None:
    """Gives a run the codec and latents of the finished one."""
    folder.mkdir(exist_ok=True)
    for stage in ("vqgan", "decoder", "latents"):
        (folder / stage).symlink_to(finished.folder / stage)


def weights(run: Path, stage: str) -> dict:
    return load_checkpoint(checkpoints(run / stage)[-1])["modules"]


def assert_same(first: dict, second: dict) -> None:
    for module in first:
        for name, value in first[module].items():
            assert torch.equal(value, second[module][name]), f"{module}.{name}"


def test_run_leaves_log_and_curves(finished):
    for stage in ("vqgan", "decoder", "dit"):
        lines = [
            json.loads(line)
            for line in (finished.folder / stage / "log.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert any("loss" in line for line in lines)
        assert (finished.folder / stage / "curves.png").stat().st_size > 5000
    scores = [line for line in map(json.loads, (finished.folder / "vqgan" / "log.jsonl").open()) if "val_psnr" in line]
    assert {"val_psnr", "val_ssim", "val_motion_share"} <= set(scores[-1])


def test_decoder_alone_leaves_codes_and_encoder(finished):
    first, second = weights(finished.folder, "vqgan")["average"], weights(finished.folder, "decoder")["average"]
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert changed == {"decoder"}


@pytest.mark.parametrize("stage", ["vqgan", "dit"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(place, finished, tmp_path, stage):
    """Every step is one piece: the resumed run ends with the same bits as the whole one."""
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "pieces")
    if stage == "dit":
        borrow(run.folder, finished)
    pieces = 0
    while not run.train(stage, minutes=1e-6 if pieces == 0 else 1e-4):
        pieces += 1
        assert pieces < 20
    assert pieces >= 1
    assert_same(weights(finished.folder, stage), weights(run.folder, stage))


def test_damaged_last_checkpoint_falls_back_to_the_one_before(place, finished, tmp_path):
    folder, pack = place
    shutil.copytree(finished.folder / "dit", tmp_path / "run" / "dit")
    borrow(tmp_path / "run", finished)
    last = checkpoints(tmp_path / "run" / "dit")[-1]
    part = next(last.glob("part-*"))
    part.write_bytes(part.read_bytes()[:100])
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "run")
    run.train("dit")
    assert_same(weights(finished.folder, "dit"), weights(run.folder, "dit"))


def test_checkpoint_files_are_small_and_plain(tmp_path):
    state = {
        "step": 3,
        "modules": {"net": {"w": torch.randn(3_000_000)}},
        "optimizers": {"a": {"state": {0: {"m": torch.randn(2_000_000)}}}},
    }
    path = save_checkpoint(tmp_path, 3, state)
    assert max(p.stat().st_size for p in path.iterdir()) <= 16_000_000
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}
    back = load_checkpoint(path)
    assert torch.equal(back["modules"]["net"]["w"], state["modules"]["net"]["w"])
    assert torch.equal(back["optimizers"]["a"]["state"][0]["m"], state["optimizers"]["a"]["state"][0]["m"])


def test_compact_checkpoint_rounds_only_what_may_be_rounded(tmp_path):
    w = torch.randn(1000)
    state = {"modules": {"net": {"w": w}, "average": {"w": w}}, "optimizers": {"a": {"m": w}}}
    back = load_checkpoint(save_checkpoint(tmp_path, 1, state, compact=True))
    assert torch.equal(back["modules"]["net"]["w"], w)
    torch.testing.assert_close(back["modules"]["average"]["w"], w, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(back["optimizers"]["a"]["m"], w, atol=0.02, rtol=0.01)


def test_latents_hold_no_names_and_as_many_copies_as_asked(finished):
    latents = read_latents(finished.folder / "latents")
    assert latents.latents.shape == (9, 4, 2, 8, 8, 2)
    assert latents.validation.sum() == 1 and latents.cine.tolist().count(0) == 2
    assert not torch.equal(latents.latents[0], latents.latents[latents.cine.tolist().index(0, 1)])


@pytest.mark.parametrize("warp_px", [0.0, 2.0])
def test_augmentation_is_one_draw_for_all_frames_and_slices(warp_px):
    frames = np.zeros((4, 3, 40, 40), np.uint8)
    frames[:, :, 15:18, 22:26] = 200
    made = augmented(frames, 32, np.random.default_rng(1), LatentAugmentation(warp_px=warp_px))
    assert made.shape == (4, 3, 32, 32) and made.max() > 0
    for t in range(4):
        for z in range(3):
            np.testing.assert_array_equal(made[t, z], made[0, 0])


def test_warp_is_smooth_and_as_large_as_asked():
    draws = np.stack([smooth_displacement(64, 5, 2.0, np.random.default_rng(seed)) for seed in range(40)])
    assert draws.shape == (40, 2, 64, 64)
    assert draws[..., 0, 0].std() == pytest.approx(2.0, rel=0.2)  # a knot
    assert np.abs(np.diff(draws, axis=-1)).max() < 1.0  # no fold: neighbours stay in order
    same = LatentAugmentation(turn_deg=0, scale=0, shift_px=0, gamma=0)
    frames = np.random.default_rng(0).integers(0, 255, (2, 2, 40, 40)).astype(np.uint8)
    rng = np.random.default_rng(3)
    np.testing.assert_allclose(augmented(frames, 32, rng, same), augmented(frames, 32, None, same), atol=1e-5)
    warped = augmented(frames, 32, np.random.default_rng(3), dataclasses.replace(same, warp_px=1.5))
    assert np.abs(warped - augmented(frames, 32, None, same)).mean() > 0.01


def test_codec_scores_see_lost_motion():
    """A codec that shows end-diastole for ever has a fair PSNR and no motion."""
    phantom = make_phantom(PhantomSpec(seed=3))
    block = phantom.cine.array.astype(np.float32)
    block = 2 * (block - block.min()) / np.ptp(block) - 1
    real = torch.from_numpy(block[:, 3:5].transpose(1, 2, 3, 0).copy())[:, None]
    still = real[..., :1].expand_as(real).contiguous()
    assert codec_scores(real, real)["motion_share"] == pytest.approx(1.0)
    scores = codec_scores(still, real)
    assert scores["motion_share"] == 0.0 and scores["psnr"] > 15


def test_run_becomes_a_bundle_that_generates(finished, tmp_path):
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.request import GenerationRequest
    from CardioDiTLib.training.export import export_bundle

    bundle = export_bundle(finished.config, finished.folder, tmp_path / "tiny", storage="int8")
    result = Generator.from_bundle(bundle, device="cpu", precision="fp32").generate(
        GenerationRequest(steps=2, pathology="a", seed=1)
    )[0]
    assert result.cine.shape == (8, 2, 32, 32)


def test_the_detail_of_a_bundle_is_fitted_to_what_it_draws(place, finished, tmp_path, capsys):
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.cli import main
    from CardioDiTLib.training.detail_fit import fit_detail
    from CardioDiTLib.training.export import export_bundle

    bundle = export_bundle(finished.config, finished.folder, tmp_path / "tiny", storage="int8")
    first = fit_detail(bundle, place[1], hearts=2, cap=1.8, precision="fp32")
    assert load_bundle(bundle).manifest.detail == first and first.cap == 1.8
    load_bundle(bundle).check()
    # Fitted anew to hearts without a filter, so nothing is stacked.
    assert fit_detail(bundle, place[1], hearts=2, cap=1.8, precision="fp32") == first
    assert main(["train", "detail", "--data", str(place[1])]) != 0
    assert "--bundle" in capsys.readouterr().err


def test_a_bundle_can_be_trained_on(place, finished, tmp_path):
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.training.export import export_bundle

    bundle = export_bundle(finished.config, finished.folder, tmp_path / "tiny", storage="fp32")
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "more", start_from=bundle)
    assert run.is_done("vqgan")
    assert torch.equal(next(run.codec().parameters()), next(finished.codec().parameters()))
    assert run.train_all()
    assert not (run.folder / "decoder").exists(), "the bundle's codec is kept as it is"
    more = weights(run.folder, "dit")
    assert torch.equal(more["scale"]["std"], load_bundle(bundle).latent_scale.std)
    started = load_bundle(bundle).dit.state_dict()
    assert any(not torch.equal(more["average"][name], started[name]) for name in started)
    close = [torch.dist(more["average"][name], started[name]) / started[name].norm().clamp(min=1) for name in started]
    assert max(close) < 1.0, "a few steps do not lead far from where training began"


def test_the_decoder_of_a_bundle_can_be_trained_on_alone(place, finished, tmp_path):
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.training.export import export_bundle

    first = export_bundle(finished.config, finished.folder, tmp_path / "tiny", storage="fp32")
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "more", start_from=first)
    assert run.train("decoder")
    (tmp_path / "texts.json").write_text('{"version": "9.1.0"}', encoding="utf-8")
    second = export_bundle(
        run.config, run.folder, tmp_path / "better", storage="fp32", describe=tmp_path / "texts.json", start_from=first
    )
    before, after = load_bundle(first), load_bundle(second)
    old, new = before.vqgan.state_dict(), after.vqgan.state_dict()
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder"}
    assert all(torch.equal(value, after.dit.state_dict()[name]) for name, value in before.dit.state_dict().items())
    assert torch.equal(before.latent_scale.std, after.latent_scale.std)
    assert after.manifest.version == "9.1.0" and after.manifest.class_names == before.manifest.class_names
    steps = run.config.decoder.loop.steps
    told = after.manifest.provenance
    assert told["started_from"]["sha256"] == before.sha256 and told["decoder_steps_more"] == steps
    assert {**told, **before.manifest.provenance} == told


def test_a_bundle_of_other_settings_is_refused(place, finished, tmp_path):
    from CardioDiTLib.training.export import export_bundle

    bundle = export_bundle(finished.config, finished.folder, tmp_path / "tiny", storage="fp32")
    folder, pack = place
    (tmp_path / "other.yaml").write_text(
        (folder / "settings.yaml").read_text(encoding="utf-8").replace("depth: 2", "depth: 3"), encoding="utf-8"
    )
    with pytest.raises(CardioDiTError, match="depth"):
        TrainingRun(read_config(tmp_path / "other.yaml"), pack, tmp_path / "run", start_from=bundle)


def test_principal_components_are_trained_bundled_and_generated_from(place, finished, tmp_path):
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.request import GenerationRequest
    from CardioDiTLib.training.export import export_bundle

    folder, pack = place
    seen = "input_size: [2, 4, 4, 2], patch_size: [1, 1, 1, 1], in_channels: 6"
    text = (folder / "settings.yaml").read_text(encoding="utf-8")
    text = text.replace("input_size: [2, 8, 8, 2], patch_size: [1, 2, 2, 1], in_channels: 4", seen)
    (tmp_path / "components.yaml").write_text(text + "    patch: [1, 2, 2, 1]\n    coordinates: 6\n", encoding="utf-8")
    config = read_config(tmp_path / "components.yaml")
    borrow(tmp_path / "run", finished)
    run = TrainingRun(config, pack, tmp_path / "run")
    assert run.train("dit")
    bundle = export_bundle(config, run.folder, tmp_path / "tiny", storage="int8")
    assert load_bundle(bundle).latent_scale.basis.shape == (6, 16)
    result = Generator.from_bundle(bundle, device="cpu", precision="fp32").generate(GenerationRequest(steps=2))[0]
    assert result.cine.shape == (8, 2, 32, 32)


def test_latents_of_another_codec_and_other_classes_are_refused(place, finished, tmp_path):
    folder, pack = place
    shutil.copytree(finished.folder / "latents", tmp_path / "run" / "latents")
    (tmp_path / "run" / "vqgan").symlink_to(finished.folder / "vqgan")
    about = tmp_path / "run" / "latents" / "about.json"
    told = json.loads(about.read_text(encoding="utf-8"))
    for key, value, said in (("codec", "0" * 64, "another codec"), ("group_names", ["a", "b", "c"], "2 classes")):
        about.write_text(json.dumps({**told, key: value}), encoding="utf-8")
        with pytest.raises(CardioDiTError, match=said):
            TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "run").train("dit")


def test_encoding_goes_on_where_it_was_interrupted(place, finished, tmp_path):
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "run")
    run.folder.mkdir()
    (run.folder / "vqgan").symlink_to(finished.folder / "vqgan")
    (run.folder / "latents").mkdir()
    first = run.folder / "latents" / "copy-00.safetensors"
    first.write_bytes((finished.folder / "latents" / first.name).read_bytes())
    before = first.stat().st_mtime_ns
    assert not run.train("latents", minutes=-1.0) and run.train("latents")
    assert first.stat().st_mtime_ns == before
    made, whole = read_latents(run.folder / "latents"), read_latents(finished.folder / "latents")
    assert torch.equal(made.latents, whole.latents) and torch.equal(made.cine, whole.cine)


def changed(folder: Path, tmp_path: Path, old: str, new: str):
    path = tmp_path / "changed.yaml"
    path.write_text((folder / "settings.yaml").read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return read_config(path)


def test_copies_that_are_asked_for_later_are_added(place, finished, tmp_path):
    folder, pack = place
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vqgan").symlink_to(finished.folder / "vqgan")
    shutil.copytree(finished.folder / "latents", tmp_path / "run" / "latents")
    run = TrainingRun(changed(folder, tmp_path, "copies: 2", "copies: 3"), pack, tmp_path / "run")
    assert finished.is_done("latents") and not run.is_done("latents")
    assert run.train("latents") and run.is_done("latents")
    made, before = read_latents(run.folder / "latents"), read_latents(finished.folder / "latents")
    assert len(before.latents) == 5 + 4 and len(made.latents) == 5 + 2 * 4
    assert torch.equal(made.latents[: 5 + 4], before.latents)


@pytest.mark.parametrize("what", ["augmentation", "pack"])
def test_latents_of_other_settings_and_another_pack_are_made_anew(place, finished, tmp_path, what):
    folder, pack = place
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vqgan").symlink_to(finished.folder / "vqgan")
    shutil.copytree(finished.folder / "latents", tmp_path / "run" / "latents")
    if what == "pack":
        images = read_pack(pack).images
        pack = write_cines(
            tmp_path / "other.npz",
            255 - images,
            (1.5, 1.5, 10.0),
            groups=list("ababa"),
            validation=[False] * 4 + [True],
        )
        run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "run")
    else:
        run = TrainingRun(changed(folder, tmp_path, "copies: 2", "copies: 2, gamma: 0.5"), pack, tmp_path / "run")
        assert not run.is_done("latents")
    assert run.train("latents") and run.is_done("latents")
    made, before = read_latents(run.folder / "latents"), read_latents(finished.folder / "latents")
    assert not torch.equal(made.latents[-4:], before.latents[-4:])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("copies: 0", "copies"),
        ("copies: 2, morphs: true, free_share: 1.5", "free_share"),
        ("copies: 2, transplant_share: 0.5", "morphs"),
    ],
)
def test_ranges_that_mean_nothing_are_refused(place, tmp_path, settings, said):
    with refused(said):
        changed(place[0], tmp_path, "copies: 2", settings)


def test_missing_latents_and_packs_that_do_not_fit_are_told(place, tmp_path):
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "empty")
    with pytest.raises(CardioDiTError, match="no latents"):
        run.train("dit")
    other = write_cines(tmp_path / "other.npz", np.zeros((1, 4, 2, 40, 40), np.uint8), (1.5, 1.5, 10.0))
    with pytest.raises(CardioDiTError, match="4 frames"):
        TrainingRun(read_config(folder / "settings.yaml"), other, tmp_path / "x").train("vqgan")
    assert read_pack(pack).images.shape[1] == 8


def test_minutes_are_kept_also_while_frames_are_made(place, tmp_path, monkeypatch, capsys):
    from CardioDiTLib.data.packing import FramesNotMade
    from CardioDiTLib.training import telling

    def late(path, frames, *, deadline, progress):
        progress(3, 80)
        raise FramesNotMade("The frames of 3 of 80 cines are made.")

    monkeypatch.setattr(telling, "read_pack", late)
    folder, pack = place
    run = TrainingRun(read_config(folder / "settings.yaml"), pack, tmp_path / "run")
    assert run.train_all(0.01) is False and not (tmp_path / "run" / "vqgan").exists()
    assert "3 of 80" in capsys.readouterr().out


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1", "soon"])
def test_minutes_that_are_no_length_of_time_are_wrong_usage(place, tmp_path, minutes, capsys):
    from CardioDiTLib.cli import main

    words = ["--config", str(place[0] / "settings.yaml"), "--data", str(place[1]), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as caught:
        main(["train", "all", *words, "--minutes", minutes])
    assert caught.value.code == 2 and "--minutes" in capsys.readouterr().err
    if minutes in ("nan", "inf"):
        with refused(minutes, "minutes"):
            TrainingRun(read_config(place[0] / "settings.yaml"), place[1], tmp_path / "run").train_all(float(minutes))


def test_the_log_says_how_far_and_how_long(place, finished, tmp_path, capsys):
    borrow(tmp_path / "run", finished)
    TrainingRun(read_config(place[0] / "settings.yaml"), place[1], tmp_path / "run").train("dit")
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.startswith("step 1 "))
    assert first.startswith("step 1 of 6") and "  left " in first


def test_two_ranks_end_with_the_same_weights(place, finished, tmp_path):
    """torchrun with two processes: gradients are averaged, and rank 0 alone validates without a hang."""
    folder, _ = place
    run = tmp_path / "ranks"
    borrow(run, finished)
    script = tmp_path / "rank.py"
    script.write_text(
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from safetensors.torch import save_file\n"
        "from CardioDiTLib.training.config import read_config\n"
        "from CardioDiTLib.training.dit_stage import DitStage\n"
        "from CardioDiTLib.training.latents import read_latents\n"
        "from CardioDiTLib.training.loop import Trainer\n"
        "config = read_config(sys.argv[1]).dit\n"
        "stage = DitStage(config.stage, read_latents(sys.argv[2] + '/latents'))\n"
        "trainer = Trainer(stage, config.loop, sys.argv[2] + '/dit')\n"
        "trainer.run()\n"
        "state = {n: p.detach().clone() for n, p in stage.model.named_parameters()}\n"
        "save_file(state, f'{sys.argv[2]}/rank{trainer.rank}.safetensors')\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [*command, str(folder / "settings.yaml"), str(run)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    from safetensors.torch import load_file

    first, second = (load_file(run / f"rank{rank}.safetensors") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = weights(finished.folder, "dit")["dit"]
    assert any(not torch.equal(first[name], alone[name]) for name in first), "two ranks see twice the data"


def test_perceptual_loss_without_its_packages_is_told(place):
    import importlib.util

    if importlib.util.find_spec("lpips") is not None:
        pytest.skip("lpips is installed here")
    from CardioDiTLib.training.vqgan_stage import VqganStage, VqganStageConfig

    settings = read_config(place[0] / "settings.yaml").vqgan.stage
    with pytest.raises(CardioDiTError, match="perceptual"):
        VqganStage(VqganStageConfig(model=settings.model, perceptual_weight=0.1), read_pack(place[1]))


def test_a_pack_that_is_wider_than_the_grid_by_an_odd_number_of_pixels_is_validated_on_the_grid(place, tmp_path):
    from CardioDiTLib.training.loop import LoopConfig, Trainer
    from CardioDiTLib.training.vqgan_stage import VqganStage

    settings = read_config(place[0] / "settings.yaml").vqgan.stage
    whole = read_pack(place[1])
    stage = VqganStage(settings, dataclasses.replace(whole, images=whole.images[..., :37, :37]), size=32)
    scores = Trainer(stage, LoopConfig(steps=1, precision="fp32"), tmp_path / "run").run()
    assert np.isfinite(scores["psnr"])


@pytest.mark.parametrize(
    ("crop", "frames", "aside", "named"),
    [(44, 8, False, "44"), (30, 8, False, "30"), (32, 7, False, "7"), (32, 8, True, "aside")],
)
def test_crops_and_frames_that_the_codec_would_not_give_back_are_refused(place, crop, frames, aside, named):
    from CardioDiTLib.training.vqgan_stage import VqganStage

    settings = dataclasses.replace(read_config(place[0] / "settings.yaml").vqgan.stage, crop=crop)
    pack = read_pack(place[1])
    pack = dataclasses.replace(pack, images=pack.images[:, :frames], validation=pack.validation | aside)
    with refused(named):
        VqganStage(settings, pack, size=32)


@pytest.mark.parametrize(
    ("old", "new"), [("input_size: [2, 8", "input_size: [3, 8"), ("in_channels: 4", "in_channels: 8")]
)
def test_a_transformer_that_does_not_take_the_latents_is_refused_before_the_codec_is_trained(place, tmp_path, old, new):
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS.replace(old, new), encoding="utf-8")
    with refused("input_size"):
        TrainingRun(read_config(settings), place[1], tmp_path / "run").train("vqgan")
    assert not (tmp_path / "run" / "vqgan").exists()
