"""Convolutions over (H, W, T) that treat time as a circle.

A cine shows one period of a heart beat, so the frame after the last is the first. With zero padding in time the
difference between last and first frame is larger than between any other neighbours. The classes below replace
`nn.Conv3d` and `nn.ConvTranspose3d` in place; parameters and their names stay the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError


def _pad_cycle(x: torch.Tensor, amount: int) -> torch.Tensor:
    return torch.cat([x[..., -amount:], x, x[..., :amount]], dim=-1) if amount else x


def _numbers(values: str | tuple[int, ...]) -> tuple[int, ...]:
    """Padding and the like as numbers; `make_cyclic` lets no padding by name through."""
    assert not isinstance(values, str)
    return values


class CyclicConv3d(nn.Conv3d):
    """`nn.Conv3d` with zero padding in H and W and circular padding in T."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        height, width, time = _numbers(self.padding)
        padded = _pad_cycle(input, time)
        return F.conv3d(padded, self.weight, self.bias, self.stride, (height, width, 0), self.dilation, self.groups)


class CyclicConvTranspose3d(nn.ConvTranspose3d):
    """`nn.ConvTranspose3d` with circular continuation in T: extended by one on both sides, then cut."""

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        stride = int(self.stride[-1])
        out = F.conv_transpose3d(
            _pad_cycle(input, 1),
            self.weight,
            self.bias,
            self.stride,
            _numbers(self.padding),
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return out.narrow(-1, stride, input.shape[-1] * stride)


def make_cyclic(module: nn.Module) -> nn.Module:
    """Turns every 3D convolution inside a module into its cyclic form, in place.

    Raises:
        CardioDiTError: A transposed convolution reaches further than one neighbour in time.
    """
    for part in module.modules():
        if type(part) is nn.Conv3d:
            if isinstance(part.padding, str) or part.padding_mode != "zeros":
                raise CardioDiTError(
                    "Cyclic time needs convolutions padded with zeros by a number.", "Switch cyclic_time off."
                )
            part.__class__ = CyclicConv3d
        elif type(part) is nn.ConvTranspose3d:
            kernel, stride, padding, dilation, extra = (
                _numbers(v)[-1]
                for v in (part.kernel_size, part.stride, part.padding, part.dilation, part.output_padding)
            )
            if kernel - 2 * padding != stride or padding > stride or dilation != 1 or extra != 0:
                raise CardioDiTError(
                    "Cyclic time needs transposed convolutions that turn n latents into n times the stride in frames.",
                    "Use kernel 4, stride 2, padding 1, or switch cyclic_time off.",
                )
            part.__class__ = CyclicConvTranspose3d
    return module
