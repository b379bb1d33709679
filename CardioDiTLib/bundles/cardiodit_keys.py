"""Which settings published configurations have, so that none is passed over unseen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from CardioDiTLib.errors import CardioDiTError

DIFFUSION_KEYS = (
    *("num_train_timesteps", "schedule", "beta_schedule", "prediction_type", "zero_terminal_snr", "beta_start"),
    *("beta_end", "s", "clip_sample", "variance_type"),
)
FLOW_KEYS = ("num_train_timesteps", "sample_method", "logit_mean", "logit_std")

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
_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\}")


def check_known(config: Mapping[str, Any], telling_key: str, title: str) -> list[str]:
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


_AS_PUBLISHED = "Compare it with the published configurations, and take out what they do not have."


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with references to its own values, such as ``${model.params.input_size}``, filled in.

    What leads nowhere (environment variables, functions) stays as it is.
    """

    def filled(value: Any, depth: int = 0) -> Any:
        if isinstance(value, Mapping):
            return {key: filled(inner, depth) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner, depth) for inner in value]
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None or depth > 8:
            return value
        found: Any = config
        for part in match.group(1).split("."):
            if not isinstance(found, Mapping) or part not in found:
                return value
            found = found[part]
        return filled(found, depth + 1)

    return {str(key): filled(value) for key, value in config.items()}
