"""Seeded noise: drawn on the CPU, one stream a sample, so that neither device nor batch size changes a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from CardioDiTLib.errors import CardioDiTError


def sample_generators(seed: int, count: int, first: int = 0) -> list[torch.Generator]:
    """One random generator a sample.

    Sample i of a seed always gets the same stream, whatever ``count`` and however samples are put into batches.

    Args:
        seed: Any whole number from 0 on.
        count: How many samples, at least 1.
        first: Number of the first sample: a later batch begins where the one before ended.

    Returns:
        ``count`` generators on the CPU. Streams of different seeds or samples are independent.

    Raises:
        CardioDiTError: If a number is negative, or ``count`` is below 1.

    Examples:
        >>> noise = draw_noise(sample_generators(seed=7, count=2), (8, 6, 16, 16, 8))
        >>> torch.equal(noise[1:], draw_noise(sample_generators(seed=7, count=1, first=1), (8, 6, 16, 16, 8)))
        True
    """
    if seed < 0:
        raise CardioDiTError(f"The seed {seed} is negative.", "Give a whole number from 0 on.")
    if count < 1 or first < 0:
        raise CardioDiTError(
            f"{count} samples from number {first} on are not possible.", "Ask for at least one sample."
        )
    return [_generator(seed, first + i) for i in range(count)]


def draw_noise(
    generators: Sequence[torch.Generator],
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise, each sample from its own generator.

    Args:
        generators: One generator a sample, on the CPU; each moves on by one draw.
        shape: Shape of one sample, without the batch axis.
        device: Where the noise is wanted.
        dtype: Its type; the draw itself is always float32, so that the type does not change the stream.

    Returns:
        (B, *shape) noise.
    """
    rows = [torch.randn(tuple(shape), generator=generator, dtype=torch.float32) for generator in generators]
    return torch.stack(rows).to(device=device, dtype=dtype)


def _generator(seed: int, index: int) -> torch.Generator:
    # hashing keeps seed 7, sample 1 apart from seed 8, sample 0
    state = np.random.SeedSequence(int(seed), spawn_key=(index,)).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state) & (2**63 - 1))
