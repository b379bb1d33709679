"""A pack's cines encoded and decoded by a codec, as copies that a generator makes are."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.models.vqgan import VQGAN
from CardioDiTLib.training.encoder_stage import working_frames
from CardioDiTLib.training.latents import fingerprint

CINES_A_FILE = 10
NOISE = 0.3
"""Noise on the latents of each further copy, as a share of their standard deviation; it grows from copy to copy."""


@torch.inference_mode()
def decoded_cine(codec: VQGAN, images: NDArray[np.uint8], copies: int, seed: int) -> NDArray[np.uint8]:
    """What a codec makes of a cine, first as it is, then from noisier and noisier latents.

    Args:
        codec: In evaluation mode.
        images: (T, Z, Y, X) uint8, T as the codec needs it; rows and columns that do not fit its strides are kept.
        copies: How many versions.
        seed: Of the noise.

    Returns:
        (copies, T, Z, Y, X) uint8.
    """
    factor = codec.downsampling[0]
    height, width = (n // factor * factor for n in images.shape[-2:])
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    window = (..., slice(top, top + height), slice(left, left + width))
    made = np.repeat(images[None], copies, axis=0)
    generator = torch.Generator().manual_seed(seed)
    for z in range(images.shape[1]):
        frames = torch.from_numpy(np.ascontiguousarray(images[:, z][window])).float() / 127.5 - 1
        latents = codec.encode(frames.permute(1, 2, 0)[None, None])
        for copy in range(copies):
            noise = torch.randn(latents.shape, generator=generator) * (NOISE * copy) * latents.std()
            shown = codec.decode_latents(latents + noise)[0, 0].permute(2, 0, 1)
            made[copy, :, z][window] = ((shown + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    return made


def decoded_pack(
    codec: VQGAN,
    data: PackedCines,
    folder: Path,
    *,
    copies: int,
    frames: int,
    spacing_mm: float,
    seed: int = 0,
    deadline: float | None = None,
) -> torch.Tensor | None:
    """Decoded versions of all cines of a pack, kept in small files so that a call that was cut short goes on.

    Args:
        codec: In evaluation mode.
        data: The pack.
        folder: Gets the files.
        copies: Versions of each cine.
        frames, spacing_mm: See `encoder_stage.working_frames`.
        seed: Of the noise.
        deadline: `time.monotonic()` after which no further file is begun.

    Returns:
        (copies, N, frames, Z, Y, X) uint8; None where the deadline came first.

    Raises:
        CardioDiTError: The codec does not take the pack's frames.
    """
    about = json.dumps([fingerprint(codec), copies, frames, spacing_mm, seed, NOISE, list(data.images.shape)])
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[torch.Tensor] = []
    for number, start in enumerate(range(0, len(data.images), CINES_A_FILE)):
        path = folder / f"decoded-{number:03d}.safetensors"
        part = _read(path, about)
        if part is None:
            if deadline is not None and parts and time.monotonic() > deadline:
                return None
            made = [
                decoded_cine(codec, images, copies, seed + start + place)
                for place, images in enumerate(data.images[start : start + CINES_A_FILE])
            ]
            part = torch.stack(
                [working_frames(np.stack(version), frames, data.spacing[0], spacing_mm) for version in zip(*made)]
            )
            with atomic_path(path) as partial:
                save_file({"cines": part}, partial, metadata={"about": about})
            print(f"decoded {min(start + CINES_A_FILE, len(data.images))} of {len(data.images)} cines", flush=True)
        parts.append(part)
    if not parts:
        raise CardioDiTError("The pack is empty.", "Make one of your cines with 'cardiodit prepare'.")
    return torch.cat(parts, dim=1)


def _read(path: Path, about: str) -> torch.Tensor | None:
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as stream:
            return stream.get_tensor("cines") if (stream.metadata() or {}).get("about") == about else None
    except (OSError, SafetensorError):
        return None
