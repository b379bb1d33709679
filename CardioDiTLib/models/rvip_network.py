"""The published network of the landmark detector, for comparison with published results.

A plain 2D U-Net for one slice of 224 x 224 pixels at 1.2 mm. Each level: convolution 3 x 3, ReLU, batch normalisation,
dropout, convolution, ReLU, batch normalisation. Up-sampling repeats pixels and convolves (3 x 3, ReLU, no
normalisation). Two channels with sigmoid. Facts of the published code, in its framework's conventions: momentum 0.99
there is 0.01 here, epsilon 1e-3, weights drawn from He's normal distribution, cut off at two standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Bounds, Count, Record

MOMENTUM, EPSILON = 0.01, 1e-3


@dataclass(frozen=True)
class RvipNetworkConfig(Record):
    """Settings of a `RvipNetwork`; the defaults are the published ones.

    Args:
        channels: Feature channels of each level, then of the lowest one.
        dropout: The same number of shares; the way up mirrors them.
        spacing_mm: Pixel spacing at which it works.
        size: Rows and columns that it sees.

    Raises:
        CardioDiTError: A value is not possible.
    """

    record_name: ClassVar[str] = "published network"
    record_hint: ClassVar[str] = "Correct the settings, or get the model's folder again."
    all_needed: ClassVar[bool] = True

    channels: tuple[Count, ...] = (32, 64, 128, 256, 512)
    dropout: tuple[Annotated[float, Bounds(least=0, most=1)], ...] = (0.3, 0.4, 0.4, 0.5, 0.5)
    spacing_mm: Annotated[float, Bounds(least=0.1)] = 1.2
    size: Count = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = len(self.channels)
        if levels < 2 or len(self.dropout) != levels or max(self.dropout) == 1:
            raise CardioDiTError(
                f"The published network cannot have the channels {self.channels} and the dropout {self.dropout}.",
                self.record_hint,
            )
        if self.size % 2 ** (levels - 1):
            raise CardioDiTError(
                f"'size' of the published network is {self.size}, no multiple of {2 ** (levels - 1)}.", self.record_hint
            )


class RvipNetwork(nn.Module):
    """Logits (N, 2, H, W) of the anterior and the inferior point; their sigmoid is what the published network gives.

    With the default settings it has 8,641,730 numbers, running statistics of the normalisations included, 8,635,842 of
    which are trained, as the published network has.

    Args:
        config: What it is like.
    """

    def __init__(self, config: RvipNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or RvipNetworkConfig()
        channels, dropout = self.config.channels, self.config.dropout
        self.down = nn.ModuleList(_block(a, b, p) for a, b, p in zip((1, *channels[:-2]), channels, dropout))
        self.lowest = _block(channels[-2], channels[-1], dropout[-1])
        self.raised = nn.ModuleList(_raise(b, a) for a, b in pairwise(channels))
        self.up = nn.ModuleList(_block(2 * a, a, p) for a, p in zip(channels[:-1], dropout))
        self.last = nn.Conv2d(channels[0], 2, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _he_normal(module)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 1, H, W) within [0, 1] -> (N, 2, H, W) logits; H and W are multiples of 2 ** levels."""
        kept = []
        features = images
        for block in self.down:
            features = block(features)
            kept.append(features)
            features = nn.functional.max_pool2d(features, 2)
        features = self.lowest(features)
        for raised, block, skip in zip(reversed(self.raised), reversed(self.up), reversed(kept)):
            features = block(torch.cat([raised(features), skip], 1))
        logits: torch.Tensor = self.last(features)
        return logits


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(outputs, EPSILON, MOMENTUM),
        nn.Dropout(dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(outputs, EPSILON, MOMENTUM),
    )


def _raise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()
    )


def _he_normal(layer: nn.Conv2d) -> None:
    # The factor makes up for the tails that are cut off.
    spread = math.sqrt(2 / (layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1])) / 0.87962566
    nn.init.trunc_normal_(layer.weight, std=spread, a=-2 * spread, b=2 * spread)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
