"""Position encodings of tokens: the modes of the published system, version 2.

==========================  ==========================================================================================
mode                        what it does
==========================  ==========================================================================================
``absolute``                sines and cosines of z, h, w, t, a quarter of the width each, added to the tokens
``center_select``           the same; a smaller grid gets the middle of the table (VariViT)
``interpolated``            the quarter of t is computed for the frames at hand, or for given phases
``interpolated_rescaled``   the quarter of t runs over the usual range, however many frames there are
``phase``                   the phase of the beat over the whole width, on top of the places
``time_rope``               z, h, w added; queries and keys are rotated by the time (rotary positions)
``rope4d``                  nothing is added; queries and keys are rotated by z, h, w and t
==========================  ==========================================================================================

In every mode a smaller grid than the largest takes the middle of the table of z, h and w.

Source: J. Su et al., "RoFormer" (arXiv 2104.09864) for rotary positions; names and defaults are those of the published
configurations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

POSITION_MODES = (
    "absolute",
    "center_select",
    "interpolated",
    "interpolated_rescaled",
    "phase",
    "time_rope",
    "rope4d",
)
PHASE_SCHEMAS = ("legacy_v1", "cyclic_v2")

_LONGEST_PERIOD = 10000.0
_UNIT_TOLERANCE = 1e-4


def axis_steps(spacing: Sequence[float] | None, patch_size: Sequence[int]) -> tuple[float, float, float, float]:
    """How far apart neighbouring tokens are along (z, h, w, t); the smallest step is 1.

    Args:
        spacing: Size of one latent along (z, h, w, t) in any unit; None for 1 along every axis.
        patch_size: Latents of one token along each axis.
    """
    if spacing is None:
        return 1.0, 1.0, 1.0, 1.0
    sizes = [float(size) * int(patch) for size, patch in zip(spacing, patch_size)]
    z, h, w, t = (size / min(sizes) for size in sizes)
    return z, h, w, t


def token_indices(grid: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """(N, 4) int64: index of each token along (z, h, w, t), t fastest."""
    return torch.cartesian_prod(*(torch.arange(length, device=device) for length in grid)).reshape(-1, 4)


def waves(channels: int, positions: torch.Tensor) -> torch.Tensor:
    """Sines, then cosines, of positions of any shape: (...) -> (..., channels) float32."""
    half = channels // 2
    rates = 1.0 / (_LONGEST_PERIOD ** (torch.arange(half, dtype=torch.float32, device=positions.device) / half))
    angles = positions.float()[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def harmonics(channels: int, phase: torch.Tensor) -> torch.Tensor:
    """Sines, then cosines, of whole multiples of the beat: phases (...), 1 a beat -> (..., channels) float32.

    The first frame follows the last as any frame follows its neighbour: phase 1 is phase 0.
    """
    multiples = torch.arange(1, channels // 2 + 1, dtype=torch.float32, device=phase.device)
    angles = 2.0 * math.pi * torch.remainder(phase.float(), 1.0)[..., None] * multiples
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def pooled_phase(phase: torch.Tensor, length: int) -> torch.Tensor:
    """Phases of frames (B, T) as those of fewer tokens (B, length): the mean direction on the circle in each part."""
    frames, parts = phase.shape[1], []
    for index in range(length):
        first, last = index * frames // length, (index + 1) * frames // length
        if last <= first:  # more tokens than frames: the frame in the middle of the token
            first = min(frames - 1, int((index + 0.5) * frames / length))
            last = first + 1
        angles = 2.0 * math.pi * phase[:, first:last]
        mean = torch.atan2(angles.sin().mean(1), angles.cos().mean(1))
        parts.append(torch.remainder(mean / (2.0 * math.pi), 1.0))
    return torch.stack(parts, dim=1)


def times_of_frames(
    length: int,
    batch: int,
    step: float,
    schema: str,
    alpha_t: torch.Tensor | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Times of the tokens along t, (1 or B, length) float32.

    Without phases tokens are counted, from 0 or, under "cyclic_v2", from a half. Phases (0 to 1 within a beat) are
    stretched over the tokens; numbers beyond that are taken as places among the tokens already.

    Args:
        length: Tokens along t.
        batch: B.
        step: Distance of neighbouring tokens.
        schema: "legacy_v1" or "cyclic_v2", under which phases are averaged and stretched as on a circle.
        alpha_t: Phases of frames or tokens, (T,), (1, T) or (B, T).
        device: Where the result is wanted.
    """
    if alpha_t is None:
        offset = 0.5 if schema == "cyclic_v2" else 0.0
        return (torch.arange(length, dtype=torch.float32, device=device) + offset)[None] * step
    phase = torch.as_tensor(alpha_t, dtype=torch.float32).to(device)
    phase = phase[None] if phase.ndim == 1 else phase.flatten(1)
    phase = phase.expand(batch, -1)
    if schema == "cyclic_v2" and _within_a_beat(phase):
        if phase.shape[1] != length:
            phase = pooled_phase(phase, length)
        return torch.remainder(phase, 1.0) * length * step
    if phase.shape[1] != length:
        phase = F.interpolate(phase[:, None], size=length, mode="linear", align_corners=True)[:, 0]
    return (phase * max(length - 1, 1) if _within_a_beat(phase) else phase) * step


def _within_a_beat(phase: torch.Tensor) -> bool:
    return float(phase.min()) >= -_UNIT_TOLERANCE and float(phase.max()) <= 1.0 + _UNIT_TOLERANCE


def rotary_pairs(head_width: int, axes: int) -> list[int]:
    """Pairs of channels that each axis turns; what is left over is not turned.

    With four axes (z, h, w, t) a first odd pair goes to z, a second to t, so that h and w stay alike; a third is left.
    """
    pairs = head_width // 2
    if axes == 1:
        return [pairs]
    each, rest = divmod(pairs, axes)
    return [each + (rest >= 1), each, each, each + (rest >= 2)]


def rotations(coordinates: torch.Tensor, head_width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine by which the pairs of a head are turned.

    Args:
        coordinates: (1 or B, N, A) float32; A is 1 (time alone) or 4.
        head_width: Channels of a head.

    Returns:
        Two tensors (1 or B, 1, N, pairs turned) float32.
    """
    parts = []
    for axis, pairs in enumerate(rotary_pairs(head_width, coordinates.shape[-1])):
        places = torch.arange(0, 2 * pairs, 2, dtype=torch.float32, device=coordinates.device)
        parts.append(coordinates[..., axis, None] * _LONGEST_PERIOD ** (-places / max(2 * pairs, 1)))
    angles = torch.cat(parts, dim=-1)[:, None]
    return angles.cos(), angles.sin()


def rotated(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Queries or keys (B, heads, N, head width) turned: neighbouring channels, even and odd, are a pair."""
    cosine, sine = rotation
    width = 2 * cosine.shape[-1]
    even, odd = x[..., 0:width:2].float(), x[..., 1:width:2].float()
    turned = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2).to(x.dtype)
    return turned if width == x.shape[-1] else torch.cat([turned, x[..., width:]], dim=-1)
