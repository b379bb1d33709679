"""What two sets of feature vectors must be before they are compared, and their distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError


def checked_pair(real: ArrayLike, synthetic: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sets as float64 (N, d) and (M, d).

    Raises:
        CardioDiTError: Not two dimensions, no columns, different numbers of columns, or values that are not finite.
    """
    x, y = checked_set(real, "real"), checked_set(synthetic, "synthetic")
    if x.shape[1] != y.shape[1]:
        raise CardioDiTError(
            f"The real features have {x.shape[1]} columns and the synthetic ones {y.shape[1]}.",
            "Make both with the same features.",
        )
    return x, y


def checked_set(features: ArrayLike, what: str) -> NDArray[np.float64]:
    """One set as float64 (N, d); see :func:`checked_pair`."""
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise CardioDiTError(f"The {what} features have shape {x.shape}.", "Give one row a cine: (N, d).")
    if not np.isfinite(x).all():
        raise CardioDiTError(f"The {what} features hold values that are not finite.", "Leave these cines out.")
    return x


def distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square difference of every pair of (N, d) and (M, d): (N, M); Euclidean over sqrt(d)."""
    # By differences, not by |x|^2 + |y|^2 - 2 x.y, which makes copies of one cine appear to be apart.
    rows = [np.sqrt(((second - row) ** 2).mean(axis=1)) for row in first]
    return np.array(rows).reshape(len(first), len(second))
