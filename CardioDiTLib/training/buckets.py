"""Latents of several shapes: cines keep the slices they have, and may have several numbers of frames.

A transformer with positions for other grids than one (`variable_shape`) learns from them in buckets: every batch holds
latents of one shape, and a shape is drawn as often as it has cines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from CardioDiTLib.data.time import repeat_cycle, resample_cycle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.latent_scale import LatentScale

_BLANK = -1.0
"""What a slice that was never recorded looks like to the codec."""


@dataclass(frozen=True)
class LatentShapes:
    """On which grids cines are encoded, beside that of the pack; the defaults leave them on it.

    Attributes:
        own_slices: Leave out what lies before the first and after the last slice that a cine has.
        frames: Numbers of frames of one beat; each copy of each cine has one of them, drawn. Empty for the pack's.
    """

    own_slices: bool = False
    frames: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.frames, list | tuple) or not all(
            isinstance(count, int) and not isinstance(count, bool) and count >= 2 for count in self.frames
        ):
            raise CardioDiTError(f"Cines of {self.frames!r} frames are not possible.", "Give whole numbers from 2 on.")

    def __bool__(self) -> bool:
        """Whether there may be more shapes than one."""
        return self.own_slices or bool(self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"own_slices": self.own_slices, "frames": list(self.frames)}

    def frames_of(self, seed: Sequence[int], usual: int) -> int:
        """Frames of one copy of one cine; the same seed gives the same number, and no other draw is touched."""
        if not self.frames:
            return usual
        return int(np.random.default_rng([*seed, len(self.frames)]).choice(np.array(self.frames)))

    def cut(
        self, cine: np.ndarray, valid: np.ndarray, frames: int, multiples: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A cine on its own grid.

        Args:
            cine: (T, Z, Y, X), one beat.
            valid: (Z,) bool; slices that count.
            frames: Frames of the beat; the beat is resampled to them.
            multiples: Slices and frames come in multiples of these: what codec and patches need. A beat goes on with
                its own beginning (30 frames become 32 by the first two), blank slices are added at the end.

        Returns:
            (T', Z', Y, X), and (Z',) bool.
        """
        if len(cine) != frames:
            cine = np.clip(resample_cycle(cine, frames), -1, 1)
        if self.own_slices and valid.any():
            there = np.flatnonzero(valid)
            cine, valid = cine[:, there[0] : there[-1] + 1], valid[there[0] : there[-1] + 1]
        more = -len(valid) % multiples[0]
        if more:
            cine = np.pad(cine, ((0, 0), (0, more), (0, 0), (0, 0)), constant_values=_BLANK)
            valid = np.pad(valid, (0, more))
        return repeat_cycle(cine, _whole(len(cine), multiples[1])), valid

    def check_fit(
        self, slices: int, frames: int, model: Mapping[str, Any], stride: int, multiples: tuple[int, int]
    ) -> None:
        """See that a transformer takes the largest latents there will be, before hours go into making them.

        Args:
            slices, frames: Of the pack.
            model: Arguments of `DiT4D`.
            stride: Frames of one latent of the codec.
            multiples: As for `cut`.

        Raises:
            CardioDiTError: It takes one shape only, or none so large.
        """
        if not self:
            return
        if not model.get("variable_shape"):
            raise CardioDiTError(
                "Latents of several shapes need a transformer that takes them.",
                "Set variable_shape and max_input_size in dit.stage.model, or leave latents.shapes out.",
            )
        most = model.get("max_input_size") or model.get("input_size") or (0, 0, 0, 0)
        needed = _whole(slices, multiples[0]), _whole(max(self.frames or (frames,)), multiples[1]) // stride
        if needed[0] > most[0] or needed[1] > most[3]:
            raise CardioDiTError(
                f"The latents would have up to {needed[0]} slices and {needed[1]} latents in time; the transformer "
                f"takes {most[0]} and {most[3]}.",
                "Raise max_input_size, or lower latents.shapes.frames.",
            )


def bucket_name(latents: torch.Tensor) -> str:
    """Name of the shape of latents (C, Z, h, w, t), by which tensors of one shape are told in a file."""
    return "x".join(map(str, latents.shape[1:]))


def drawn_bucket(counts: Sequence[int], rng: np.random.Generator) -> int:
    """A bucket, as likely as it has cines; where there is one, nothing is drawn."""
    if len(counts) == 1:
        return 0
    sizes = np.asarray(counts, np.float64)
    return int(rng.choice(len(counts), p=sizes / sizes.sum()))


def channel_scale(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> LatentScale:
    """Mean and standard deviation of each channel over latents of several shapes.

    Args:
        parts: Latents (N, C, Z, h, w, t) and the slices (N, Z) that count, for each shape.

    Raises:
        CardioDiTError: No slice counts.
    """
    count, total, squares = 0.0, torch.zeros(1), torch.zeros(1)
    for latents, valid in parts:
        # slice by slice: (slices that count, C, h, w, t), in the precision that sums of squares need
        x = latents.movedim(2, 1)[valid].double()
        count += x.numel() / max(x.shape[1], 1)
        total = total + x.sum((0, 2, 3, 4))
        squares = squares + x.square().sum((0, 2, 3, 4))
    if not count:
        raise CardioDiTError("No slice of the latents counts.", "Make them of cines with slices.")
    mean = total / count
    spread = (squares / count - mean.square()).clamp(min=1e-12).sqrt()
    shape = (-1, 1, 1, 1, 1)
    return LatentScale(mean.float().reshape(shape), spread.float().reshape(shape))


def _whole(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
