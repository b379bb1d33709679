"""Embeddings and encoders for tests of the audit."""

from __future__ import annotations

from typing import Any

import numpy as np

from CardioDiTLib.cine import Cine
from CardioDiTLib.privacy.embedding_set import checked
from CardioDiTLib.privacy.reference_set import ReferenceSet

DIMENSION = 24


def normal(count: int, seed: int, dimension: int = DIMENSION) -> np.ndarray:
    """Embeddings without any copy."""
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def copies_of(embeddings: np.ndarray, places: Any, noise: float = 0.1, seed: int = 9) -> np.ndarray:
    """The same embeddings, a little changed."""
    chosen = embeddings[np.asarray(places)]
    return (chosen + noise * np.random.default_rng(seed).standard_normal(chosen.shape)).astype(np.float32)


class MeanEncoder:
    """Embeds a cine by the means of some of its pixels; quick, and blind to nothing."""

    def __init__(self, sha256: str = "a" * 64) -> None:
        self.sha256 = sha256
        self.seen = 0

    def embed(self, cines: Any, progress: Any = None, cancel: Any = None) -> np.ndarray:
        rows = []
        for cine in cines:
            self.seen += 1
            rows.append(np.asarray(cine.array, np.float32).reshape(-1)[: 16 * DIMENSION].reshape(DIMENSION, 16).mean(1))
            if progress is not None:
                progress(len(rows), 0)
        return np.stack(rows)


def noise_cine(seed: int, shape: tuple[int, int, int, int] = (4, 3, 16, 16)) -> Cine:
    """A cine that is like no other."""
    array = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    return Cine(array, np.diag([1.5, 1.5, 10.0, 1.0]), np.arange(shape[0]) * 0.1)


def reference(encoder_sha256: str = "", seed: int = 0) -> ReferenceSet:
    """A reference set of 60 patients, calibrated by 99 others."""
    return ReferenceSet.build(
        checked(normal(60, seed), "training", encoder_sha256=encoder_sha256),
        checked(normal(99, seed + 1), "validation"),
    )
