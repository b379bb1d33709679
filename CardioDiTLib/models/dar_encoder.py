"""The published encoder of the memorization audit, for volumes (not for cines: see `contrastive_cine`).

Source: facts about the public code of the audit of latent diffusion models by Dar et al. ("Investigating data
memorization in 3D latent diffusion models for medical image synthesis"); parameter names are those of its checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError

_GROUPS = 32  # of every group normalisation


class ReplicateConv3d(nn.Module):
    """3D convolution behind a padding that repeats the rim: kernel minus stride in all, the larger half first.

    Args:
        channels_in, channels_out: Channels.
        kernel: Size along every axis.
        stride: One number, or one an axis.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int | Sequence[int] = 1) -> None:
        super().__init__()
        strides = (stride,) * 3 if isinstance(stride, int) else tuple(stride)
        self.padding: list[int] = []
        for step in reversed(strides):  # torch pads the last axis first
            total = kernel - step
            self.padding += [total - total // 2, total // 2]
        self.conv = nn.Conv3d(channels_in, channels_out, kernel, (strides[0], strides[1], strides[2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, self.padding, mode="replicate"))


class PlainResidual(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, channels, eps=1e-6)
        self.conv1 = ReplicateConv3d(channels, channels, 3)
        self.norm2 = nn.GroupNorm(_GROUPS, channels, eps=1e-6)
        self.conv2 = ReplicateConv3d(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(inside)))


class _Level(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.down = ReplicateConv3d(channels_in, channels_out, 4, stride)
        self.res = PlainResidual(channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res(self.down(x))


class VolumeEncoder(nn.Module):
    """Features of a volume (B, C, D, H, W) on a grid that is coarser by `downsample`.

    Args:
        downsample: Factor along (D, H, W), powers of two. As many levels as the largest factor needs; an axis is
            halved by the first levels until its factor is reached.
        hidden: Channels before the first level; every level doubles them.
        channels: Channels of the volume.

    Raises:
        CardioDiTError: A factor is no power of two, or the channels do not divide into groups of normalisation.
    """

    def __init__(self, downsample: Sequence[int], hidden: int = 16, channels: int = 1) -> None:
        super().__init__()
        factors = [int(value) for value in downsample]
        if len(factors) != 3 or any(value < 1 or value & (value - 1) for value in factors) or max(factors) == 1:
            raise CardioDiTError(
                f"Volumes cannot be made coarser by {tuple(downsample)}.",
                "Give three powers of two, such as (8, 64, 64).",
            )
        if 2 * hidden % _GROUPS:
            raise CardioDiTError(f"{hidden} channels do not fit {_GROUPS} groups.", "Give a multiple of 16.")
        self.conv_blocks = nn.ModuleList()
        halvings = [value.bit_length() - 1 for value in factors]
        for level in range(max(halvings)):
            width = hidden * 2**level
            self.conv_blocks.append(_Level(width, 2 * width, [2 if level < count else 1 for count in halvings]))
        self.conv_first = ReplicateConv3d(channels, hidden, 3)
        self.out_channels = hidden * 2 ** max(halvings)
        self.final_block = nn.Sequential(nn.GroupNorm(_GROUPS, self.out_channels, eps=1e-6), nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_first(x)
        for block in self.conv_blocks:
            x = block(x)
        return self.final_block(x)


class VolumeEmbedding(nn.Module):
    """The whole published network: a volume in, 32 numbers out.

    Args:
        downsample: See `VolumeEncoder`; the volume has to come out as 4 x 4 x 4 (32 x 256 x 256 for (8, 64, 64)).
        hidden, channels: See `VolumeEncoder`.
        dimension: Numbers of the embedding.

    Examples:
        >>> network = VolumeEmbedding((4, 4, 4))
        >>> network(torch.zeros(2, 1, 16, 16, 16)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self, downsample: Sequence[int] = (8, 64, 64), hidden: int = 16, channels: int = 1, dimension: int = 32
    ) -> None:
        super().__init__()
        self.encoder = VolumeEncoder(downsample, hidden, channels)
        self.reduce = nn.Conv3d(self.encoder.out_channels, 8, 1)
        self.head = nn.Sequential(nn.Linear(8 * 4**3, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, dimension))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.reduce(self.encoder(x))
        if found.shape[2:] != (4, 4, 4):
            raise CardioDiTError(
                f"A volume of {tuple(x.shape[2:])} becomes {tuple(found.shape[2:])}, not 4 x 4 x 4.",
                "Bring volumes to four times the factors of the network.",
            )
        return self.head(found.flatten(1))
