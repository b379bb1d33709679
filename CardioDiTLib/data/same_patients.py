"""Patients that a data set holds twice under two names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patients_of(images: NDArray[np.uint8], same: float = 0.9) -> NDArray[np.int64]:
    """A number for each cine, the same for cines that show the same images.

    Data sets hold some patients twice under two names; to push those apart would teach that a copy is no copy.

    Args:
        images: (N, T, Z, Y, X).
        same: Correlation of mean images from which on two cines are of one patient.

    Returns:
        (N,) the index of the first cine of the patient.
    """
    flat = images.mean(axis=1, dtype=np.float32).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    alike = flat @ flat.T >= same
    first = np.arange(len(images))
    for index in range(len(images)):
        first[index] = first[int(np.argmax(alike[index, : index + 1]))] if alike[index, :index].any() else index
    return first
