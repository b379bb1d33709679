"""The pictures of a cine that the audit asks about: a disc about each place of the heart, in every turn.

A disc, since what lies beyond it depends on the field of view and on the turn; of 140 mm, since crops are seldom
tighter. References are seen through the same disc, in one place and one turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from CardioDiTLib.models.contrastive_cine import CineEmbedding
from CardioDiTLib.privacy.cine_canvas import CineCanvas, Place

DISC_MM = 140.0
"""Diameter of what is looked at."""

TURNS = 12
"""So many turns, evenly over the circle: the encoder bears the fifteen degrees that may be missing."""

_PERCENTILES = (0.5, 99.5)


def embed_poses(network: CineEmbedding, canvas: CineCanvas, turns: int = TURNS) -> torch.Tensor:
    """Embeddings of a cine in all its poses.

    Args:
        network: In evaluation mode.
        canvas: The cine.
        turns: How many turns of each place, the first of 0 degrees; with more than one, each also with its brightness
            inverted, for the network takes bright for bright.

    Returns:
        (places x signs x turns, D), place by place, as it is before inverted.
    """
    with torch.inference_mode():
        parts = []
        for place in canvas.places:
            mean, beat, inside = _disc(canvas, place, network.config.size, network.config.spacing_mm)
            for sign in (1.0, -1.0) if turns > 1 else (1.0,):
                planes, shown = network.planes_of(torch.where(inside, sign * mean, -1.0), beat)
                # Planes are turned, not pictures: what the network computes of them first is the same in every turn.
                turned = torch.cat(list(_turned(planes, turns)))
                parts.append(network.embed_planes(turned, shown.expand(len(turned), -1)))
        return torch.cat(parts)


def levelled(seen: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is seen within a disc, from darkest to brightest.

    Args:
        seen: (3, Z, Y, X) mean, cosine and sine part of the beat; intensities.
        inside: (Y, X) what lies in disc and picture.

    Returns:
        (Z, Y, X) mean in [-1, 1], -1 beyond the inside, and the amplitude of the beat on the same scale, 0 there.
    """
    values = seen[0][:, inside]
    if not values.numel():
        values = seen[0].flatten()
    low, high = np.percentile(values.numpy(), _PERCENTILES)
    scale = 2 / max(float(high - low), 1e-6 * max(abs(float(high)), abs(float(low)), 1e-30))
    mean = ((seen[0] - float(low)) * scale - 1).clamp(-1, 1)
    beat = seen[1:].square().sum(0).sqrt() * scale
    return torch.where(inside, mean, -1.0), torch.where(inside, beat, 0.0)


def _disc(
    canvas: CineCanvas, place: Place, size: int, spacing_mm: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(1, Z, size, size) mean and beat as `levelled` gives them, and (size, size) what lies in disc and picture."""
    along = (torch.arange(size) - (size - 1) / 2) * spacing_mm
    y, x = torch.meshgrid(along, along, indexing="ij")
    rows, columns = canvas.parts.shape[-2:]
    grid = torch.stack(
        [(x + place[0]) * 2 / (columns * canvas.spacing_mm[1]), (y + place[1]) * 2 / (rows * canvas.spacing_mm[0])], -1
    )
    seen = F.grid_sample(
        canvas.parts.flatten(0, 1)[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0].view(3, -1, size, size)
    inside = (grid.abs() <= 1).all(-1) & (x.square() + y.square() <= (DISC_MM / 2) ** 2)
    mean, beat = levelled(seen, inside)
    return mean[None], beat[None], inside


def _turned(planes: torch.Tensor, turns: int) -> Iterator[torch.Tensor]:
    """(1, Z, C, Y, X) -> the same turned, one by one."""
    flat = planes.flatten(1, 2)
    for number in range(turns):
        if not number:
            yield planes
            continue
        angle = 2 * math.pi * number / turns
        matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
        grid = F.affine_grid(matrix[None], [1, 1, *planes.shape[-2:]], align_corners=False)
        # The rim of the square lies beyond the disc: it goes on into the corners.
        yield F.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False).view_as(planes)
