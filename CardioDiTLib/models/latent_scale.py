"""Scaling between a codec's latents and the input of the diffusion transformer: mean 0, standard deviation about 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.patches import patchify, unpatchify


class LatentScale(nn.Module):
    """Centres and scales latents (B, C, Z, H, W, T).

    The published system divides by one number. Here every channel has its own mean and standard deviation; the mean
    may be given for every place (the average heart, where all training cines share a pose), and time may first be
    turned into its Fourier-like modes (an orthonormal cosine transform), so that the small differences between
    frames, in which the motion lies, have a scale of their own.

    Args:
        mean: Broadcasts against (C, Z, H, W, T).
        std: Broadcasts against (C, Z, H, W, T); positive.
        modes: True where `mean` and `std` are those of the modes in time.
        basis: (K, C pz ph pw pt) orthonormal rows, or None. With it, the numbers of each patch are replaced by their K
            coordinates in this basis (principal components): what the transformer sees is (B, K, Z/pz, H/ph, W/pw,
            T/pt). Noise then lies only in directions in which the data vary.
        patch: (pz, ph, pw, pt) of the basis.

    Examples:
        >>> scale = LatentScale(torch.zeros(4, 1, 1, 1, 1), torch.ones(4, 1, 1, 1, 1) * 2)
        >>> scale.normalise(torch.ones(1, 4, 8, 16, 16, 4)).unique().item()
        0.5
    """

    mean: torch.Tensor
    std: torch.Tensor
    basis: torch.Tensor | None

    def __init__(
        self,
        mean: torch.Tensor,
        std: torch.Tensor,
        modes: bool = False,
        *,
        basis: torch.Tensor | None = None,
        patch: Sequence[int] = (1, 1, 1, 1),
    ) -> None:
        super().__init__()
        if mean.ndim != 5 or std.ndim != 5:
            raise CardioDiTError(
                f"Mean and standard deviation of the latents have {mean.ndim} and {std.ndim} axes.",
                "Give both as (C, Z, H, W, T), with 1 where they do not vary.",
            )
        if not bool((std > 0).all()) or not bool(torch.isfinite(mean).all()):
            raise CardioDiTError(
                "The scale of the latents is not positive or not finite.", "Compute it from latents that vary."
            )
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())
        if basis is not None and (basis.ndim != 2 or basis.shape[1] % math.prod(patch) or len(basis) > basis.shape[1]):
            raise CardioDiTError(
                f"A basis of shape {tuple(basis.shape)} does not fit patches of {tuple(patch)}.",
                "Give one row a coordinate and one column a number of a patch.",
            )
        self.register_buffer("basis", None if basis is None else basis.float())
        self.patch = tuple(patch)
        self.modes = modes

    @classmethod
    def published(cls, scale_factor: float, channels: int) -> LatentScale:
        """The published convention: latents times one factor."""
        return cls(torch.zeros(channels, 1, 1, 1, 1), torch.full((channels, 1, 1, 1, 1), 1.0 / scale_factor))

    @classmethod
    def fit(
        cls,
        latents: torch.Tensor,
        valid: torch.Tensor | None = None,
        *,
        place_mean: bool = False,
        modes: bool = False,
        power: float = 1.0,
        patch: Sequence[int] = (1, 1, 1, 1),
        coordinates: int = 0,
    ) -> LatentScale:
        """Statistics of a set of latents.

        Args:
            latents: (N, C, Z, H, W, T).
            valid: (N, Z) bool; slices to count.
            place_mean: A mean for every place instead of one a channel.
            modes: Scale the modes in time one by one.
            patch, coordinates: Keep so many principal components of each patch; 0 keeps all numbers as they are.
            power: 1 brings every mode to spread 1; below 1 leaves the weak modes weaker (spread to the power 1 -
                power).
        """
        x = to_modes(latents) if modes else latents
        keep = torch.ones(x.shape[0], x.shape[2], dtype=torch.bool) if valid is None else valid
        weight = keep[:, None, :, None, None, None].to(x.dtype)
        if place_mean:
            mean = (x * weight).sum(0) / weight.sum(0).clamp(min=1)
        else:
            axes = (0, 2, 3, 4) if modes else (0, 2, 3, 4, 5)
            mean = _weighted(x, weight, axes)
        axes = (0, 2, 3, 4) if modes else (0, 2, 3, 4, 5)
        std = _weighted((x - mean).square(), weight, axes).sqrt().clamp(min=1e-6)
        if modes and power != 1.0:
            std = std.pow(power)
            # The overall variance stays 1: the noise levels of training keep their meaning.
            std = std * _weighted(((x - mean) / std).square(), weight, (0, 1, 2, 3, 4, 5)).sqrt()
        if not coordinates:
            return cls(mean, std, modes)
        tokens = patchify((x - mean) / std, patch).flatten(0, 1)
        counted = patchify(weight.expand_as(x), patch).flatten(0, 1).amin(1) > 0
        _, vectors = torch.linalg.eigh(tokens[counted].T.double() @ tokens[counted].double())
        return cls(mean, std, modes, basis=vectors.T.flip(0)[:coordinates].float(), patch=patch)

    def seen_shape(self, latents: Sequence[int]) -> tuple[int, ...]:
        """Shape (K, Z', H', W', T') that the transformer sees of latents (C, Z, H, W, T)."""
        if self.basis is None:
            return tuple(latents)
        return (len(self.basis), *(size // step for size, step in zip(latents[1:], self.patch)))

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        """Codec latents (B, C, Z, H, W, T) -> what the transformer sees."""
        x = self.levelled(latents)
        if self.basis is None:
            return x
        grid = [size // step for size, step in zip(x.shape[2:], self.patch)]
        return (patchify(x, self.patch) @ self.basis.T).transpose(1, 2).unflatten(2, grid)

    def levelled(self, latents: torch.Tensor) -> torch.Tensor:
        """Codec latents (B, C, Z, H, W, T) at mean 0 and spread about 1, each number still at its own place."""
        x = to_modes(latents) if self.modes else latents
        return (x - self.mean) / self.std

    def restore(self, x: torch.Tensor) -> torch.Tensor:
        """The way back to codec latents (B, C, Z, H, W, T)."""
        if self.basis is not None:
            tokens = x.flatten(2).transpose(1, 2) @ self.basis
            # `unpatchify` wants the channel last inside a token, `patchify` puts it first.
            tokens = tokens.unflatten(2, (-1, math.prod(self.patch))).transpose(2, 3).flatten(2)
            x = unpatchify(tokens, self.patch, x.shape[2:])
        latents = x * self.std + self.mean
        return from_modes(latents) if self.modes else latents


def _weighted(x: torch.Tensor, weight: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Weighted mean over axes of (N, C, Z, H, W, T); returned as (C, Z, H, W, T) with 1 where averaged."""
    share = weight.expand_as(x)
    return ((x * weight).sum(axes, keepdim=True) / share.sum(axes, keepdim=True).clamp(min=1))[0]


def time_modes(length: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(length, length) orthonormal cosines (DCT-II), one mode a row; row 0 is the mean over time."""
    place = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    rows = torch.cos(math.pi * torch.arange(length, dtype=torch.float64)[:, None] * place)
    rows[0] *= math.sqrt(0.5)
    return (rows * math.sqrt(2.0 / length)).to(dtype)


def to_modes(latents: torch.Tensor) -> torch.Tensor:
    """Last axis (time) into its modes."""
    return latents @ time_modes(latents.shape[-1], latents.dtype).to(latents.device).T


def from_modes(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_modes`."""
    return x @ time_modes(x.shape[-1], x.dtype).to(x.device)
