"""Published checkpoints and configurations as networks of this library, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles.cardiodit_checkpoint import PublishedCheckpointInfo, read_published_state
from CardioDiTLib.bundles.cardiodit_config import (
    PublishedSchedule,
    build_dit,
    build_vqgan,
    checked_scale_factor,
    dit_params,
    normalizes_latents,
    published_scale_factor,
    published_schedule,
    read_config,
    stage1_params,
)
from CardioDiTLib.bundles.weights import load_strictly
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.patches import sincos_positions
from CardioDiTLib.models.vqgan import VQGAN

VERSION2_KEYS = frozenset(
    (
        *("attn_drop", "proj_drop", "mlp_drop", "self_conditioning", "temporal_pe", "pos_embed_mode"),
        *("max_input_size", "variable_shape", "spacing", "rope_temporal_scale", "phase_schema"),
    )
)
"""Settings of a transformer by which version 2 is told."""

# Sections, and what the training of either stage keeps in them. None: about files and logs, any name will do.
_NETWORKS = ("model", "dit", "stage1", "vqgan")
_TRAINING = (
    *("n_epochs", "eval_freq", "batch_size", "num_workers", "seed", "lr", "base_lr", "disc_lr", "lr_gamma"),
    *("lr_update_gamma", "weight_decay", "warmup_epochs", "min_lr_ratio", "grad_clip", "use_amp", "amp_dtype"),
    *("scale_factor", "preserve_scale_factor", "normalize_latents", "latent_stats_path", "preload_latents"),
    *("use_ema", "ema_decay", "ema_warmup_steps", "min_snr_gamma", "self_conditioning", "offset_noise_strength"),
    *("grad_accum_steps", "phase_dir", "alpha_pool", "batch_strategy", "use_bucket_sampler", "objective_loss"),
    *("loss_type", "huber_beta", "keep_last_n_checkpoints", "validation_primary_metric", "validation_seed"),
    *("sample_seed", "allow_legacy_latents", "target_optimizer_updates", "checkpoint_optimizer_updates"),
    *("sample_log", "roi_size", "target_frames", "time_pad_multiple", "use_persistent", "cache_dir"),
    *("spatial_permute", "num_train_timesteps", "schedule", "beta_schedule", "prediction_type"),
    *("adv_weight", "adv_warmup", "perceptual_weight", "jukebox_weight", "augment", "log_best_artifact"),
    "log_optimizer_updates",
)
_SECTIONS: dict[str, tuple[str, ...] | None] = {
    "training": _TRAINING,
    "optim": (
        *("lr", "weight_decay", "betas", "eps", "warmup_epochs", "warmup_updates", "total_updates", "min_lr_ratio"),
    ),
    "losses": ("perceptual_weight", "jukebox_weight", "adv_weight", "adv_warmup", "params"),
    "discriminator": ("params",),
    "perceptual_network": ("params",),
    "encoding": ("target_z", "quantized", "geometry_policy", "phase_endpoint"),
    "latent_preprocessing": None,
    "run_schema": None,
    "safety": None,
    "data": None,
    "wandb": None,
}
_SCHEDULER_PLACES = ("scheduler", "scheduler_type")
_USED = ("scale_factor", "normalize_latents", "num_train_timesteps", "schedule", "beta_schedule", "prediction_type")
_AS_PUBLISHED = "Compare it with the published configurations, and take out what they do not have."


@dataclass(frozen=True)
class PublishedModels:
    """A published codec and transformer, loaded.

    Attributes:
        vqgan: The codec, in evaluation mode, float32 on the CPU.
        dit: The transformer, in evaluation mode, float32 on the CPU.
        stage1_params: Constructor parameters of the codec.
        dit_params: Constructor parameters of the transformer.
        schedule: Noise schedule.
        scale_factor: Latents were multiplied by this number in training; samples are divided by it before decoding.
        latent_scale: The same as a network, with mean and deviation of each channel where the checkpoint holds them.
        normalized: Whether it does.
        stage1_info: What was found in the codec's checkpoint.
        dit_info: What was found in the transformer's checkpoint.
        notes: What was done and assumed, one sentence each.
    """

    vqgan: VQGAN
    dit: DiT4D
    stage1_params: dict[str, Any]
    dit_params: dict[str, Any]
    schedule: PublishedSchedule
    scale_factor: float
    latent_scale: LatentScale
    normalized: bool
    stage1_info: PublishedCheckpointInfo
    dit_info: PublishedCheckpointInfo
    notes: tuple[str, ...]

    @property
    def is_version2(self) -> bool:
        """Whether the transformer's configuration is one of version 2."""
        return not set(self.dit_params).isdisjoint(VERSION2_KEYS)

    @property
    def image_size(self) -> tuple[int, int, int, int]:
        """Size (Z, H, W, T) of the cines that come out: the latent size times the factors of the codec."""
        z, *inner = self.dit.input_size
        h, w, t = (n * factor for n, factor in zip(inner, self.vqgan.downsampling))
        return z, h, w, t


def read_published(
    stage1_checkpoint: str | Path,
    stage1_config: str | Path | Mapping[str, Any],
    dit_checkpoint: str | Path,
    dit_config: str | Path | Mapping[str, Any] | None,
    *,
    scale_factor: float | None = None,
    use_ema: bool = True,
) -> PublishedModels:
    """Read the four published files; nothing that does not fit is passed over.

    Args:
        stage1_checkpoint: Codec `.pth`.
        stage1_config: Its YAML, or its content.
        dit_checkpoint: Transformer `.pth`.
        dit_config: Its YAML, or its content; None for the one that a training checkpoint of version 2 holds.
        scale_factor: Scale of the latents, where the configuration does not hold it.
        use_ema: Use the averaged weights where there are any.

    Returns:
        The networks with all that sampling needs.

    Raises:
        CardioDiTError: for an absent, damaged or unsafe file, for any missing, unexpected or ill-shaped weight, for a
            codec and a transformer that do not belong together.
    """
    stage1 = read_config(stage1_config)
    dit_state, dit_info = None, None
    if dit_config is None:
        dit_state, dit_info = read_published_state(dit_checkpoint, use_ema=use_ema)
        if dit_info.config is None:
            raise CardioDiTError(
                f"{dit_info.file_name} holds no configuration of its own.", "Give the .yaml file of the training too."
            )
        transformer = dit_info.config
    else:
        transformer = read_config(dit_config)
    params = dit_params(transformer)
    aside = [*_check_known(stage1, "embedding_dim", "stage-1"), *_check_known(transformer, "input_size", "transformer")]
    vqgan, dit = build_vqgan(stage1), build_dit(params)
    if vqgan.spatial_dims != 3:
        raise CardioDiTError(
            f"The codec has {vqgan.spatial_dims} spatial axes instead of three (height, width, time).",
            "Use the stage-1 configuration of a 2D+t codec.",
        )
    if vqgan.embedding_dim != dit.in_channels:
        raise CardioDiTError(
            f"The codec writes {vqgan.embedding_dim} numbers a code, but the transformer takes {dit.in_channels}.",
            "Give the stage-1 files that belong to this transformer.",
        )
    schedule, notes = published_schedule(transformer)

    stage1_state, stage1_info = read_published_state(stage1_checkpoint, use_ema=use_ema)
    stage1_notes = _fill(vqgan, stage1_state, stage1_info)
    if dit_state is None or dit_info is None:
        dit_state, dit_info = read_published_state(dit_checkpoint, use_ema=use_ema)
        _check_agreement(transformer, dit_info)
    norm = _norm_of(params, dit_state)
    if norm is not None and norm != params["qk_norm"]:
        params = {**params, "qk_norm": norm}
        dit = build_dit(params)
    told = []
    if dit.pos_embed is None and "pos_embed" in dit_state:
        dit_state = {name: value for name, value in dit_state.items() if name != "pos_embed"}
        told.append(f"{dit_info.file_name}: pos_embed was left out; {dit.pos_embed_mode} adds no positions.")
    dit_notes = [*_fill(dit, dit_state, dit_info), *told]
    scale, scale_notes = _scale(transformer, dit_info, scale_factor)
    latent_scale = _latent_scale(transformer, dit_info, scale, dit.in_channels)
    if dit_info.latent_mean is not None:
        dit_notes.append(f"{dit_info.file_name}: mean and deviation of each channel of the latents are taken from it.")
    if dit.pos_embed is not None:
        positions = sincos_positions(dit.hidden_size, dit.position_grid, dit.position_steps)
        if not torch.allclose(dit.pos_embed.detach(), positions, atol=1e-4):
            dit_notes.append(f"{dit_info.file_name}: pos_embed is not the sine-cosine table; the stored one is kept.")
    return PublishedModels(
        vqgan=vqgan.eval(),
        dit=dit.eval(),
        stage1_params=stage1_params(stage1),
        dit_params=params,
        schedule=schedule,
        scale_factor=scale,
        latent_scale=latent_scale,
        normalized=dit_info.latent_mean is not None,
        stage1_info=stage1_info,
        dit_info=dit_info,
        notes=(*stage1_notes, *dit_notes, *notes, *scale_notes, *aside),
    )


def _fill(model: VQGAN | DiT4D, state: Mapping[str, torch.Tensor], info: PublishedCheckpointInfo) -> list[str]:
    load_strictly(model, state, info.file_name)
    notes = info.notes()
    if info.ema_keys:
        raw = [name for name, p in model.named_parameters() if p.requires_grad and name not in info.ema_keys]
        if raw:
            notes.append(f"{info.file_name}: {len(raw)} trainable weights have no average: {', '.join(raw[:4])}.")
    return notes


def _norm_of(params: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> str | None:
    """What `qk_norm: true` means: a LayerNorm has a bias, which RMS has not."""
    if not params.get("qk_norm"):
        return None
    return "layer" if "blocks.0.attn.q_norm.bias" in state else "rms"


def _check_agreement(config: Mapping[str, Any], info: PublishedCheckpointInfo) -> None:
    """Refuse a configuration that is not the one inside the checkpoint, as far as sampling depends on it."""
    if info.config is None:
        return
    given, stored = dit_params(config), dit_params(info.config)
    other = [key for key in {**given, **stored} if given.get(key) != stored.get(key)]
    schedules = published_schedule(config)[0], published_schedule(info.config)[0]
    if schedules[0] != schedules[1]:
        other.append("scheduler")
    if other:
        raise CardioDiTError(
            f"The configuration is not the one inside {info.file_name}: they differ in {', '.join(other)}.",
            "Leave the configuration out, or give that of this checkpoint.",
        )


def _latent_scale(
    config: Mapping[str, Any], info: PublishedCheckpointInfo, factor: float, channels: int
) -> LatentScale:
    said = {value for value in (normalizes_latents(config), info.normalize_latents) if value is not None}
    if len(said) > 1:
        raise CardioDiTError(
            f"The configuration and {info.file_name} do not agree about normalize_latents.",
            "Give the configuration of this checkpoint.",
        )
    if info.latent_mean is None or info.latent_std is None:
        if True in said:
            raise CardioDiTError(
                f"The latents were normalised in training, but {info.file_name} holds no latent_mean and latent_std.",
                "Use a checkpoint that the training wrote, not the weights alone.",
            )
        return LatentScale.published(factor, channels)
    if len(info.latent_mean) != channels:
        raise CardioDiTError(
            f"{info.file_name} holds statistics of {len(info.latent_mean)} channels, the transformer has {channels}.",
            "Use a checkpoint of this transformer.",
        )
    shape = (channels, 1, 1, 1, 1)
    # the tiny number is the published one, with which deviations of 0 stay harmless
    return LatentScale(info.latent_mean.reshape(shape), (info.latent_std + 1e-8).reshape(shape) / factor)


def _scale(config: Mapping[str, Any], info: PublishedCheckpointInfo, given: float | None) -> tuple[float, list[str]]:
    written = published_scale_factor(config)
    if info.scale_factor is not None:
        stored = checked_scale_factor(info.scale_factor)
        notes = []
        if written is not None and abs(written - stored) > 1e-6 * written:
            notes = [
                f"{info.file_name} says scale factor {stored}, the configuration {written}; that of the file holds."
            ]
        written = stored
    else:
        notes = []
    if given is not None:
        given = checked_scale_factor(given)
        if written is not None and abs(written - given) > 1e-6 * written:
            return given, [f"The scale factor {given} was given; the configuration says {written}."]
        return given, []
    if written is None:
        return 1.0, ["The configuration holds no scale factor; 1 is assumed. Pass scale_factor if samples look wrong."]
    return written, notes


def _check_known(config: Mapping[str, Any], telling_key: str, title: str) -> list[str]:
    """See that every setting of a configuration is one that is known.

    Args:
        config: The whole configuration, or a network's parameters alone.
        telling_key: A parameter that only a network has, by which parameters alone are told.
        title: What is configured, for messages.

    Returns:
        Notes on settings that matter to the training alone, which were left aside.

    Raises:
        CardioDiTError: Naming what is not known.
    """
    if telling_key in config:
        return []
    unknown = [key for key in config if key not in (*_NETWORKS, *_SECTIONS, *_SCHEDULER_PLACES, "params", "config")]
    unknown = [key for key in unknown if key != "scale_factor"]
    aside = []
    for name, known in _SECTIONS.items():
        section = config.get(name)
        if section is None:
            continue
        if not isinstance(section, Mapping):
            raise CardioDiTError(f"'{name}' of the {title} configuration is not a mapping.", _AS_PUBLISHED)
        if known is not None:
            unknown += [f"{name}.{key}" for key in section if key not in known]
        left = [str(key) for key in section if key not in _USED]
        if left:
            aside.append(f"{name} ({', '.join(left)})")
    for name in _NETWORKS:
        section = config.get(name)
        if isinstance(section, Mapping) and isinstance(section.get("params"), Mapping):
            known = ("params", "scheduler", *(_TRAINING if name in ("stage1", "vqgan", "dit") else ()))
            unknown += [f"{name}.{key}" for key in section if key not in known]
    if unknown:
        raise CardioDiTError(
            f"The {title} configuration has settings that are not known: {', '.join(map(str, unknown))}.",
            _AS_PUBLISHED,
        )
    if not aside:
        return []
    return [f"Settings of the {title} configuration that sampling does not need were left aside: {'; '.join(aside)}."]
