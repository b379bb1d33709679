"""Published checkpoints and configurations as networks of this library, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles.published_checkpoint import PublishedCheckpointInfo, load_strictly, read_published_state
from CardioDiTLib.bundles.published_config import (
    PublishedSchedule,
    build_dit,
    build_vqgan,
    checked_scale_factor,
    dit_params,
    published_scale_factor,
    published_schedule,
    read_config,
    stage1_params,
)
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.patches import sincos_positions
from CardioDiTLib.models.vqgan import VQGAN


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
    stage1_info: PublishedCheckpointInfo
    dit_info: PublishedCheckpointInfo
    notes: tuple[str, ...]

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
    dit_config: str | Path | Mapping[str, Any],
    *,
    scale_factor: float | None = None,
    use_ema: bool = True,
) -> PublishedModels:
    """Read the four published files; nothing that does not fit is passed over.

    Args:
        stage1_checkpoint: Codec `.pth`.
        stage1_config: Its YAML, or its content.
        dit_checkpoint: Transformer `.pth`.
        dit_config: Its YAML, or its content.
        scale_factor: Scale of the latents, where the configuration does not hold it.
        use_ema: Use the averaged weights where there are any.

    Returns:
        The networks with all that sampling needs.

    Raises:
        CardioDiTError: for an absent, damaged or unsafe file, for any missing, unexpected or ill-shaped weight, for a
            codec and a transformer that do not belong together.
    """
    stage1 = read_config(stage1_config)
    transformer = read_config(dit_config)
    vqgan, dit = build_vqgan(stage1), build_dit(transformer)
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
    scale, scale_note = _scale(transformer, scale_factor)

    stage1_info, stage1_notes = _fill(vqgan, stage1_checkpoint, use_ema)
    dit_info, dit_notes = _fill(dit, dit_checkpoint, use_ema)
    positions = sincos_positions(dit.hidden_size, dit.grid)
    if not torch.allclose(dit.pos_embed.detach(), positions, atol=1e-4):
        dit_notes.append(f"{dit_info.file_name}: pos_embed is not the sine-cosine table; the stored one is kept.")
    return PublishedModels(
        vqgan=vqgan.eval(),
        dit=dit.eval(),
        stage1_params=stage1_params(stage1),
        dit_params=dit_params(transformer),
        schedule=schedule,
        scale_factor=scale,
        stage1_info=stage1_info,
        dit_info=dit_info,
        notes=(*stage1_notes, *dit_notes, *notes, *scale_note),
    )


def _fill(model: VQGAN | DiT4D, path: str | Path, use_ema: bool) -> tuple[PublishedCheckpointInfo, list[str]]:
    state, info = read_published_state(path, use_ema=use_ema)
    load_strictly(model, state, info.file_name)
    notes = info.notes()
    if info.ema_keys:
        raw = [name for name, p in model.named_parameters() if p.requires_grad and name not in info.ema_keys]
        if raw:
            notes.append(f"{info.file_name}: {len(raw)} trainable weights have no average: {', '.join(raw[:4])}.")
    return info, notes


def _scale(config: Mapping[str, Any], given: float | None) -> tuple[float, list[str]]:
    written = published_scale_factor(config)
    if given is not None:
        given = checked_scale_factor(given)
        if written is not None and abs(written - given) > 1e-6 * written:
            return given, [f"The scale factor {given} was given; the configuration says {written}."]
        return given, []
    if written is None:
        return 1.0, ["The configuration holds no scale factor; 1 is assumed. Pass scale_factor if samples look wrong."]
    return written, []
