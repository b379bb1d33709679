"""The one place where the axes of a cine and those of the networks meet.

A cine is (T, Z, Y, X), the networks have (..., Z, H, W, T): rows Y are H, columns X are W, time goes last. Works on
NumPy arrays and torch tensors alike, and does not import torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def cine_to_model(array: Any) -> Any:
    """(..., T, Z, Y, X) -> (..., Z, H, W, T), a view.

    Examples:
        >>> cine_to_model(np.zeros((16, 8, 128, 120))).shape
        (8, 128, 120, 16)
    """
    return np.moveaxis(array, -4, -1) if isinstance(array, np.ndarray) else array.movedim(-4, -1)


def model_to_cine(array: Any) -> Any:
    """(..., Z, H, W, T) -> (..., T, Z, Y, X), a view; the inverse of :func:`cine_to_model`."""
    return np.moveaxis(array, -1, -4) if isinstance(array, np.ndarray) else array.movedim(-1, -4)


def slice_of(latents: Any, z: int) -> Any:
    """One slice as the codec takes it: (B, C, Z, H, W, T) -> (B, C, H, W, T), a view."""
    return latents[:, :, z]
