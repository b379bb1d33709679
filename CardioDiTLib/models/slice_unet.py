"""The network that labels the pixels of one slice.

MONAI's residual U-Net in 2D (`residual_unet`), for three reasons. Slices lie 5 to 13 mm apart and shift with each
breath-hold, pixels 1 to 2 mm, so that 3D kernels would combine voxels that do not correspond. Its first layer halves
the image, which makes it two to four times cheaper than DynUNet at the same number of weights; many machines have no
GPU. Instance normalisation makes it independent of the batch and of a scanner's contrast.

Whether a basal slice still belongs to the ventricle cannot be told from one 2D slice. More channels help: the
neighbouring slices of the same frame, and mean and standard deviation of the slice over the beat. Neighbouring *frames*
are left out: they bias labels towards small motion, first at end-systole, which determines the ejection fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LABEL_NAMES
from CardioDiTLib.models.residual_unet import ResidualUNet
from CardioDiTLib.schema import Bounds, Count, Record

POINTS = 2


@dataclass(frozen=True)
class NetworkConfig(Record):
    """Settings of a `SliceNetwork`.

    Args:
        channels: Feature channels, level by level; each level has half the resolution of the one above.
        res_units: Convolutions of a residual unit.
        neighbours: Slices on each side that are seen beside the one that is labelled.
        neighbour_mm: Distance that those slices should have; the nearest whole number of slices is taken.
        spacing_mm: Pixel spacing in plane at which the network works.
        motion: Two more channels: mean and spread of the slice over the beat.

    Raises:
        CardioDiTError: A value is not possible.
    """

    record_name: ClassVar[str] = "segmentation network"
    record_hint: ClassVar[str] = "Correct the settings, or get the model's folder again."
    all_needed: ClassVar[bool] = True
    came_later: ClassVar[tuple[str, ...]] = ("motion",)

    channels: tuple[Count, ...] = (24, 48, 96, 160, 192)
    res_units: Annotated[int, Bounds(least=0)] = 2
    neighbours: Annotated[int, Bounds(least=0)] = 1
    neighbour_mm: Annotated[float, Bounds(least=0.1, most=100)] = 10.0
    spacing_mm: Annotated[float, Bounds(least=0.1, most=100)] = 1.5
    motion: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2:
            raise CardioDiTError(f"A {self.record_name} cannot have the channels {self.channels}.", self.record_hint)

    @property
    def in_channels(self) -> int:
        """Slices in the input, and two channels for the beat if `motion` is set."""
        return 2 * self.neighbours + 1 + 2 * self.motion

    @property
    def multiple(self) -> int:
        """Rows and columns are padded to a multiple of this."""
        return int(2 ** (len(self.channels) - 1))

    def neighbour_step(self, slice_spacing_mm: float) -> int:
        """How many slices further the neighbour is, at least 1."""
        return max(1, round(self.neighbour_mm / slice_spacing_mm))


class SliceNetwork(nn.Module):
    """A residual U-Net that takes a slice of any size.

    Args:
        config: What it is like.
        out_channels: Numbers for each pixel.
    """

    def __init__(self, config: NetworkConfig, out_channels: int) -> None:
        super().__init__()
        self.config = config
        self.unet = ResidualUNet(config.in_channels, out_channels, config.channels, config.res_units)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Any size in, the same size out.

        Args:
            images: (N, in_channels, H, W) within [-1, 1]; the slice itself is in the middle of the first
                2 * neighbours + 1 channels, mean and spread over the beat follow.

        Returns:
            (N, out_channels, H, W), as the last convolution gives them.
        """
        height, width = images.shape[-2:]
        # Twice the multiple at least: a single pixel at the lowest level has no spread to normalise with.
        padding: list[int] = []
        for size in (width, height):
            missing = max(2 * self.config.multiple, -(-size // self.config.multiple) * self.config.multiple) - size
            padding += [missing // 2, missing - missing // 2]
        padded = F.pad(images, padding, mode="replicate")
        if not self.training and not torch.is_grad_enabled():
            # channels innermost: what convolutions on CPUs take in any case, without bringing every map there and back
            padded = padded.contiguous(memory_format=torch.channels_last)
        numbers: torch.Tensor = self.unet(padded)
        return numbers[..., padding[2] : padding[2] + height, padding[0] : padding[0] + width]


class SegmentationNetwork(SliceNetwork):
    """Logits (N, 4, H, W) of the four labels for one slice.

    Args:
        config: What it is like.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__(config or NetworkConfig(), len(LABEL_NAMES))


@dataclass(frozen=True)
class LandmarkNetworkConfig(NetworkConfig):
    """Settings of a `LandmarkNetwork`: those of any network on slices."""

    record_name: ClassVar[str] = "landmark network"


class LandmarkNetwork(SliceNetwork):
    """Heatmaps, presence and labels (N, 8, H, W) for one slice.

    Args:
        config: What it is like.
    """

    config: LandmarkNetworkConfig

    def __init__(self, config: LandmarkNetworkConfig | None = None) -> None:
        super().__init__(config or LandmarkNetworkConfig(), 2 * POINTS + len(LABEL_NAMES))


def heatmap_logits(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8, H, W) of the network -> (N, 2, H, W) logits of the place of each point."""
    return numbers[:, :POINTS].float()


def presence_logits(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8, H, W) of the network -> (N, 2): logit of each point being in the slice.

    The mean of the presence channel, weighted by the heatmap. No gradient passes through the weights: otherwise the
    loss of the presence would move the heatmap.
    """
    share = heatmap_logits(numbers).detach().flatten(2).softmax(-1)
    return (share * numbers[:, POINTS : 2 * POINTS].float().flatten(2)).sum(-1)


def label_logits(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8, H, W) of the network -> (N, 4, H, W) logits of the labels."""
    return numbers[:, 2 * POINTS :].float()
