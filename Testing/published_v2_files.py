"""Small checkpoints and configurations in the published layout of version 2, with random weights."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from CardioDiTLib.models import VQGAN, DiT4D

_PLANE = [[2, 2, 1], [4, 4, 1], 1, [1, 1, 0]]
_PLANE_UP = [*_PLANE, [0, 0, 0]]
_ALL, _ALL_UP = [2, 4, 1, 1], [2, 4, 1, 1, 0]

FAMILIES = {
    "ds4": ([_ALL] * 2, [_ALL_UP] * 2, (4, 4, 4)),
    "ds4xy_noT": ([_PLANE] * 2, [_PLANE_UP] * 2, (4, 4, 1)),
    "ds8xy_noT": ([_PLANE] * 3, [_PLANE_UP] * 3, (8, 8, 1)),
}
"""Names of codecs: parameters of the way down and up, and the factors of (H, W, T)."""

ZERO_SNR = {
    "schedule": "cosine",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "zero_terminal_snr": True,
}
FLOW = {"num_train_timesteps": 1000, "sample_method": "logit_normal", "logit_mean": 0.5, "logit_std": 0.7}


def stage1_config(family: str = "ds4", frames: str | int = "native") -> dict[str, Any]:
    """A codec's configuration."""
    down, up, _ = FAMILIES[family]
    widths = [8, 16, 16][: len(down)]
    return {
        "model": {
            "params": {
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 1,
                "num_channels": widths,
                "num_res_channels": widths,
                "num_res_layers": 3,
                "downsample_parameters": down,
                "upsample_parameters": up,
                "num_embeddings": 32,
                "embedding_dim": 4,
                "commitment_cost": 0.25,
                "decay": 0.99,
                "epsilon": 1e-5,
                "ddp_sync": True,
                "dead_code_threshold": 0.5,
            }
        },
        "discriminator": {"params": {"spatial_dims": 3, "num_channels": 64, "norm": "INSTANCE"}},
        "training": {"n_epochs": 800, "batch_size": 1, "roi_size": [224, 224, 32], "target_frames": frames},
        "encoding": {"target_z": 12, "quantized": True},
        "wandb": {"entity": None, "offline": True},
    }


def dit_config(scheduler: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """A transformer's configuration; flow matching where the scheduler is that of one."""
    scheduler = ZERO_SNR if scheduler is None else scheduler
    network = {
        "input_size": [3, 8, 8, 4],
        "patch_size": [1, 4, 4, 1],
        "in_channels": 4,
        "hidden_size": 48,
        "depth": 2,
        "num_heads": 3,
        "mlp_ratio": 4.0,
        "class_dropout_prob": 0.0,
        "num_classes": 0,
        "learn_sigma": False,
        "flash_attention": True,
        "attn_drop": 0.0,
        "mlp_drop": 0.0,
        "spacing": None,
        "self_conditioning": False,
        "pos_embed_mode": "absolute",
        "qk_norm": True,
        **params,
    }
    config = {
        "model": {"params": network},
        "scheduler": dict(scheduler),
        "training": {
            "amp_dtype": "bf16",
            "scale_factor": 1.0,
            "use_ema": True,
            "offset_noise_strength": 0.1,
            "normalize_latents": True,
            "sample_log": {"enabled": False},
            "objective_loss": "mse",
        },
        "optim": {"lr": 1e-4, "warmup_updates": 5000, "total_updates": 300000, "min_lr_ratio": 0.01},
        "wandb": {"project": "CardioDiT-Evolution"},
        "run_schema": {"version": 2},
    }
    return {**config, "scheduler_type": "flow_matching"} if "sample_method" in scheduler else config


def write_stage1(path: Path, config: dict[str, Any]) -> VQGAN:
    """A codec's checkpoint."""
    torch.manual_seed(1)
    codec = VQGAN(**config["model"]["params"]).eval()
    torch.save({"model": codec.state_dict(), "epoch": 3, "best_loss": np.float64(0.5), "rng": random_states()}, path)
    return codec


def write_dit(path: Path, config: dict[str, Any], *, inside: bool = True) -> DiT4D:
    """A training checkpoint of a transformer whose every weight matters; the network has its averaged weights.

    Args:
        path: The file.
        config: The configuration.
        inside: Whether the checkpoint holds it too.
    """
    torch.manual_seed(2)
    network = DiT4D(**config["model"]["params"]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    shadow = {name: value.clone() for name, value in network.state_dict().items() if name in trained}
    raw = {name: value + 0.5 if name in trained else value for name, value in network.state_dict().items()}
    channels = network.in_channels
    torch.save(
        {
            "checkpoint_schema": {"name": "cardiodit.training-checkpoint", "version": 1},
            "model": raw,
            "ema": {"decay": 0.9999, "warmup_steps": 5000, "step": 9, "shadow": shadow},
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
            "epoch": 4,
            "best_loss": 0.25,
            "progress": {"optimizer_updates": 300000, "microbatch": 1},
            "resolved_config": config if inside else None,
            "latent_mean": torch.linspace(-1, 1, channels).reshape(1, channels, 1, 1, 1, 1),
            "latent_std": torch.linspace(0.5, 2, channels).reshape(1, channels, 1, 1, 1, 1),
            "scale_factor": 1.0,
            "normalize_latents": True,
            "provenance": {"resolved_config": {"sha256": "0" * 64}},
            "run_id": "x",
            "rng": random_states(),
        },
        path,
    )
    return network


def random_states() -> dict[str, Any]:
    """As the published training gathers them."""
    state = {
        "rank": 0,
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - what the published training stores
        "torch_cpu": torch.get_rng_state(),
        "torch_cuda": None,
    }
    return {"world_size": 1, "by_rank": [state]}


def write_pointer(folder: Path, target: str) -> Path:
    """A `last_checkpoint.json`."""
    path = folder / "last_checkpoint.json"
    schema = {"name": "cardiodit.checkpoint-pointer", "version": 1}
    path.write_text(json.dumps({"pointer_schema": schema, "target": target}), encoding="utf-8")
    return path
