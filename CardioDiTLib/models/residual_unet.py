"""A residual U-Net in 2D, layer for layer and key for key MONAI's UNet at its defaults.

Source: E. Kerfoot et al., "Left-Ventricle Quantification Using Residual U-Net" (STACOM 2018), as in MONAI (Apache-2.0).
It stands here because importing MONAI takes longer than segmenting some frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

_FEW_CHANNELS = 16
"""With fewer channels torch normalises faster where rows and columns, not channels, are innermost in memory."""

_MANY_CHANNELS = 64
"""With as many channels innermost in memory plain sums are some times as fast as torch's group normalisation."""


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance normalisation without weights; where nothing is learned by torch's group normalisation, a fifth faster.

    The two differ by the rounding of sums (1e-5 of a logit).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same shape."""
        if self.training or torch.is_grad_enabled():
            return super().forward(input)
        channels = input.shape[1]
        if channels < _FEW_CHANNELS:
            return F.group_norm(input.contiguous(), channels, eps=self.eps)
        if channels >= _MANY_CHANNELS and input.device.type == "cpu":
            pixels = input.permute(0, 2, 3, 1).flatten(1, 2)
            centred = pixels - pixels.mean(1, keepdim=True)
            centred *= centred.square().mean(1, keepdim=True).add_(self.eps).rsqrt_()
            return centred.unflatten(1, input.shape[2:]).permute(0, 3, 1, 2)
        return F.group_norm(input, channels, eps=self.eps)


class PReLU(nn.PReLU):
    """Parametric ReLU with one slope; where nothing is learned in place, since what comes in is nobody else's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape."""
        if self.training or torch.is_grad_enabled():
            return super().forward(input)
        return F.leaky_relu_(input, float(self.weight))


def _convolution(width_in: int, width_out: int, stride: int, *, up: bool = False, only: bool = False) -> nn.Sequential:
    """A convolution (3 x 3), then norm, dropout of nothing and PReLU unless `only` it."""
    made = nn.Sequential()
    if up:
        layer: nn.Module = nn.ConvTranspose2d(width_in, width_out, 3, stride, 1, output_padding=stride - 1)
    else:
        layer = nn.Conv2d(width_in, width_out, 3, stride, 1)
    made.add_module("conv", layer)
    if not only:
        after = nn.Sequential()
        after.add_module("N", InstanceNorm2d(width_out))
        after.add_module("D", nn.Dropout(0.0))
        after.add_module("A", PReLU())
        made.add_module("adn", after)
    return made


class _Residual(nn.Module):
    """Convolutions one after the other, and beside them the input, brought to their size."""

    def __init__(self, width_in: int, width_out: int, stride: int, units: int, last_conv_only: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.residual: nn.Module = nn.Identity()
        for unit in range(units):
            only = last_conv_only and unit == units - 1
            first = unit == 0
            layer = _convolution(width_in if first else width_out, width_out, stride if first else 1, only=only)
            self.conv.add_module(f"unit{unit}", layer)
        if stride != 1:
            self.residual = nn.Conv2d(width_in, width_out, 3, stride, 1)
        elif width_in != width_out:
            self.residual = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beside: torch.Tensor = self.residual(x)
        return self.conv(x) + beside


class _Skip(nn.Module):
    """The input and the output of a submodule, concatenated in the channels."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.submodule(x)], dim=1)


class ResidualUNet(nn.Module):
    """U-Net whose every level halves the image.

    Args:
        in_channels: Channels of the image.
        out_channels: Numbers for each pixel.
        channels: Feature channels, level by level, at least two.
        res_units: Convolutions of a residual unit; 0 for plain convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: Sequence[int], res_units: int) -> None:
        super().__init__()
        self._units = res_units
        self.model = self._level(in_channels, out_channels, channels, top=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, H, W), both a multiple of 2 to the number of levels less one -> (N, out_channels, H, W)."""
        numbers: torch.Tensor = self.model(x)
        return numbers

    def _level(self, width_in: int, width_out: int, channels: Sequence[int], top: bool) -> nn.Sequential:
        width, below = channels[0], channels[1]
        if len(channels) > 2:
            inner: nn.Module = self._level(width, width, channels[1:], top=False)
            joined = 2 * width
        else:
            inner = self._down(width, below, 1)
            joined = width + below
        return nn.Sequential(self._down(width_in, width, 2), _Skip(inner), self._up(joined, width_out, top))

    def _down(self, width_in: int, width_out: int, stride: int) -> nn.Module:
        if self._units:
            return _Residual(width_in, width_out, stride, self._units)
        return _convolution(width_in, width_out, stride)

    def _up(self, width_in: int, width_out: int, top: bool) -> nn.Module:
        layer = _convolution(width_in, width_out, 2, up=True, only=top and not self._units)
        return nn.Sequential(layer, _Residual(width_out, width_out, 1, 1, last_conv_only=top)) if self._units else layer
