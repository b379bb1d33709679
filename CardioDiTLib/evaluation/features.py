"""Named features that need no network and no download: the same cine gives the same numbers everywhere, for ever.

====================  ==========================================================================================
name                  what it sees
====================  ==========================================================================================
``cine-hog-1``        where edges lie and which way they run: histograms of oriented gradients (Dalal and Triggs,
                      CVPR 2005) of three slices at four phases; anatomy, pose, shape, and their change in a beat
``cine-spectrum-1``   how much detail of each size there is and how fast it changes: energy of four bands of size by
                      five bands of harmonics of the cycle, by thirds of the stack; sharpness, texture, noise, motion
====================  ==========================================================================================

Both are fixed formulas with fixed scales, not fitted to any cohort: a cohort's numbers then compare between reports,
and real cines outside the reference are treated exactly as synthetic ones. What they do not see is meaning: a heart
with two left ventricles has unusual edges, no more. They are neither an Inception nor a video network, so distances
between them are not the published FID, KID or FVD values and must not be compared with these. A formula that changes
takes a new number in its name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.evaluation_grid import FRAMES, SIZE, SPACING_MM, JudgedCine

_PHASES = (0, FRAMES // 4, FRAMES // 2, 3 * FRAMES // 4)

_HEIGHTS = (0.25, 0.5, 0.75)  # of the stack, base to apex

_CELLS, _BINS = 4, 8

_BAND_EDGES_MM = (1.5, 3.0, 6.0, 12.0)

_HARMONICS = ((0, 1), (1, 2), (2, 3), (3, 5), (5, FRAMES // 2 + 1))

_THIRDS = 3

_DARK, _LOG_MIDDLE = 1e-7, -4.5


def cine_hog_1(cine: JudgedCine) -> NDArray[np.float64]:
    """Histograms of oriented gradients.

    At frames 0, 4, 8 and 12 of 16 and at a quarter, half and three quarters of the stack, the box is cut into 4 x 4
    cells of 36 mm; in each, gradient magnitudes are summed into 8 directions (signed, shared between the two nearest).
    Each picture's 128 numbers are square-rooted and scaled to a mean square of 1.

    Args:
        cine: On the judging grid.

    Returns:
        (1536,): phase, height, cell row, cell column, direction. A picture without edges gives zeros.
    """
    slices = cine.cycle.shape[1]
    heights = [int(np.floor(share * (slices - 1) + 0.5)) for share in _HEIGHTS]
    pictures = cine.cycle[list(_PHASES)][:, heights].reshape(-1, SIZE, SIZE).astype(np.float64)
    down, across = (np.asarray(np.gradient(pictures, axis=axis)) for axis in (1, 2))
    magnitude = np.hypot(down, across)
    place = np.mod(np.arctan2(down, across) / (2 * np.pi), 1.0) * _BINS
    lower = np.floor(place).astype(np.int64)
    share = place - lower
    cell = SIZE // _CELLS
    index = np.arange(SIZE) // cell
    where = (np.arange(len(pictures))[:, None, None] * _CELLS + index[:, None]) * _CELLS + index[None, :]
    size = len(pictures) * _CELLS * _CELLS * _BINS
    histogram = np.zeros(size)
    for direction, weight in ((lower, 1.0 - share), (lower + 1, share)):
        target = where * _BINS + direction % _BINS
        histogram += np.bincount(target.ravel(), (magnitude * weight).ravel(), minlength=size)
    rooted = np.sqrt(histogram.reshape(len(pictures), -1))
    norms = np.sqrt((rooted**2).mean(axis=1, keepdims=True))
    return np.asarray(np.divide(rooted, norms, out=np.zeros_like(rooted), where=norms > 1e-9).reshape(-1))


def cine_spectrum_1(cine: JudgedCine) -> NDArray[np.float64]:
    """Energy by size of detail and speed of change.

    Differences of Gaussians with standard deviations 0, 1.5, 3, 6 and 12 mm in plane; a Fourier transform over the
    cycle; mean energy in harmonics 0, 1, 2, 3 to 4 and 5 to 8; mean over each third of the stack; log10, plus 4.5.

    Args:
        cine: On the judging grid.

    Returns:
        (60,): band (finest first), harmonics (rest first), third (base first).
    """
    slices = cine.cycle.shape[1]
    thirds = [
        slice(i * slices // _THIRDS, max(i * slices // _THIRDS + 1, -(-(i + 1) * slices // _THIRDS)))
        for i in range(_THIRDS)
    ]
    values = np.empty((len(_BAND_EDGES_MM), len(_HARMONICS), _THIRDS))
    sharper = cine.cycle
    for band, edge in enumerate(_BAND_EDGES_MM):
        sigma = edge / SPACING_MM
        blurred = ndimage.gaussian_filter(cine.cycle, (0, 0, sigma, sigma), mode="nearest", truncate=3.0)
        energy = np.abs(np.fft.rfft(sharper - blurred, axis=0) / FRAMES) ** 2
        energy = energy.mean(axis=(2, 3), dtype=np.float64)
        for speed, (first, end) in enumerate(_HARMONICS):
            values[band, speed] = [energy[first:end, third].sum(axis=0).mean() for third in thirds]
        sharper = blurred
    return np.asarray((np.log10(values + _DARK) - _LOG_MIDDLE).reshape(-1))


FEATURES: dict[str, Callable[[JudgedCine], NDArray[np.float64]]] = {
    "cine-hog-1": cine_hog_1,
    "cine-spectrum-1": cine_spectrum_1,
}
"""Features by name."""


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
