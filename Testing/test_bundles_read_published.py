"""Published checkpoints and configurations, strictly."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from refusals import refused

from CardioDiTLib.bundles.cardiodit_checkpoint import read_published_state
from CardioDiTLib.bundles.cardiodit_config import (
    build_dit,
    build_vqgan,
    published_scale_factor,
    published_schedule,
    read_config,
)
from CardioDiTLib.bundles.cardiodit_read import read_published
from CardioDiTLib.errors import CardioDiTError

DATA = Path(__file__).parent / "data"
STAGE1 = json.loads((DATA / "vqgan_tiny.json").read_text(encoding="utf-8"))["config"]
DIT = json.loads((DATA / "dit_tiny.json").read_text(encoding="utf-8"))["config"]
LABELS = json.loads((DATA / "dit_labels_sigma.json").read_text(encoding="utf-8"))["config"]


def write_yaml(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture()
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "stage1_checkpoint": DATA / "vqgan_tiny.pth",
        "stage1_config": write_yaml(tmp_path / "stage1.yaml", {"stage1": {"base_lr": 5e-5, "params": STAGE1}}),
        "dit_checkpoint": DATA / "dit_tiny.pth",
        "dit_config": write_yaml(
            tmp_path / "dit.yaml",
            {
                "model": {"params": DIT},
                "scheduler": {"num_train_timesteps": 300, "schedule": "cosine", "prediction_type": "v_prediction"},
                "training": {"scale_factor": 0.8, "lr": 1e-4},
            },
        ),
    }


@torch.no_grad()
def test_a_published_pair_gives_the_published_outputs(files):
    models = read_published(**files)
    codec = {key: torch.from_numpy(value) for key, value in np.load(DATA / "vqgan_tiny.npz").items()}
    dit = {key: torch.from_numpy(value) for key, value in np.load(DATA / "dit_tiny.npz").items()}
    torch.testing.assert_close(models.vqgan(codec["x"])[0], codec["recon"], atol=1e-5, rtol=0)
    torch.testing.assert_close(models.dit(dit["x"], dit["t"]), dit["out_ema"], atol=1e-5, rtol=0)
    assert not models.vqgan.training and not models.dit.training
    assert models.scale_factor == 0.8
    assert models.schedule.num_train_timesteps == 300 and models.schedule.prediction_type == "v_prediction"
    assert models.image_size == (2, 32, 32, 16)
    assert models.stage1_params == STAGE1 and models.dit_params == DIT
    assert models.dit_info.ema["step"] == 7 and models.dit_info.training["epoch"] == 4
    text = " ".join(models.notes)
    assert "averaged (EMA) weights of step 7 laid over" in text and "vqgan_tiny.pth: no averaged" in text

    raw = read_published(**files, use_ema=False)
    torch.testing.assert_close(raw.dit(dit["x"], dit["t"]), dit["out_raw"], atol=1e-5, rtol=0)
    assert "dit_tiny.pth: no averaged" in " ".join(raw.notes)


def test_a_network_with_classes_and_sigma_is_filled(tmp_path):
    state, _ = read_published_state(DATA / "dit_labels_sigma.pth")
    model = build_dit({"dit": {"params": LABELS}})
    model.load_state_dict(state, strict=True)
    assert model.null_class == 5 and model.out_channels == 4


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
@pytest.mark.parametrize("layout", ["bare", "model", "state_dict", "ema", "ema none"])
def test_every_layout_gives_the_same_weights(tmp_path, layout, prefix):
    weights = {prefix + "a.weight": torch.ones(2, 3), prefix + "a.bias": torch.zeros(2)}
    shadow = {prefix + "a.weight": torch.full((2, 3), 7.0)}
    content = {
        "bare": OrderedDict(weights),
        "model": {"model": weights, "optimizer": {"state": {}}, "epoch": 3},
        "state_dict": {"state_dict": weights, "best_loss": np.float64(0.25)},
        "ema": {"model": weights, "ema": {"decay": 0.99, "step": 5, "shadow": shadow}},
        "ema none": {"model": weights, "ema": None},
    }[layout]
    path = tmp_path / "x.pth"
    torch.save(content, path)
    state, info = read_published_state(path)
    assert set(state) == {"a.weight", "a.bias"}
    assert state["a.weight"].mean() == (7 if layout == "ema" else 1)
    assert info.prefix == prefix
    assert info.ema_keys == (frozenset({"a.weight"}) if layout == "ema" else frozenset())
    if layout == "model":
        assert info.training == {"epoch": 3} and info.ignored == ("optimizer",)
    if layout == "state_dict":
        assert info.training["best_loss"] == 0.25


def test_shadow_and_model_may_carry_different_prefixes(tmp_path):
    torch.save(
        {"model": {"module.a": torch.zeros(2)}, "ema": {"shadow": {"a": torch.ones(2)}}}, path := tmp_path / "x.pth"
    )
    assert read_published_state(path)[0]["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "shadow", [{"b": torch.ones(2)}, {"a": torch.ones(3)}, {"a": 1.0}, [torch.ones(2)], {"a": torch.ones(1, 2)}]
)
def test_averages_without_counterpart_are_refused(tmp_path, shadow):
    torch.save({"model": {"a": torch.zeros(2)}, "ema": {"shadow": shadow}}, path := tmp_path / "x.pth")
    with pytest.raises(CardioDiTError, match=r"[aA]veraged"):
        read_published_state(path)


def test_trainable_weights_without_average_are_reported(files, tmp_path):
    checkpoint = torch.load(DATA / "dit_tiny.pth", weights_only=True)
    del checkpoint["ema"]["shadow"]["blocks.1.mlp.fc1.bias"]
    torch.save(checkpoint, tmp_path / "part.pth")
    notes = " ".join(read_published(**{**files, "dit_checkpoint": tmp_path / "part.pth"}).notes)
    assert "1 trainable weights have no average: blocks.1.mlp.fc1.bias" in notes


def _without(state, key):
    del state[key]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: _without(s, "blocks.0.attn.qkv.weight"), ["missing", "blocks.0.attn.qkv.weight"]),
        (lambda s: _without(s, "pos_embed"), ["missing", "pos_embed"]),
        (lambda s: s.update({"blocks.9.x": torch.zeros(1)}), ["not expected", "blocks.9.x"]),
        (lambda s: s.update({"x_embedder.proj.bias": torch.zeros(7)}), ["shape", "(7,) instead of (64,)"]),
        (lambda s: s["final_layer.linear.bias"].fill_(float("nan")), ["not finite", "final_layer.linear.bias"]),
    ],
)
def test_any_weight_that_does_not_fit_is_refused(files, tmp_path, change, words):
    state = torch.load(DATA / "dit_tiny.pth", weights_only=True)["model"]
    change(state)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(CardioDiTError) as caught:
        read_published(**{**files, "dit_checkpoint": tmp_path / "bad.pth"})
    assert caught.value.hint and all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [
        ("stage1", "num_res_layers", 3),
        ("stage1", "num_embeddings", 65),
        ("stage1", "num_channels", [8, 16, 16]),
        ("dit", "depth", 3),
        ("dit", "patch_size", [1, 2, 2, 2]),
        ("dit", "input_size", [4, 8, 8, 4]),
        ("dit", "num_classes", 2),
        ("dit", "learn_sigma", True),
        ("dit", "in_channels", 8),
        ("dit", "depth", "${model.depth}"),
    ],
)
def test_a_configuration_of_another_network_is_refused(files, stage, key, value):
    config = {"stage1": {"params": dict(STAGE1)}, "dit": {"params": dict(DIT)}}
    config[stage]["params"][key] = value
    with pytest.raises(CardioDiTError) as caught:
        read_published(**{**files, "stage1_config": config, "dit_config": config})
    assert caught.value.hint


def test_swapped_checkpoints_are_told(files):
    with pytest.raises(CardioDiTError, match="swapped"):
        read_published(**{**files, "dit_checkpoint": files["stage1_checkpoint"]})
    with pytest.raises(CardioDiTError, match="swapped"):
        read_published(**{**files, "dit_config": files["stage1_config"]})


@pytest.mark.parametrize("form", [lambda p: {"stage1": {"params": p}}, lambda p: {"model": {"params": p}}, lambda p: p])
def test_stage1_forms(form):
    assert build_vqgan(form(STAGE1)).embedding_dim == 4


@pytest.mark.parametrize("form", [lambda p: {"dit": {"params": p}}, lambda p: {"model": {"params": p}}, lambda p: p])
def test_dit_forms(form):
    assert build_dit(form(DIT)).grid == (2, 2, 2, 2)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"hidden_sise": 64}, "hidden_sise"), ({"num_heads": None}, "num_heads"), ({"patch_size": [1, 3, 3, 1]}, "patch")],
)
def test_misspelt_missing_and_impossible_settings_are_named(change, word):
    params = {**DIT, **change}
    with pytest.raises(CardioDiTError, match=word):
        build_dit({"dit": {"params": {k: v for k, v in params.items() if v is not None}}})


def test_schedule_and_scale_factor():
    schedule, notes = published_schedule({"dit": {"params": DIT}})
    assert (schedule.num_train_timesteps, schedule.prediction_type) == (300, "v_prediction") and len(notes) == 3
    config = {"scheduler": {"num_train_timesteps": 1000, "beta_schedule": "cosine", "prediction_type": "epsilon"}}
    schedule, notes = published_schedule(config)
    assert (schedule.num_train_timesteps, schedule.prediction_type, notes) == (1000, "epsilon", [])
    for bad in ({"schedule": "linear"}, {"prediction_type": "flow"}, {"num_train_timesteps": 0}):
        with pytest.raises(CardioDiTError):
            published_schedule({"scheduler": {**config["scheduler"], "beta_schedule": "cosine", **bad}})
    with refused("num_train_timesteps", 300, 1000):
        published_schedule({"a": {"num_train_timesteps": 300}, "b": {"num_train_timesteps": 1000}})

    assert published_scale_factor({"training": {"lr": 1}}) is None
    assert published_scale_factor({"training": {"scale_factor": 2}, "scale_factor": 2.0}) == 2.0
    for bad in ({"scale_factor": 0}, {"scale_factor": "x"}, {"scale_factor": 1, "training": {"scale_factor": 2}}):
        with pytest.raises(CardioDiTError, match=r"scale.factor"):
            published_scale_factor(bad)


def test_a_given_scale_factor_wins_and_a_missing_one_is_said(files):
    models = read_published(**files, scale_factor=0.5)
    assert models.scale_factor == 0.5 and "configuration says 0.8" in " ".join(models.notes)
    models = read_published(**{**files, "dit_config": {"dit": {"params": DIT}}})
    assert models.scale_factor == 1.0 and "no scale factor" in " ".join(models.notes)
    with pytest.raises(CardioDiTError):
        read_published(**files, scale_factor=-1.0)


def test_stored_positions_are_kept_and_reported(files, tmp_path):
    state = torch.load(DATA / "dit_tiny.pth", weights_only=True)["model"]
    state["pos_embed"] = state["pos_embed"] + 1
    torch.save(state, tmp_path / "moved.pth")
    models = read_published(**{**files, "dit_checkpoint": tmp_path / "moved.pth"})
    assert torch.equal(models.dit.pos_embed, state["pos_embed"])
    assert "pos_embed is not the sine-cosine table" in " ".join(models.notes)


class _Harm:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, writer):
    path, mark = tmp_path / "evil.pth", tmp_path / "mark"
    content = {"model": {"a": torch.zeros(1)}, "extra": _Harm(mark)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(CardioDiTError, match="not run"):
        read_published_state(path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "cut", "tensor", "list", "no weights", "folder"])
def test_damaged_and_wrong_files_give_one_sentence(tmp_path, kind):
    path = tmp_path / "x.pth"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>not found</html>", encoding="utf-8")
    elif kind == "cut":
        whole = (DATA / "dit_labels_sigma.pth").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "folder":
        path.mkdir()
    elif kind != "absent":
        torch.save({"tensor": torch.zeros(2), "list": [1, 2], "no weights": {"epoch": 3, "note": "x"}}[kind], path)
    with pytest.raises(CardioDiTError) as caught:
        read_published_state(path)
    assert caught.value.hint and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [1, 2", "just text", "- 1\n- 2", "x: !!python/object/apply:os.mkdir [mark]"])
def test_a_configuration_that_is_none_is_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CardioDiTError):
        read_config(path)
    assert not (tmp_path / "mark").exists()


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("epsilon: 1e-5\na: -2E+3\nb: 3\nc: e5\nd: 0.5\nf: 1e-5x\n", encoding="utf-8")
    expected = {"epsilon": 1e-5, "a": -2000.0, "b": 3, "c": "e5", "d": 0.5, "f": "1e-5x"}
    assert read_config(path) == expected


def test_an_absent_or_binary_configuration_is_refused(tmp_path):
    with refused(tmp_path / "absent.yaml"):
        read_config(tmp_path / "absent.yaml")
    with refused("vqgan_tiny.pth", "YAML"):
        read_config(DATA / "vqgan_tiny.pth")
