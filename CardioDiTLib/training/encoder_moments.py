"""What views are drawn from: of each cine of a pack the mean, the first harmonic, and some frames by themselves.

All are linear in the frames, so that moving pictures costs three of them a slice, however many frames a cine has.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..privacy.cine_canvas import frame_brightness

SINGLE_FRAMES = 4


def moments(frames: torch.Tensor, systole: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Moments and single frames of cines, their frames as bright as each other (see `frame_brightness`).

    Args:
        frames: (N, T, Z, Y, X) uint8, at even intervals over one cycle, end-diastole first.
        systole: (N,) frame of end-systole.

    Returns:
        (N, 3, Z, Y, X) mean, cosine and sine part, and (N, 4, Z, Y, X) end-diastole, end-systole and the frames half
        the way to and from it; float16, 1 for 255.
    """
    count = frames.shape[1]
    angle = 2 * np.pi * np.arange(count) / count
    basis = torch.from_numpy(
        np.stack([np.ones(count), 2 * np.cos(angle), 2 * np.sin(angle)]).astype(np.float32) / count
    )
    weights = np.full(count, 1 / count)
    kept, singles = [], []
    for cine, end in zip(frames, systole.tolist()):
        gains, offsets = (torch.from_numpy(one)[..., None, None] for one in frame_brightness(cine.numpy(), weights))
        level = (cine.float() - offsets) / gains / 255
        kept.append(torch.einsum("kt,tzyx->kzyx", basis, level).half())
        singles.append(level[[0, end, end // 2, (end + count) // 2]].half())
    return torch.stack(kept), torch.stack(singles)
