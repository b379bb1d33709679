"""The landmark network on the slices of one frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.stopping import Stop
from CardioDiTLib.landmarks.heat_peak import peak_places
from CardioDiTLib.landmarks.network import LandmarkNetwork, heat, presence_logits
from CardioDiTLib.landmarks.slice_points import SlicePoints
from CardioDiTLib.segmentation.predict import slices_seen

WINDOW_MM = 7.5
"""Radius of the disc whose weighted mean is the point."""

VIEWS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes that are reversed, view by view."""


@torch.inference_mode()
def predict_points(
    network: LandmarkNetwork,
    stack: NDArray[np.float32],
    *,
    step: int = 1,
    device: torch.device | None = None,
    batch: int = 8,
    views: int = 1,
    window_mm: float = WINDOW_MM,
    stop: Stop | None = None,
) -> SlicePoints:
    """Finds both points in every slice of one frame, some slices at a time.

    Args:
        network: In evaluation mode, on `device`.
        stack: (Z, H, W) within [-1, 1], at the network's spacing.
        step: See `NetworkConfig.neighbour_step`.
        device: Where the network is; None is the CPU.
        batch: Slices at once.
        views: Take the mean over so many of the picture and its three mirror images, 1 to 4; in a picture that is
            mirrored once the walk meets the points in the other order.
        window_mm: See `WINDOW_MM`.
        stop: Asked before every batch.

    Returns:
        Places, presence and certainty.

    Raises:
        Cancelled: `stop` said so.
    """
    where = device or torch.device("cpu")
    valid = np.ones(len(stack), bool)
    chosen = VIEWS[:views]
    radius = max(1.0, window_mm / network.config.spacing_mm)
    places, presence, certainty = np.empty((len(stack), 2, 2)), np.empty((len(stack), 2)), np.empty((len(stack), 2))
    for first in range(0, len(stack), batch):
        if stop is not None:
            stop.check()
        here = slice(first, first + batch)
        seen = [
            slices_seen(z, valid, network.config.neighbours, step) for z in range(first, min(first + batch, len(stack)))
        ]
        pictures = torch.from_numpy(stack[np.asarray(seen)]).to(where)
        shares, likely = [], []
        for axes in chosen:
            numbers = network(pictures.flip(axes) if axes else pictures)
            share = heat(numbers).flatten(2).softmax(-1).view(len(pictures), 2, *pictures.shape[2:])
            there = presence_logits(numbers).sigmoid()
            if len(axes) == 1:
                share, there = share.flip(1), there.flip(1)
            shares.append(share.flip(axes) if axes else share)
            likely.append(there)
        found, held = peak_places(torch.stack(shares).mean(0), radius)
        places[here], certainty[here] = found.cpu().numpy(), held.cpu().numpy()
        presence[here] = torch.stack(likely).mean(0).cpu().numpy()
    return SlicePoints(places, presence, certainty)
