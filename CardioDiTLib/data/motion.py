"""Dense in-plane motion between two cardiac phases, and cines made from it.

A cine needs many frames; some public data sets publish only end-diastole (ED) and end-systole (ES). This module
finds, slice by slice, where each ED pixel lies at ES, and makes every frame between by moving part of the way.

The registration is multi-channel demons (Thirion, Med. Image Anal. 1998; the active variant's force with both images'
gradients: Wang et al., Phys. Med. Biol. 2005) with fluid and elastic Gaussian regularisation (Vercauteren et al.,
NeuroImage 2009, without the exponential map: displacements here stay far below folding, which `minimum_jacobian`
checks).

Shapes: planes are (Z, Y, X) or with channels (C, Z, Y, X); displacements are (2, Z, Y, X), in pixels, axis 0 = (dy,
dx).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def bilinear_planes(planes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Samples every plane of a stack at its own positions, edges extended.

    Args:
        planes: (..., Z, Y, X) float.
        rows, columns: (Z, H, W) positions in pixels, shared by all leading axes.

    Returns:
        (..., Z, H, W), float32.
    """
    height, width = planes.shape[-2:]
    rows = np.clip(rows, 0.0, height - 1.0)
    columns = np.clip(columns, 0.0, width - 1.0)
    row0 = np.minimum(rows.astype(np.int32), height - 2)
    column0 = np.minimum(columns.astype(np.int32), width - 2)
    down = (rows - row0).astype(np.float32)
    right = (columns - column0).astype(np.float32)
    flat = planes.reshape(*planes.shape[:-2], height * width)
    index = (row0 * width + column0).reshape(row0.shape[0], -1)
    lead = (1,) * (planes.ndim - 3)

    def corner(offset: int) -> np.ndarray:
        wanted = np.broadcast_to((index + offset).reshape(*lead, *index.shape), (*planes.shape[:-2], index.shape[1]))
        return np.take_along_axis(flat, wanted, axis=-1).reshape(*planes.shape[:-2], *rows.shape[1:])

    top = corner(0) * (1 - right) + corner(1) * right
    bottom = corner(width) * (1 - right) + corner(width + 1) * right
    return (top * (1 - down) + bottom * down).astype(np.float32)


def warp_planes(planes: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Returns planes(x + displacement(x)) for a (..., Z, Y, X) stack and a (2, Z, Y, X) displacement in pixels."""
    height, width = planes.shape[-2:]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return bilinear_planes(planes, rows + displacement[0], columns + displacement[1])


def _smooth(field: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian over the last two axes only; slices are not mixed."""
    if sigma <= 0:
        return field
    return ndimage.gaussian_filter(field, sigma=(0.0,) * (field.ndim - 2) + (sigma, sigma), mode="nearest")


def _gradients(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.gradient(planes, axis=-2), np.gradient(planes, axis=-1)


def _shrink(planes: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return planes
    height, width = (size // factor * factor for size in planes.shape[-2:])
    blocks = planes[..., :height, :width]
    blocks = blocks.reshape(*planes.shape[:-2], height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(-3, -1))


def _grow(displacement: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Displacement of a coarse level on the next finer grid (positions of block centres are kept)."""
    coarse = displacement.shape[-2:]
    ratio = (shape[0] / coarse[0], shape[1] / coarse[1])
    rows = (np.arange(shape[0]) + 0.5) / ratio[0] - 0.5
    columns = (np.arange(shape[1]) + 0.5) / ratio[1] - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    places = [np.broadcast_to(axis, (displacement.shape[1], *shape)) for axis in grid]
    grown = bilinear_planes(displacement, places[0], places[1])
    return grown * np.array(ratio, dtype=np.float32).reshape(2, 1, 1, 1)


def register_planes(
    fixed: np.ndarray,
    moving: np.ndarray,
    weights: np.ndarray,
    *,
    factors: Sequence[int] = (4, 2, 1),
    iterations: Sequence[int] = (40, 40, 30),
    fluid_sigma: float = 1.0,
    elastic_sigma: float = 1.2,
) -> np.ndarray:
    """Displacement u with moving(x + u(x)) close to fixed(x), every slice by itself.

    Args:
        fixed, moving: (C, Z, Y, X) float channels on comparable scales (image, signed distances, ...).
        weights: (C, Z) weight of each channel in each slice; 0 where a channel means nothing (a structure absent in
            one phase).
        factors: Shrink factors, coarse to fine.
        iterations: Demons iterations at each factor.
        fluid_sigma: Gaussian over each update, pixels of the level.
        elastic_sigma: Gaussian over the whole displacement, pixels of the level.

    Returns:
        (2, Z, Y, X) float32 displacement in pixels.
    """
    fixed = fixed.astype(np.float32)
    moving = moving.astype(np.float32)
    weights4 = weights.astype(np.float32)[:, :, None, None]
    displacement: np.ndarray | None = None
    for factor, count in zip(factors, iterations, strict=True):
        target, source = _shrink(fixed, factor), _shrink(moving, factor)
        shape = (target.shape[-2], target.shape[-1])
        if displacement is None:
            displacement = np.zeros((2, target.shape[1], *shape), np.float32)
        else:
            displacement = _grow(displacement, shape)
        target_dy, target_dx = _gradients(target)
        for _ in range(count):
            warped = warp_planes(source, displacement)
            warped_dy, warped_dx = _gradients(warped)
            dy, dx = (target_dy + warped_dy) / 2, (target_dx + warped_dx) / 2
            difference = target - warped
            energy = (weights4 * (dy * dy + dx * dx)).sum(0) + (weights4 * difference * difference).sum(0) + 1e-6
            update = np.stack([(weights4 * difference * dy).sum(0), (weights4 * difference * dx).sum(0)]) / energy
            update = np.clip(_smooth(update, fluid_sigma), -1.5, 1.5)
            displacement = _smooth(displacement + update, elastic_sigma).astype(np.float32)
    assert displacement is not None
    return _grow(displacement, (fixed.shape[-2], fixed.shape[-1])) if factors[-1] != 1 else displacement


def minimum_jacobian(displacement: np.ndarray) -> float:
    """Smallest determinant of the Jacobian of x + u(x); <= 0 means that the motion folds."""
    (dy_dy, dy_dx), (dx_dy, dx_dx) = _gradients(displacement[0]), _gradients(displacement[1])
    return float(((1 + dy_dy) * (1 + dx_dx) - dy_dx * dx_dy).min())


def invert_partial(displacement: np.ndarray, fraction: float, iterations: int = 12) -> np.ndarray:
    """Displacement v with y + v(y) = x where x + fraction * u(x) = y, by fixed-point iteration."""
    inverse = -fraction * displacement
    for _ in range(iterations):
        inverse = -fraction * warp_planes(displacement, inverse)
    return inverse


def interpolate_phase(first: np.ndarray, second: np.ndarray, displacement: np.ndarray, fraction: float) -> np.ndarray:
    """The stack at a fraction of the way from `first` (0) to `second` (1).

    Both ends are brought to the same material points and mixed by the fraction, so fraction 0 and 1 return the two
    inputs.

    Args:
        first, second: (..., Z, Y, X) images or soft labels at the two phases.
        displacement: (2, Z, Y, X), second(x + u(x)) matches first(x).
        fraction: 0 to 1.
    """
    if fraction <= 0:
        return first.astype(np.float32)
    back = invert_partial(displacement, fraction)
    # A point seen at y in this frame was at y + back in the first phase and will be at y + back + u(y + back) in the
    # second.
    ahead = back + warp_planes(displacement, back)
    return (1 - fraction) * warp_planes(first, back) + fraction * warp_planes(second, ahead)


def contraction_curve(frames: int, systole: float, atrial_share: float = 0.3, half_filling: float = 0.2) -> np.ndarray:
    """Share of the way from ED to ES at each of `frames` equally spaced phases of one cycle.

    Shape of a recorded left-ventricular volume curve: smooth ejection up to `systole`, a rest about ES, rapid early
    filling, diastasis, atrial filling that ends at ED. Frame 0 is ED (0) and the curve is periodic: the phase after
    the last frame is ED again.

    Args:
        frames: Number of frames.
        systole: Phase of ES, as a share of the cycle (about 0.3 to 0.5).
        atrial_share: Part of the stroke filled by the atrial contraction, below 0.5.
        half_filling: Phase after ES at which half of the stroke has flowed back.

    Returns:
        (frames,) in [0, 1]; 1 is reached at ES where a frame falls on it.
    """
    from scipy.interpolate import PchipInterpolator

    systole = float(np.clip(systole, 0.2, 0.6))
    atrial = float(np.clip(atrial_share, 0.02, 0.48))
    rest = 1.0 - systole
    # Atrial filling takes the last sixth of the cycle; early filling has to end before it.
    half = float(np.clip(half_filling, 0.16 * rest, 0.5 * rest))
    kick = max(0.84, systole + half + 0.1)
    filled = min(systole + half + 0.17, (systole + half + kick) / 2 + 0.03)
    # Within a tenth of the stroke about ES for a good sixth of the cycle, as recorded curves are.
    wait = min(0.085, 0.5 * half)
    phases = [0.0, 0.25 * systole, 0.5 * systole, 0.75 * systole, systole, systole + wait]
    shares = [0.0, 0.18, 0.55, 0.89, 1.0, 0.93]
    phases += [systole + half, filled, kick, kick + 0.7 * (1 - kick), 1.0]
    shares += [0.5, atrial + 0.02, atrial, 0.34 * atrial, 0.0]
    curve = PchipInterpolator(phases, shares)
    return np.clip(curve(np.arange(frames) / frames), 0.0, 1.0)


def drawn_curve(frames: int, systole: float, rng: np.random.Generator) -> np.ndarray:
    """A volume curve of its own for a made cine: ES, filling and atrial share as in 23 recorded cines.

    Args:
        frames: Frames of the cycle; ES falls on one.
        systole: Phase of ES of the patient, share of the cycle; drawn about the recorded mean where it is not usable.
        rng: Where the draws come from.
    """
    if not 0.28 <= systole <= 0.5:
        systole = rng.normal(0.378, 0.045)
    peak = float(np.clip(systole + rng.normal(0, 0.02), 0.28, 0.5))
    return contraction_curve(
        frames,
        round(peak * frames) / frames,
        float(np.clip(rng.normal(0.31, 0.11), 0.08, 0.46)),
        float(np.clip(rng.normal(0.215, 0.045), 0.13, 0.33)),
    )
