"""Settings files: what is written is what is used, and mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused

from CardioDiTLib.training.config import read_config

RECIPES = sorted((Path(__file__).parents[1] / "Resources" / "Training").glob("*-mini*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(path):
    from CardioDiTLib.models import VQGAN, DiT4D

    config = read_config(path)
    codec = VQGAN(**config.vqgan.stage.model)
    latent = codec.latent_shape(config.grid.size, config.grid.size, config.grid.frames)
    dit = DiT4D(**config.dit.stage.model)
    seen = (latent[0], config.grid.slices, *latent[1:])
    stage = config.dit.stage
    if stage.coordinates:
        seen = (stage.coordinates, *(size // step for size, step in zip(seen[1:], stage.patch)))
    assert (dit.in_channels, *dit.input_size) == seen


def write(tmp_path, text):
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_in_exponent_form_are_numbers(tmp_path):
    config = read_config(write(tmp_path, "vqgan: {stage: {lr: 1e-3}}\ndit: {loop: {steps: 3}}"))
    assert config.vqgan.stage.lr == 1e-3 and config.dit.loop.steps == 3 and config.decoder is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vqgan: {stage: {learning_rate: 1}}\ndit: {}", "learning_rate"),
        ("vqgan: {loop: {steps: many}}\ndit: {}", "steps"),
        ("vqgan: {stage: {lr: fast}}\ndit: {}", "lr"),
        ("vqgan: {}", "dit"),
        ("- a\n- b", "settings"),
        ("vqgan: [", "read"),
        ("vqgan: {}\ndit: {}\nother: {}", "other"),
        ("vqgan: {}\ndit: {stage: {loss: hubber}}", "hubber"),
        ("vqgan: {}\ndit: {stage: {optimizer: moun}}", "moun"),
        ("vqgan: {loop: {schedule: linear-end}}\ndit: {}", "linear-end"),
        ("vqgan: {}\ndit: {stage: {log_snr_mean: 0}}", "continuous"),
        ("vqgan: {}\ndit: {stage: {schedule: {prediction_type: epsilon}}}", "epsilon"),
        ("vqgan: {}\ndit: {}\ngrid: 3", "grid"),
        ("vqgan: {}\ndit: {}\ndecoder: {stage: {batch: 2}}", "decoder_only"),
        ("vqgan: {stage: {model: {act: prelu}}}\ndit: {}\ndecoder: {stage: {decoder_only: true}}", "codecs"),
    ],
)
def test_mistakes_are_told(tmp_path, text, said):
    with refused(said):
        read_config(write(tmp_path, text))
