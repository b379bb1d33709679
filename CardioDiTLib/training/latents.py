"""Latents of a pack: every cine encoded by the codec several times over, each time under another augmentation.

The file is safetensors and holds no names: latents (N, C, Z, h, w, t) half precision, group, patient's place in the
pack, slices that count, validation mark.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..data.motion import bilinear_planes
from ..data.packing import PackedCines
from ..errors import CardioDiTError
from ..models.axes import cine_to_model
from ..models.vqgan import VQGAN


@dataclass(frozen=True)
class LatentAugmentation:
    """Ranges of the draws; one draw a cine, for all its frames and slices. The first copy of a cine is not changed.

    Attributes:
        copies: Copies of each training cine.
        turn_deg, scale, shift_px: In-plane turn (+-), relative size (+-), shift (+-).
        gamma: Standard deviation of log gamma.
    """

    copies: int = 12
    turn_deg: float = 10.0
    scale: float = 0.07
    shift_px: float = 4.0
    gamma: float = 0.12


@dataclass(frozen=True, eq=False)
class LatentSet:
    """Latents ready for stage 2.

    Attributes:
        latents: (N, C, Z, h, w, t) half precision.
        groups: (N,) pathology group, -1 unknown.
        cine: (N,) place of the cine in the pack.
        slice_valid: (N, Z).
        validation: (N,).
        heart: (Z, h, w) share of training cines with heart at that place, for weighting; ones where the pack has no
            labels.
        about: Group names, quantised or not, sha256 of the codec.
    """

    latents: torch.Tensor
    groups: torch.Tensor
    cine: torch.Tensor
    slice_valid: torch.Tensor
    validation: torch.Tensor
    heart: torch.Tensor
    about: dict[str, Any]


def augmented(frames: np.ndarray, size: int, rng: np.random.Generator | None, ranges: LatentAugmentation) -> np.ndarray:
    """One cine (T, Z, Y, X) uint8 cut to (T, Z, size, size), with one in-plane draw for all frames and slices; float
    in [-1, 1].
    """
    height = frames.shape[-1]
    edge = (height - size) // 2
    if rng is None:
        return frames[..., edge : edge + size, edge : edge + size].astype(np.float32) / 127.5 - 1
    angle = np.radians(rng.uniform(-ranges.turn_deg, ranges.turn_deg))
    scale = 1 + rng.uniform(-ranges.scale, ranges.scale)
    shift = rng.uniform(-ranges.shift_px, ranges.shift_px, 2)
    gamma = float(np.exp(rng.normal(0, ranges.gamma)))
    middle = (size - 1) / 2
    rows, columns = np.mgrid[0:size, 0:size] - middle
    source_rows = (np.cos(angle) * rows + np.sin(angle) * columns) / scale + shift[0] + (height - 1) / 2
    source_columns = (-np.sin(angle) * rows + np.cos(angle) * columns) / scale + shift[1] + (height - 1) / 2
    flat = frames.reshape(1, -1, height, height).swapaxes(0, 1)
    # One plane a call keeps the positions shared: (1, size, size) for all frames and slices.
    made = bilinear_planes(flat.astype(np.float32), source_rows[None], source_columns[None])
    made = (made.reshape(*frames.shape[:2], size, size) / 255.0).clip(0, 1) ** gamma
    return made * 2 - 1


@torch.no_grad()
def encode_cine(codec: VQGAN, cine: np.ndarray, device: torch.device, quantised: bool) -> torch.Tensor:
    """(T, Z, Y, X) in [-1, 1] -> (C, Z, h, w, t), slice by slice."""
    slices = torch.from_numpy(np.ascontiguousarray(cine_to_model(cine))).float()[:, None]
    made = []
    for part in slices.split(4):
        part = part.to(device).contiguous(memory_format=torch.channels_last_3d)
        made.append((codec.encode_to_latents(part) if quantised else codec.encode(part)).float().cpu())
    return torch.cat(made).transpose(0, 1).contiguous()


def encode_pack(
    codec: VQGAN,
    data: PackedCines,
    destination: str | Path,
    *,
    size: int = 128,
    ranges: LatentAugmentation | None = None,
    quantised: bool = True,
    seed: int = 0,
    device: torch.device | None = None,
    about: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Encodes all cines of a pack: training cines `copies` times, cines kept aside once.

    Args:
        codec: The codec, in evaluation mode.
        data: The pack.
        destination: `.safetensors` file.
        size: Rows and columns of the model's grid.
        ranges: Augmentation.
        quantised: Codes (as published) or what the encoder says before it is rounded to a code, which is easier to
            learn and is rounded at decoding anyway.
        seed: Seed of the draws.
        progress: Called with (done, of).
    """
    ranges = ranges or LatentAugmentation()
    device = device or torch.device("cpu")
    destination = Path(destination)
    latents, groups, cines, valid, aside = [], [], [], [], []
    copies = [1 if data.validation[index] else ranges.copies for index in range(len(data.images))]
    done = 0
    for copy in range(max(copies)):
        for index in range(len(data.images)):
            if copy >= copies[index]:
                continue
            rng = np.random.default_rng([seed, index, copy]) if copy else None
            latents.append(
                encode_cine(codec, augmented(data.images[index], size, rng, ranges), device, quantised).half()
            )
            groups.append(int(data.groups[index]))
            cines.append(index)
            valid.append(data.slice_valid[index])
            aside.append(bool(data.validation[index]))
            done += 1
            if progress:
                progress(done, sum(copies))
    stacked = torch.stack(latents)
    tensors = {
        "latents": stacked,
        "groups": torch.tensor(groups),
        "cine": torch.tensor(cines),
        "slice_valid": torch.from_numpy(np.stack(valid)),
        "validation": torch.tensor(aside),
        "heart": _heart_share(data, size, stacked.shape[-3]),
    }
    described = {"group_names": list(data.group_names), "quantised": quantised, **(about or {})}
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(destination.name + ".partial")
    save_file(tensors, partial, metadata={"about": json.dumps(described)})
    os.replace(partial, destination)
    return destination


def _heart_share(data: PackedCines, size: int, places: int) -> torch.Tensor:
    slices = data.images.shape[2]
    if data.labels is None:
        return torch.ones(slices, places, places)
    edge = (data.images.shape[-1] - size) // 2
    shown = (data.labels[~data.validation, 0] > 0).mean(axis=0)[:, edge : edge + size, edge : edge + size]
    step = size // places
    blocks = shown.reshape(slices, places, step, places, step).max(axis=(2, 4))
    return torch.from_numpy(blocks.astype(np.float32))


def read_latents(path: str | Path) -> LatentSet:
    """Opens a file written by `encode_pack`.

    Raises:
        CardioDiTError: Not such a file.
    """
    try:
        with safe_open(str(path), "pt") as stream:
            about = json.loads(stream.metadata()["about"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
        return LatentSet(about=about, **tensors)
    except Exception as error:
        raise CardioDiTError(
            f"'{Path(path).name}' is no file of latents.", "Make it with 'cardiodit train latents'."
        ) from error
