"""How many samples fit into a memory budget."""

from __future__ import annotations

import math

import torch

from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.models.dit import DiT4D

LARGEST_AUTO_BATCH = 8
"""Larger batches are not faster on a CPU, and delay the first progress event."""

_TOKEN_WIDTHS = 12
"""Widths of a token alive at a time beside the MLP: residual, its norm, q, k, v, their norms, attention, projection."""

_LATENT_COPIES = 48
"""Bytes a latent number: running sample and its update in float64, clean samples of two steps, noise, guidance."""


def bytes_a_sample(dit: DiT4D, guided: bool, dtype: torch.dtype, size: tuple[int, int, int, int] | None = None) -> int:
    """Working memory of denoising one sample, in bytes; weights and decoding not counted.

    Counts the activations of one block, as nothing is kept for a backward pass and attention is computed in pieces.
    Checked against measured peaks: Testing/benchmarks/generation_cost.py.

    Args:
        dit: The transformer.
        guided: Guidance runs each sample with and without its class.
        dtype: Type in which it computes.
        size: (Z, H, W, T) that it sees; None for its own.
    """
    size = size or dit.input_size
    tokens = math.prod(n // patch for n, patch in zip(size, dit.patch_size))
    mlp = dit.blocks[0].mlp.fc1.out_features if len(dit.blocks) else dit.hidden_size  # type: ignore[union-attr]
    activations = tokens * (_TOKEN_WIDTHS * dit.hidden_size + 2 * int(mlp)) * dtype.itemsize  # type: ignore[arg-type]
    latents = dit.in_channels * math.prod(size) * _LATENT_COPIES
    return activations * (2 if guided else 1) + latents


def batch_sizes(request: GenerationRequest, sample_bytes: int) -> list[int]:
    """Sizes of the batches, adding up to the request's count.

    Args:
        request: Says how many samples, and a batch size or a memory budget.
        sample_bytes: What one sample takes (:func:`bytes_a_sample`).

    Returns:
        At least one batch of at least one sample each, whatever the budget.
    """
    if isinstance(request.batch_size, int):
        size = request.batch_size
    else:
        size = min(LARGEST_AUTO_BATCH, max(1, int(request.memory_budget_gb * 1e9 // sample_bytes)))
    whole, rest = divmod(request.count, size)
    return [size] * whole + [rest] * (rest > 0)
