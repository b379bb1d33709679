"""Small made-up cines for tests, oblique and with unequal times unless asked otherwise."""

from __future__ import annotations

import numpy as np

from CardioDiTLib.cine import Cine

OBLIQUE = np.array(
    [
        [0.792067, 0.377686, -0.479583],
        [0.0, 0.785613, 0.618718],
        [0.610434, -0.490067, 0.622257],
    ]
)


def oblique_affine(spacing: tuple[float, float, float] = (1.40625, 1.3, 9.5)) -> np.ndarray:
    """4x4 with right-angled oblique axes and an origin far from zero."""
    left, _, right = np.linalg.svd(OBLIQUE)
    affine = np.eye(4)
    affine[:3, :3] = (left @ right) * spacing
    affine[:3, 3] = (159.772, 134.36, -125.574)
    return affine


def make_cine(
    shape: tuple[int, int, int, int] = (5, 3, 7, 6),
    dtype: str = "int16",
    affine: np.ndarray | None = None,
    times: np.ndarray | None = None,
    seed: int = 0,
) -> Cine:
    """A cine whose voxels all differ in expectation, so that any mix-up of axes is noticed."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-1000, 3000, shape)
    array = values.astype(dtype) if dtype == "int16" else (values / 7.0).astype(dtype)
    if times is None:
        times = np.concatenate([[0.0], np.cumsum(0.04 + 0.002 * np.arange(shape[0] - 1))])
    affine = oblique_affine() if affine is None else affine
    meta = {"source_format": "made up", "notes": ['50%20 \\ grün: "a"\nb'], "seed": seed}
    return Cine(array, affine, times, meta)
