"""Patches of a 4D volume as tokens, and the sine-cosine positions of those tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange


def patchify(x: torch.Tensor, patch_size: Sequence[int]) -> torch.Tensor:
    """Cut a volume into tokens.

    Args:
        x: (B, C, Z, H, W, T); each axis divides by its patch size.
        patch_size: (pz, ph, pw, pt).

    Returns:
        (B, N, C pz ph pw pt): tokens run over (z, h, w, t) with t fastest, numbers of a token over (c, pz, ph, pw, pt).
    """
    pz, ph, pw, pt = patch_size
    return rearrange(
        x,
        "b c (z pz) (h ph) (w pw) (t pt) -> b (z h w t) (c pz ph pw pt)",
        pz=pz,
        ph=ph,
        pw=pw,
        pt=pt,
    )


def unpatchify(tokens: torch.Tensor, patch_size: Sequence[int], grid: Sequence[int]) -> torch.Tensor:
    """Put output tokens together to a volume.

    The numbers of an output token run over (pz, ph, pw, pt, c), channels fastest: not the order of `patchify`. Both
    orders are those of the published weights.

    Args:
        tokens: (B, N, pz ph pw pt C), tokens over (z, h, w, t).
        patch_size: (pz, ph, pw, pt).
        grid: Tokens along (z, h, w, t).

    Returns:
        (B, C, Z, H, W, T).
    """
    pz, ph, pw, pt = patch_size
    z, h, w, t = grid
    return rearrange(
        tokens,
        "b (z h w t) (pz ph pw pt c) -> b c (z pz) (h ph) (w pw) (t pt)",
        pz=pz,
        ph=ph,
        pw=pw,
        pt=pt,
        z=z,
        h=h,
        w=w,
        t=t,
    )


def sincos_positions(channels: int, grid: Sequence[int], steps: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> torch.Tensor:
    """Fixed positions of the tokens of a grid.

    A quarter of the channels goes to each of z, h, w, t. Of these n channels, half are sin and half cos of
    position / 10000^(i / (n / 2)) (A. Vaswani et al., arXiv 1706.03762, section 3.5, sines first).

    Args:
        channels: Width of a token; a multiple of 8.
        grid: Tokens along (z, h, w, t).
        steps: Distance of neighbouring tokens along each axis.

    Returns:
        (1, N, channels) float32, tokens over (z, h, w, t) with t fastest.
    """
    half = channels // 8
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    parts = []
    for axis, length in enumerate(grid):
        angles = torch.arange(length, dtype=torch.float64)[:, None] * steps[axis] * frequencies
        shape = [1, 1, 1, 1, 2 * half]
        shape[axis] = length
        part = torch.cat([angles.sin(), angles.cos()], dim=1).reshape(shape)
        parts.append(part.expand(*grid, 2 * half))
    return torch.cat(parts, dim=-1).reshape(1, -1, channels).float()


def resample_positions(positions: torch.Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> torch.Tensor:
    """Positions stretched linearly over another grid, axis by axis.

    Args:
        positions: (1, N, channels) on `grid`.
        grid: Tokens along (z, h, w, t) now.
        new_grid: Tokens along (z, h, w, t) wanted.

    Returns:
        (1, N', channels) on `new_grid`, the same dtype.
    """
    field = positions.detach().double().reshape(*grid, -1)
    for axis, (old, new) in enumerate(zip(grid, new_grid)):
        if old != new:
            lines = field.movedim(axis, -1)
            stretched = F.interpolate(lines.reshape(1, -1, old), size=new, mode="linear", align_corners=False)
            field = stretched.reshape(*lines.shape[:-1], new).movedim(-1, axis)
    return field.reshape(1, -1, positions.shape[-1]).to(positions.dtype)
