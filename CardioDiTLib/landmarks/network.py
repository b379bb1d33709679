"""The network that finds the two ends of the septum in one slice.

The same residual U-Net as for the labels, on the same grid, with the neighbouring slices of the frame in two more
channels: where a septum ends at the base and at the apex cannot be told from a slice alone. What it gives for every
pixel:

===========  =================================================================================================
channels     meaning
===========  =================================================================================================
0, 1         heat of the first and the second point; softmax over the picture makes it a distribution of place
2, 3         presence; read where the heat is, it says how likely there is such a point in the slice
4 to 7       logits of the labels, a second task that only training uses
===========  =================================================================================================

"First" and "second" are meant as the walk anti-clockwise on the screen around the left ventricle meets them
(:class:`~CardioDiTLib.landmarks.septal_walk.SeptalWalk`). That is seen in any picture, turned or mirrored; which of the
two is the anterior one is then decided in the patient's coordinates, as for points from labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from CardioDiTLib.cine import LABEL_NAMES
from CardioDiTLib.segmentation.network import NetworkConfig, SliceNetwork

POINTS = 2


@dataclass(frozen=True)
class LandmarkNetworkConfig(NetworkConfig):
    """Settings of a `LandmarkNetwork`: those of any network on slices."""

    noun: ClassVar[str] = "landmark network"


class LandmarkNetwork(SliceNetwork):
    """Heat, presence and labels (N, 8, H, W) for one slice.

    Args:
        config: What it is like.
    """

    config: LandmarkNetworkConfig

    def __init__(self, config: LandmarkNetworkConfig | None = None) -> None:
        super().__init__(config or LandmarkNetworkConfig(), 2 * POINTS + len(LABEL_NAMES))


def heat(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8, H, W) of the network -> (N, 2, H, W) logits of the place of each point."""
    return numbers[:, :POINTS].float()


def presence_logits(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8, H, W) of the network -> (N, 2): logit of each point being in the slice.

    The mean of the presence channel, weighted by where the point would be. The weights take no part in learning: the
    heat should say where a point is, not where it is easiest to call it absent.
    """
    share = heat(numbers).detach().flatten(2).softmax(-1)
    return (share * numbers[:, POINTS : 2 * POINTS].float().flatten(2)).sum(-1)


def label_logits(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8, H, W) of the network -> (N, 4, H, W) logits of the labels."""
    return numbers[:, 2 * POINTS :].float()
