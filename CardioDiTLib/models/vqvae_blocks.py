"""Encoder and decoder of a vector-quantised autoencoder, layer for layer and key for key those of MONAI's VQVAE.

Source: P.-D. Tudosiu et al. (arXiv 2209.03177), as in MONAI (Apache-2.0), whose parameter names the published
checkpoints share. They are copied here because importing MONAI takes longer than generating a cine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError

Activation = tuple[str, Mapping[str, Any]] | str | None
"""Name of an activation as MONAI has it, alone or with its arguments; None for none."""

Size = int | Sequence[int]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__.lower(): kind
    for kind in (
        nn.CELU,
        nn.ELU,
        nn.GELU,
        nn.LeakyReLU,
        nn.LogSoftmax,
        nn.Mish,
        nn.PReLU,
        nn.ReLU,
        nn.ReLU6,
        nn.SELU,
        nn.Sigmoid,
        nn.Softmax,
        nn.Tanh,
    )
} | {"swish": nn.SiLU, "memswish": nn.SiLU}
_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def activation(act: tuple[str, Mapping[str, Any]] | str) -> nn.Module:
    """The layer of an activation's name, whatever its case.

    Raises:
        CardioDiTError: There is no such activation.
    """
    name, arguments = (act, {}) if isinstance(act, str) else (act[0], dict(act[1]))
    kind = _ACTIVATIONS.get(str(name).lower())
    if kind is None:
        raise CardioDiTError(
            f"The activation {name!r} of the codec is not known.", f"Use one of {', '.join(_ACTIVATIONS)}."
        )
    return kind(**arguments)


def _convolution(
    dims: int,
    width_in: int,
    width_out: int,
    *,
    stride: Size = 1,
    kernel: Size = 3,
    dilation: Size = 1,
    padding: Size = 1,
    output_padding: Size | None = None,
    act: Activation = None,
    dropout: float | None = None,
    only: bool = False,
) -> nn.Sequential:
    """A convolution (transposed where there is an `output_padding`), then dropout and activation unless `only` it."""
    sizes = {
        name: value if isinstance(value, int) else tuple(value)
        for name, value in (("kernel_size", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation))
    }
    made = nn.Sequential()
    if output_padding is None:
        made.add_module("conv", _CONVOLUTIONS[dims](width_in, width_out, **sizes))
    else:
        more = output_padding if isinstance(output_padding, int) else tuple(output_padding)
        made.add_module("conv", _TRANSPOSED[dims](width_in, width_out, **sizes, output_padding=more))
    after = nn.Sequential()
    if dropout is not None:
        after.add_module("D", nn.Dropout(dropout))
    if act is not None:
        after.add_module("A", activation(act))
    if not only and len(after):
        made.add_module("adn", after)
    return made


class ResidualUnit(nn.Module):
    """relu(x + conv(dropout, act(conv(x))))."""

    def __init__(self, dims: int, width: int, inner: int, act: Activation, dropout: float) -> None:
        super().__init__()
        self.conv1 = _convolution(dims, width, inner, act=act, dropout=dropout)
        self.conv2 = _convolution(dims, inner, width, only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, width, ...) -> the same shape."""
        return F.relu(x + self.conv2(self.conv1(x)), True)


class _Chain(nn.Module):
    """Blocks one after the other."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, ...) -> (B, out_channels, ...)."""
        for block in self.blocks:
            x = block(x)
        return x


class Encoder(_Chain):
    """A strided convolution and residual units a level, then a convolution to the numbers of a code.

    Arguments are those of `VQGAN`, one entry a level.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        num_res_layers: int,
        num_res_channels: Sequence[int],
        downsample_parameters: Sequence[Sequence[Size]],
        dropout: float,
        act: Activation,
    ) -> None:
        blocks: list[nn.Module] = []
        before = in_channels
        for level, (width, inner) in enumerate(zip(channels, num_res_channels)):
            stride, kernel, dilation, padding = downsample_parameters[level]
            blocks.append(
                _convolution(
                    spatial_dims,
                    before,
                    width,
                    stride=stride,
                    kernel=kernel,
                    dilation=dilation,
                    padding=padding,
                    act=act,
                    dropout=dropout if level else None,
                )
            )
            blocks += [ResidualUnit(spatial_dims, width, inner, act, dropout) for _ in range(num_res_layers)]
            before = width
        blocks.append(_convolution(spatial_dims, before, out_channels, only=True))
        super().__init__(blocks)


class Decoder(_Chain):
    """A convolution from the numbers of a code, then residual units and a transposed convolution a level.

    Arguments are those of `VQGAN`, one entry a level, finest first (`upsample_parameters` coarsest first).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        num_res_layers: int,
        num_res_channels: Sequence[int],
        upsample_parameters: Sequence[Sequence[Size]],
        dropout: float,
        act: Activation,
        output_act: Activation,
    ) -> None:
        widths, inners = list(reversed(channels)), list(reversed(num_res_channels))
        blocks: list[nn.Module] = [_convolution(spatial_dims, in_channels, widths[0], only=True)]
        for level, (width, inner) in enumerate(zip(widths, inners)):
            last = level == len(widths) - 1
            blocks += [ResidualUnit(spatial_dims, width, inner, act, dropout) for _ in range(num_res_layers)]
            stride, kernel, dilation, padding, output_padding = upsample_parameters[level]
            blocks.append(
                _convolution(
                    spatial_dims,
                    width,
                    out_channels if last else widths[level + 1],
                    stride=stride,
                    kernel=kernel,
                    dilation=dilation,
                    padding=padding,
                    output_padding=output_padding,
                    act=act,
                    dropout=dropout,
                    only=last,
                )
            )
        if output_act:
            blocks.append(activation(output_act))
        super().__init__(blocks)
