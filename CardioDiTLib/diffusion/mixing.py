"""Checks, common to all schedules, of the tensors that they mix and of times."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from CardioDiTLib.errors import CardioDiTError


def as_array(values: Tensor | np.ndarray | float) -> np.ndarray:
    """Times as float64, wherever they come from."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def mixable_times(first: Tensor, second: Tensor, t: Tensor | np.ndarray | float) -> Tensor:
    """Times of two tensors that are to be mixed.

    Args:
        first, second: (N, ...) of one shape, floating point.
        t: One time, or one a sample.

    Returns:
        () or (N,).

    Raises:
        CardioDiTError: They cannot be mixed.
    """
    if not first.is_floating_point():
        raise CardioDiTError(
            f"Noise cannot be mixed into {first.dtype} values.", "Convert them to a floating-point type first."
        )
    if first.shape != second.shape:
        raise CardioDiTError(
            f"The shapes {tuple(first.shape)} and {tuple(second.shape)} differ.",
            "Samples and noise must have the same shape.",
        )
    times = torch.as_tensor(t)
    if times.ndim > 1 or (times.ndim == 1 and (first.ndim == 0 or len(times) not in (1, len(first)))):
        raise CardioDiTError(
            f"Times of shape {tuple(times.shape)} do not fit samples of shape {tuple(first.shape)}.",
            "Give one time, or one a sample.",
        )
    return times
