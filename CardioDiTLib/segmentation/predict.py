"""Probabilities of the four labels for the slices of one frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.stopping import Stop
from CardioDiTLib.cine import LABEL_NAMES
from CardioDiTLib.segmentation.network import SegmentationNetwork

SPREAD_SCALE = 2.0
"""Standard deviations over the beat are multiplied by this, to be of the size of the other channels."""

_MIRRORS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


def slices_seen(z: int, valid: NDArray[np.bool_], neighbours: int, step: int = 1) -> list[int]:
    """Which slices the network sees to label slice z; the slice itself stands in for one that is not there.

    Args:
        z: The slice.
        valid: (Z,), False for slices that hold nothing.
        neighbours: Slices on each side.
        step: How many slices further each is.

    Returns:
        2 * neighbours + 1 indices, z in the middle.
    """
    wanted = [z + step * k for k in range(-neighbours, neighbours + 1)]
    return [place if 0 <= place < len(valid) and valid[place] else z for place in wanted]


def beat_channels(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean and scaled standard deviation over the beat.

    Args:
        frames: (T, Z, H, W) within [-1, 1].

    Returns:
        (Z, 2, H, W) float32.
    """
    return np.stack([frames.mean(0), np.minimum(SPREAD_SCALE * frames.std(0), 1.0)], 1).astype(np.float32)


@torch.inference_mode()
def slice_probabilities(
    network: SegmentationNetwork,
    stack: NDArray[np.float32],
    *,
    beat: NDArray[np.float32] | None = None,
    step: int = 1,
    device: torch.device | None = None,
    batch: int = 8,
    mirrored: bool = False,
    posed: bool = False,
    stop: Stop | None = None,
) -> NDArray[np.float32]:
    """Labels one frame, some slices at a time.

    Args:
        network: In evaluation mode, on `device`.
        stack: (Z, H, W) within [-1, 1], at the network's spacing.
        beat: (Z, 2, H, W), what `beat_channels` gives, for a network that sees motion; None for one that does not, or
            where only one frame is known.
        step: See `NetworkConfig.neighbour_step`.
        device: Where the network is; None is the CPU.
        batch: Slices at once.
        mirrored: Take the mean over the picture and its three mirror images.
        posed: The right ventricle lies on the left; only the mirror image that leaves it there is taken.
        stop: Asked before every batch.

    Returns:
        (Z, 4, H, W) float32, sum 1 over the second axis.

    Raises:
        Cancelled: `stop` said so.
    """
    where = device or torch.device("cpu")
    valid = np.ones(len(stack), bool)
    found = np.empty((len(stack), len(LABEL_NAMES), *stack.shape[1:]), np.float32)
    for first in range(0, len(stack), batch):
        if stop is not None:
            stop.check()
        seen = [
            slices_seen(z, valid, network.config.neighbours, step) for z in range(first, min(first + batch, len(stack)))
        ]
        shown = stack[np.asarray(seen)]
        if network.config.motion:
            here = slice(first, first + batch)
            own = np.stack([stack[here], np.zeros_like(stack[here])], 1) if beat is None else beat[here]
            shown = np.concatenate([shown, own], 1)
        pictures = torch.from_numpy(shown).to(where)
        total = torch.zeros(())
        views = ((), (-2,)) if mirrored and posed else _MIRRORS if mirrored else _MIRRORS[:1]
        for axes in views:
            share = network(pictures.flip(axes) if axes else pictures).float().softmax(1)
            share = share.flip(axes) if axes else share
            total = share if total.ndim == 0 else total + share
        found[first : first + batch] = (total / len(views)).cpu().numpy()
    return found
