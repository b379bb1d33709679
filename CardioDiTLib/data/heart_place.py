"""Log-odds of each place of a short-axis cine being the middle of the heart, and which way the middle lies from there.

Motion alone also finds the chest wall that moves between two breath-holds, liver, stomach and aorta. Means over rings
tell a bright cavity in a dark wall with lung beside it from all of these, and do not change with turns or mirroring. A
network of one hidden layer combines them. Rings cannot tell on which side the right ventricle lies, and the likeliest
place is often between the middle of the left ventricle and that of both: the pull of each ring (its mean times the
direction from the middle, a vector that turns with the picture) says how far the middle is away, weighed by networks
that read the means. All weights (``heart_place.json``) are fitted and measured by
``Testing/benchmarks/heart_place.py``. They were fitted on ACDC (Bernard et al., IEEE TMI 2018; CC BY-NC-SA 4.0) and
phantoms, and carry that data's terms, as the other weights that were trained on it do.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

PIXEL_MM = 4.0
"""Pixels on which places are compared."""

WEIGHTS = Path(__file__).with_name("heart_place.json")

_RINGS_MM = (0.0, 8.0, 16.0, 24.0, 34.0, 46.0, 60.0, 80.0)
_LOCAL_MM = 15.0
_LEAST_SHARE = 0.05  # of a ring, that lies inside the picture
_ABOUT_PIXELS = 2


def place_pictures(
    mean: NDArray[np.floating], energy: NDArray[np.floating], spacing_mm: tuple[float, float]
) -> NDArray[np.float32]:
    """What is looked at, averaged over the slices.

    Args:
        mean: (Z, Y, X) mean over time.
        energy: (Z, Y, X) how much each pixel beats (`heart_roi.motion_energy`).
        spacing_mm: (x, y) mm.

    Returns:
        (8, Y', X') pictures on pixels of about 4 mm.
    """
    slices = zip(_coarse(mean, spacing_mm), _coarse(energy, spacing_mm))
    return np.asarray(np.mean([_pictures(*pair) for pair in slices], axis=0), np.float32)


def place_features(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of each place.

    Args:
        pictures: (8, Y, X) as `place_pictures` gives them.

    Returns:
        (F, Y, X): the mean of each picture in each of seven rings, the share of each ring that lies inside the picture,
        and the distance from its middle.
    """
    height, width = pictures.shape[-2:]
    kernels = _kernels()
    reach = kernels.shape[-1] // 2
    size = [fft.next_fast_len(n + 2 * reach, real=True) for n in (height, width)]
    spectra = fft.rfft2(kernels, s=size)

    def in_rings(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        found = fft.irfft2(fft.rfft2(planes, s=size)[:, None] * spectra[None], s=size)
        return np.asarray(found[..., reach : reach + height, reach : reach + width], np.float32)

    share = in_rings(np.ones((1, height, width), np.float32))
    rings = in_rings(pictures) / np.maximum(share, _LEAST_SHARE)
    y = (np.arange(height) - (height - 1) / 2)[:, None] * PIXEL_MM
    x = (np.arange(width) - (width - 1) / 2)[None] * PIXEL_MM
    sides = (2 * x / (width * PIXEL_MM)) ** 2 + 0 * y, (2 * y / (height * PIXEL_MM)) ** 2 + 0 * x
    far = [(x**2 + y**2) / 100.0**2, *sides]
    return np.concatenate([rings.reshape(-1, height, width), share[0], np.array(far, np.float32)])


def place_scores(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F, Y, X) -> (Y, X) log-odds, up to a constant, that a place is the middle of the heart."""
    weights = _weights()
    hidden = np.tanh(features.reshape(len(features), -1).T @ weights["first"].T + weights["first_offset"])
    return np.asarray(hidden @ weights["second"], np.float32).reshape(features.shape[1:])


def pulls(pictures: NDArray[np.float32], row: float, column: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the rings about a place say about where the middle of the heart is from there.

    Args:
        pictures: (8, Y, X) as `place_pictures` gives them.
        row, column: The place, in pixels of the pictures; fractional.

    Returns:
        (P, 2) vectors (x, y), which turn as the picture does, of each picture and ring, and of the shares of the rings
        that lie inside the picture; and (P,) the means and shares themselves, which do not.
    """
    return _pulls(*_patch(pictures, row, column, _kernels().shape[-1] // 2))


def towards_middle(pictures: NDArray[np.float32], row: float, column: float) -> tuple[float, float]:
    """(x, y) mm from a place to the middle of the heart; arguments as of `pulls`.

    The mean of what is said from five places about it, which errs less than one.
    """
    weights = _weights()
    size = _kernels().shape[-1]
    seen, inside = _patch(pictures, row, column, size // 2 + _ABOUT_PIXELS)
    ways = []
    for down, right in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2)):
        top, left = down * _ABOUT_PIXELS, right * _ABOUT_PIXELS
        part = slice(top, top + size), slice(left, left + size)
        turning, still = _pulls(seen[:, part[0], part[1]], inside[part])
        hidden = np.tanh(weights["pull_first"] @ still + weights["pull_first_offset"])
        ways.append((weights["pull_second"] @ hidden + weights["pull_second_offset"]) @ turning)
    x, y = np.mean(ways, axis=0)
    return float(x), float(y)


def _patch(
    pictures: NDArray[np.float32], row: float, column: float, reach: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(8, N, N) pictures about a place, 0 beyond them, and (N, N) what lies inside."""
    along = np.arange(-reach, reach + 1)
    rows, columns = np.meshgrid(row + along, column + along, indexing="ij")
    height, width = pictures.shape[-2:]
    inside = (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)
    seen = np.stack([ndimage.map_coordinates(one, [rows, columns], order=1, mode="nearest") for one in pictures])
    return seen * inside, inside


def _pulls(seen: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`pulls` of a patch as large as the rings."""
    directed = _directed()
    shares = directed @ inside.ravel().astype(np.float32)  # (3, rings): of the ring, and which way it lies
    found = np.swapaxes(directed @ seen.reshape(len(seen), -1).T, 1, 2)
    enough = np.maximum(shares[0], _LEAST_SHARE)
    means = found[0] / enough
    vectors = (found[1:] - means * shares[1:, None]) / enough  # a ring that is cut off pulls nowhere by itself
    turning = np.concatenate([vectors.reshape(2, -1), shares[1:]], axis=1).T
    return np.asarray(turning, np.float32), np.concatenate([means.ravel(), shares[0]]).astype(np.float32)


@cache
def _weights() -> dict[str, NDArray[np.float64]]:
    return {name: np.array(values) for name, values in json.loads(WEIGHTS.read_text(encoding="utf-8")).items()}


@cache
def _kernels() -> NDArray[np.float32]:
    """(rings, N, N), each with the sum 1."""
    reach = int(_RINGS_MM[-1] / PIXEL_MM) + 1
    along = np.arange(-reach, reach + 1) * PIXEL_MM
    radius = np.hypot(along[:, None], along[None])
    made = []
    for inner, outer in pairwise(_RINGS_MM):
        ring = np.clip((outer - radius) / PIXEL_MM + 0.5, 0, 1) * np.clip((radius - inner) / PIXEL_MM + 0.5, 0, 1)
        made.append(ring / ring.sum())
    return np.array(made, np.float32)


@cache
def _directed() -> NDArray[np.float32]:
    """(3, rings, pixels): the rings, and the same times the direction from their middle along x and y."""
    kernels = _kernels()
    along = np.arange(kernels.shape[-1], dtype=np.float32) - kernels.shape[-1] // 2
    radius = np.maximum(np.hypot(along[:, None], along[None]), 1)
    parts = np.stack([kernels, kernels * along[None] / radius, kernels * along[:, None] / radius])
    return np.ascontiguousarray(parts.reshape(*parts.shape[:2], -1))


def _coarse(planes: NDArray[np.floating], spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    """(Z, Y, X) -> pixels of about 4 mm, smoothed first."""
    factors = [spacing_mm[1] / PIXEL_MM, spacing_mm[0] / PIXEL_MM]
    smooth = ndimage.gaussian_filter(
        np.asarray(planes, np.float32), (0.0, *(0.5 / factor if factor < 1 else 0.0 for factor in factors))
    )
    indices = []
    for count, factor in zip(planes.shape[-2:], factors):
        size = max(1, round(count * factor))
        indices.append((np.arange(size) + 0.5) * count / size - 0.5)
    rows, columns = np.meshgrid(*indices, indexing="ij")
    return np.stack([ndimage.map_coordinates(plane, [rows, columns], order=1, mode="nearest") for plane in smooth])


def _pictures(mean: NDArray[Any], energy: NDArray[Any]) -> NDArray[np.float32]:
    """Eight pictures of a slice: brightness, beat, both, edges, and what is brighter or darker than about it."""
    low, high = np.quantile(mean, (0.02, 0.98))
    bright = np.clip((mean - low) / max(float(high - low), 1e-6), 0, 1)
    beat = np.clip(energy / max(float(np.quantile(energy, 0.95)), 1e-6), 0, 1.5)
    edges = np.hypot(*np.gradient(bright)) if min(bright.shape) > 1 else np.zeros_like(bright)
    local = bright - ndimage.gaussian_filter(bright, _LOCAL_MM / PIXEL_MM)
    about = np.clip(local, 0, None), np.clip(-local, 0, None)
    return np.array([bright, bright**2, beat, np.sqrt(beat), beat * bright, edges, *about], np.float32)
