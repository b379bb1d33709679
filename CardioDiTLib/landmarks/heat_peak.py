"""From a distribution over the pixels of a slice to one place, finer than a pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_ROUNDS = 3


def peak_places(share: torch.Tensor, radius_px: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where most of a distribution lies.

    The disc of the radius that holds most of it is looked for; its weighted mean is the place, about which the disc is
    laid anew, some times (mean shift). A second, weaker peak elsewhere moves nothing.

    Args:
        share: (N, K, H, W), not negative, sum 1 over the picture.
        radius_px: Of the disc, at least 1.

    Returns:
        (N, K, 2) the place (x, y) in pixels, and (N, K) the share of the disc, 0 to 1.
    """
    height, width = share.shape[-2:]
    reach = int(radius_px)
    axis = torch.arange(-reach, reach + 1, device=share.device)
    disc = ((axis[:, None] ** 2 + axis[None] ** 2) <= radius_px**2).to(share.dtype)
    flat = share.reshape(-1, 1, height, width)
    held = F.conv2d(flat, disc[None, None], padding=reach).flatten(1)
    best = held.argmax(1)
    x, y = (best % width).to(share.dtype), torch.div(best, width, rounding_mode="floor").to(share.dtype)
    columns = torch.arange(width, device=share.device, dtype=share.dtype)
    rows = torch.arange(height, device=share.device, dtype=share.dtype)
    mass = held.gather(1, best[:, None])[:, 0]
    for _ in range(_ROUNDS):
        across, down = columns[None] - x[:, None], rows[None] - y[:, None]
        weight = flat[:, 0] * (down[:, :, None] ** 2 + across[:, None] ** 2 <= radius_px**2)
        mass = weight.sum((1, 2))
        x = (weight.sum(1) * columns).sum(1) / mass.clamp_min(1e-12)
        y = (weight.sum(2) * rows).sum(1) / mass.clamp_min(1e-12)
    place = torch.stack([x, y], -1).view(*share.shape[:2], 2)
    return place, mass.view(share.shape[:2]).clamp(0, 1)
