"""A cine as input of the audit's encoder: without its time axis, at one pixel spacing, and where its heart may lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.heart_roi import CUT_MM, heart_places
from CardioDiTLib.data.time import cycle_seconds
from CardioDiTLib.errors import CardioDiTError

Place = tuple[float, float]
"""(x, y) mm from the middle of a picture, x along its columns, y down its rows."""

MIDDLE: Place = (0.0, 0.0)

_SLICES, _SLICE_MM = 8, 10.0  # as the encoder was trained; its features are averaged over the slices

_SLICES_BEYOND = 2  # at each end, where the stack has them: which eight another stack of the patient has is not known

_SAME_MM = 6.0  # places nearer than this are one: shifts as small hardly change an embedding

_PIXELS_TO_FIT, _FITS, _RESTING, _LARGEST_GAIN = 2500, 3, 0.7, 4.0  # see `frame_brightness`

DISC_MM = 140.0
"""Diameter of what is looked at."""

_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, eq=False)
class CineCanvas:
    """Mean and first harmonic of a cine, in plane at about the encoder's pixel spacing.

    The encoder uses nothing else of time. Both are linear in the frames, so that only three pictures a slice have to be
    turned and moved, however many frames there are. Brightness that changes in all of a slice alike is removed first:
    it comes from scanners and preprocessing that scale frames and slices one by one.

    Attributes:
        parts: (3, Z, Y, X) float32: mean over the cycle, cosine and sine part of the first harmonic; intensities.
        ranges: (first, end) of the ranges of slices that are asked about; the first range stands for the cine among
            references.
        spacing_mm: (y, x) mm.
        places: Where the heart may lie; the first is the one that stands for the cine among references.
    """

    parts: torch.Tensor
    ranges: tuple[tuple[int, int], ...]
    spacing_mm: tuple[float, float]
    places: tuple[Place, ...]

    @classmethod
    def of(cls, cine: Cine, spacing_mm: float, places: tuple[Place, ...] | None = None) -> CineCanvas:
        """The canvas of a cine.

        Args:
            cine: Short-axis cine of any grid, two frames or more.
            spacing_mm: Pixel spacing to come near to.
            places: Where the heart lies, where that is known; None looks for it: the likeliest place first, then the
                middle of the picture where it may have been cut about the heart (as generated cines are), else the
                place that is second to the first.

        Raises:
            CardioDiTError: Values that are not finite, a single frame, or blank images.
        """
        array = np.asarray(cine.array)
        if len(array) < 2:
            raise CardioDiTError("The cine has a single frame.", "Give a whole cycle.")
        parts = _harmonics(array, np.asarray(cine.frame_times, np.float64))
        if not np.isfinite(parts).all():
            raise CardioDiTError("The images hold values that are not numbers.", "Repair the file.")
        if not np.ptp(parts[0]) > 0:
            raise CardioDiTError("The images are blank.", "Look at them before going on.")
        depth = (array.shape[1] - 1) / 2
        if places is None:
            places, depth = _found(array, cine.spacing, depth)
        some, ranges = _slices(parts, depth, cine.spacing[2])
        planes = torch.from_numpy(some)
        size = [max(1, round(n * s / spacing_mm)) for n, s in zip(array.shape[-2:], cine.spacing[1::-1])]
        small = F.interpolate(
            planes.flatten(0, 1)[None], (size[0], size[1]), mode="bilinear", antialias=True, align_corners=False
        )[0]
        true = [n * s / m for n, s, m in zip(array.shape[-2:], cine.spacing[1::-1], size)]
        return cls(small.view(3, -1, size[0], size[1]), ranges, (true[0], true[1]), places)


def _harmonics(array: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """(T, Z, Y, X) -> (3, Z, Y, X); frames count as much as the time about them."""
    cycle = cycle_seconds(times)
    phases = (times - times[0]) / cycle
    gaps = np.diff(np.append(phases, 1.0))
    weights = (gaps + np.roll(gaps, 1)) / 2
    if len(array) == 2:
        weights[:], phases = 0.5, np.array([0.0, 0.5])  # two moments of the cycle, whenever they were
    angle = 2 * np.pi * phases
    basis = np.stack([weights, 2 * weights * np.cos(angle), 2 * weights * np.sin(angle)]).astype(np.float32)
    gains, offsets = frame_brightness(array, weights)
    parts = np.empty((3, *array.shape[1:]), np.float32)
    for z in range(array.shape[1]):
        own = basis / gains[:, z]
        flat = np.asarray(array[:, z], np.float32).reshape(len(array), -1)
        parts[:, z] = ((own @ flat) - (own @ offsets[:, z])[:, None]).reshape(3, *array.shape[2:])
    return parts


def frame_brightness(
    array: NDArray[Any], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How bright each frame of each slice is against the slice's mean, over what rests in it.

    Args:
        array: (T, Z, Y, X) intensities.
        weights: (T,) of the frames in the mean; the sum is 1.

    Returns:
        (T, Z) gain and (T, Z) offset; ``(frame - offset) / gain`` is as bright as the mean.
    """
    step = max(1, math.isqrt(array.shape[-1] * array.shape[-2] // _PIXELS_TO_FIT))
    some = np.asarray(array[..., ::step, ::step], np.float32)
    some = some.reshape(*array.shape[:2], -1)
    mean = np.einsum("t,tzp->zp", weights.astype(np.float32), some)
    kept = np.ones(some.shape, bool)
    gains, offsets = np.ones(some.shape[:2], np.float32), np.zeros(some.shape[:2], np.float32)
    for _ in range(_FITS):
        count = kept.sum(-1).clip(1)
        x, y = (kept * mean).sum(-1) / count, (kept * some).sum(-1) / count
        from_x = (mean - x[..., None]) * kept
        spread = np.square(from_x).sum(-1)
        known = spread > 1e-9 * np.square(mean).sum(-1)
        slope = np.divide((from_x * some).sum(-1), spread, out=np.ones_like(spread), where=known)
        gains = np.clip(slope, 1 / _LARGEST_GAIN, _LARGEST_GAIN).astype(np.float32)
        offsets = np.where(known, y - gains * x, 0.0).astype(np.float32)
        missed = np.abs(some - gains[..., None] * mean - offsets[..., None])
        # Pixels that beat, or were moved by a breath, do not fit: the fit is repeated on the others.
        kept = missed <= np.quantile(missed, _RESTING, axis=-1, keepdims=True)
    return gains, offsets


def _slices(
    parts: NDArray[np.float32], depth: float, spacing_mm: float
) -> tuple[NDArray[np.float32], tuple[tuple[int, int], ...]]:
    """Slices 10 mm apart from within the stack alone: eight about a depth (index) and some beyond, and the ranges of
    eight among them, those about the depth first."""
    last = parts.shape[1] - 1
    ratio = _SLICE_MM / spacing_mm
    count = min(_SLICES, max(1, int(last / ratio + 1.25)))
    half = (count - 1) / 2 * ratio
    first = float(np.clip(depth, half, last - half)) - half if 2 * half <= last else last / 2 - half
    if abs(ratio - 1) < 0.02:
        first, ratio = float(np.clip(round(first), 0, last - count + 1)), 1.0  # slice on slice: nothing is blended
    end = first + ratio * (count - 1)
    before, after = (int(np.clip(room / ratio + 1e-6, 0, _SLICES_BEYOND)) for room in (first, last - end))
    at = np.clip(first + ratio * np.arange(-before, count + after), 0, last)
    below = np.minimum(at.astype(int), max(last - 1, 0))
    above, share = np.minimum(below + 1, last), (at - below).astype(np.float32)[:, None, None]
    chosen = np.ascontiguousarray((1 - share) * parts[:, below] + share * parts[:, above], np.float32)
    starts = [before, *(start for start in range(before + after + 1) if start != before)]
    return chosen, tuple((start, start + count) for start in starts)


def _found(
    array: NDArray[Any], spacing_mm: tuple[float, float, float], depth: float
) -> tuple[tuple[Place, ...], float]:
    """Places of the heart, and the index of the middle slice."""
    height, width = array.shape[-2:]
    posed = max(height * spacing_mm[1], width * spacing_mm[0]) <= CUT_MM
    try:
        found = heart_places(array, spacing_mm, count=1 if posed else 2)
    except CardioDiTError:
        return (MIDDLE,), depth
    in_mm = [((x - (width - 1) / 2) * spacing_mm[0], (y - (height - 1) / 2) * spacing_mm[1]) for x, y, _ in found]
    kept: list[Place] = []
    # The middle takes the place of any found within `_SAME_MM` of it.
    middle = [MIDDLE] if posed else []
    for place in [MIDDLE if posed and np.hypot(*in_mm[0]) < _SAME_MM else in_mm[0], *middle, *in_mm[1:]]:
        if all(np.hypot(place[0] - x, place[1] - y) >= _SAME_MM for x, y in kept):
            kept.append((float(place[0]), float(place[1])))
    return tuple(kept), float(found[0][2])


def levelled(seen: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is seen within a disc, from darkest to brightest.

    Args:
        seen: (3, Z, Y, X) mean, cosine and sine part of the beat; intensities.
        inside: (Y, X) what lies in disc and picture.

    Returns:
        (Z, Y, X) mean in [-1, 1], -1 beyond the inside, and the amplitude of the beat on the same scale, 0 there.
    """
    values = seen[0][:, inside]
    if not values.numel():
        values = seen[0].flatten()
    low, high = np.percentile(values.numpy(), _PERCENTILES)
    scale = 2 / max(float(high - low), 1e-6 * max(abs(float(high)), abs(float(low)), 1e-30))
    mean = ((seen[0] - float(low)) * scale - 1).clamp(-1, 1)
    beat = seen[1:].square().sum(0).sqrt() * scale
    return torch.where(inside, mean, -1.0), torch.where(inside, beat, 0.0)
