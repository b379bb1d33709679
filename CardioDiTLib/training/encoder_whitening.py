"""Evening out an encoder's embeddings after training, so that every direction counts alike.

Contrastive training leaves embeddings that vary much along a few directions and little along many, and a correlation
then hears the few alone: strangers look alike. Scaling all directions to the same variance over views of training
cines (ZCA whitening with a floor) undoes that. It is a linear map, and is folded into the network's last layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..io.atomic import atomic_path

FILE_NAME = "whitening.safetensors"


def whitening(embeddings: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and matrix; ``(embedding - mean) @ matrix`` has nearly the same variance in every direction.

    Args:
        embeddings: (N, D) of views of training cines.
        floor: Added to the variance of each direction, as a share of their mean; directions that hold next to nothing
            are not blown up to full size.

    Returns:
        (D,) and (D, D), symmetric.
    """
    values = embeddings.double()
    mean = values.mean(0)
    variance, directions = torch.linalg.eigh(torch.cov(values.T))
    variance = variance.clamp_min(0)
    scale = (variance + floor * variance.mean()).clamp_min(1e-12).rsqrt()
    return mean.float(), (directions * scale @ directions.T).float()


def write_whitening(place: Path, mean: torch.Tensor, matrix: torch.Tensor, step: int) -> None:
    """Keeps it in a run's folder, with the step whose weights it belongs to."""
    with atomic_path(place / FILE_NAME) as partial:
        save_file({"mean": mean.contiguous(), "matrix": matrix.contiguous()}, partial, metadata={"step": str(step)})


def read_whitening(place: Path, step: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean and matrix of a step; None where there are none."""
    path = place / FILE_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as stream:
            if (stream.metadata() or {}).get("step") != str(step):
                return None
            return stream.get_tensor("mean"), stream.get_tensor("matrix")
    except (OSError, SafetensorError):
        return None


def draws(seed: int) -> tuple[np.random.Generator, torch.Generator]:
    """Generators of the views that are whitened on; the same for every run with this seed."""
    return np.random.default_rng([seed, 0xC0FFEE]), torch.Generator().manual_seed(seed + 1)
