"""A bundle small enough to be written, loaded and run in a second; its weights are random."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles import (
    Bundle,
    BundleGrid,
    BundleManifest,
    LatentSpec,
    Licence,
    NetworkSpec,
    Preset,
    TrainingData,
    load_bundle,
    write_bundle,
)
from CardioDiTLib.bundles.amend import amend_bundle
from CardioDiTLib.bundles.manifest_parts import FewStepSpec, SteeredQuantity
from CardioDiTLib.bundles.weights import write_weights
from CardioDiTLib.diffusion import NoiseSchedule
from CardioDiTLib.models import VQGAN, DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.low_rank import changes_of, make_changeable

CODEC = {
    "num_channels": [8, 16],
    "num_res_channels": [8, 16],
    "num_res_layers": 1,
    "num_embeddings": 64,
    "embedding_dim": 4,
    "cyclic_time": True,
}
DIT = {
    "input_size": [3, 8, 8, 4],
    "patch_size": [1, 4, 4, 2],
    "in_channels": 4,
    "hidden_size": 32,
    "depth": 2,
    "num_heads": 4,
    "num_classes": 2,
    "class_dropout_prob": 0.2,
    "qk_norm": True,
    "learned_positions": True,
}
SHAPE = (16, 3, 32, 32)


def tiny_manifest(**changes: Any) -> BundleManifest:
    """Manifest of the tiny bundle, with entries changed."""
    entries: dict[str, Any] = {
        "name": "tiny",
        "version": "1.2.3",
        "title": "Tiny",
        "description": "Random weights, for tests.",
        "licence": Licence("CC0", "None."),
        "training_data": TrainingData("nothing", motion="none", machine="none", duration="0 h"),
        "grid": BundleGrid(3, 32, 32, 16, (1.5, 1.5, 10.0), 0.8),
        "codec": NetworkSpec("VQGAN", CODEC, "codec.safetensors"),
        "dit": NetworkSpec("DiT4D", DIT, "dit.safetensors"),
        "latents": LatentSpec(4, modes=True, file="latents.safetensors"),
        "schedule": NoiseSchedule("cosine", 1000, continuous=True, log_snr_range=(-9.0, 6.0)).to_config(),
        "class_names": ("NOR", "DCM"),
        "class_titles": ("normal", "dilated"),
        "presets": {
            "draft": Preset(2, "ddim"),
            "standard": Preset(4, "dpmpp_2m", 2.0),
            "high": Preset(6, "ddpm", 2.0),
        },
    }
    return BundleManifest(**{**entries, **changes})


def tiny_networks() -> tuple[VQGAN, DiT4D, LatentScale]:
    """Random networks whose zeros (gates, outputs) are filled, so that every input matters."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vqgan, dit = VQGAN(**CODEC), DiT4D(**DIT)  # type: ignore[arg-type]
        for parameter in dit.parameters():
            if not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=0.3)
        scale = LatentScale(torch.randn(4, 3, 8, 8, 4), torch.rand(4, 1, 1, 1, 4) + 0.5, modes=True)
    return vqgan.eval(), dit.eval(), scale


def write_tiny_bundle(folder: Path, storage: Any = "fp32", **changes: Any) -> Bundle:
    """Write the tiny bundle."""
    manifest = tiny_manifest(**{"name": folder.name, **changes})
    return write_bundle(folder, manifest, *tiny_networks(), model_card="# Tiny\n", storage=storage)


def write_steered_bundle(folder: Path, **changes: Any) -> Bundle:
    """A tiny bundle of quantities alone: it has no classes, and nothing in it names tissues."""
    vqgan, _, scale = tiny_networks()
    settings = {**DIT, "num_classes": 0, "class_dropout_prob": 0.0, "num_conditions": 2}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        dit = DiT4D(**settings)  # type: ignore[arg-type]
        for parameter in dit.parameters():
            if not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=0.3)
        assert dit.c_embedder is not None
        dit.c_embedder.mean.copy_(torch.tensor([120.0, 2.0]))
        dit.c_embedder.std.copy_(torch.tensor([30.0, 1.0]))
    entries: dict[str, Any] = {
        "name": folder.name,
        "dit": NetworkSpec("DiT4D", settings, "dit.safetensors"),
        "class_names": (),
        "class_titles": (),
        "quantities": (
            SteeredQuantity("edv_ml", "end-diastolic volume of the left ventricle", "mL", 60, 200, 80, 160),
            SteeredQuantity("lv_slices", "slices that the left ventricle covers", "", 1, 3, 2, 3),
        ),
    }
    manifest = tiny_manifest(**{**entries, **changes})
    return write_bundle(folder, manifest, vqgan, dit.eval(), scale, model_card="# Tiny\n", storage="fp32")


def give_few_steps(folder: Path, seed: int = 0) -> Bundle:
    """Random changes of the transformer, as if it had been taught to draw in one step or two."""
    before = load_bundle(folder)
    student = copy.deepcopy(before.dit)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in make_changeable(student, 2):
            torch.nn.init.normal_(parameter.data, std=0.1)
    spec = FewStepSpec("few_steps.safetensors", 2.0, ((-9.0,), (-8.0, 0.0)))
    return amend_bundle(
        folder,
        replace(before.manifest, few_steps=spec),
        lambda there: write_weights(there / spec.file, changes_of(student)),
    )
