"""Brightness: one robust range for a whole cine, and levelling of slices that were scaled one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Record


@dataclass(frozen=True)
class IntensityRange(Record):
    """The two intensities that a model sees as -1 and +1.

    Args:
        low: Source intensity that becomes -1.
        high: Source intensity that becomes +1; larger than `low`.

    Raises:
        CardioDiTError: If the range is empty or not finite.
    """

    record_name: ClassVar[str] = "intensity range"
    record_hint: ClassVar[str] = "The images may be blank; look at them before going on."

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.high > self.low:
            raise CardioDiTError(f"An intensity range from {self.low} to {self.high} is empty.", self.record_hint)

    def scale(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Map [low, high] to [-1, 1] and clip what lies outside.

        Args:
            array: Intensities, any shape.

        Returns:
            float32 of the same shape within [-1, 1].
        """
        scaled = np.asarray(array, dtype=np.float32) - np.float32(self.low)
        scaled *= np.float32(2.0 / (self.high - self.low))
        scaled -= np.float32(1.0)
        return np.clip(scaled, -1.0, 1.0, out=scaled)

    def unscale(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Inverse of `scale`: map [-1, 1] back to [low, high] (what was clipped stays clipped)."""
        restored = np.asarray(array, dtype=np.float32) + np.float32(1.0)
        restored *= np.float32((self.high - self.low) / 2.0)
        restored += np.float32(self.low)
        return restored


def robust_range(array: NDArray[Any], lower_percentile: float = 0.5, upper_percentile: float = 99.5) -> IntensityRange:
    """One intensity range for the whole cine, from percentiles of all its voxels and frames.

    Percentiles rather than minimum and maximum, so that single outliers do not compress the range; one range for all
    frames and slices, so that brightness changes over the cycle are kept.

    Args:
        array: Intensities of all frames and slices, any shape.
        lower_percentile: Percentile (0-100) that becomes -1.
        upper_percentile: Percentile (0-100) that becomes +1.

    Returns:
        The range.

    Raises:
        CardioDiTError: If the array is empty, holds NaN or infinity, or is constant.
    """
    values = np.asarray(array)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise CardioDiTError(
            "The images are empty or hold values that are not numbers.", "Repair the file or convert it again."
        )
    low, high = (float(value) for value in np.percentile(values, (lower_percentile, upper_percentile)))
    if high <= low:
        # Nearly all voxels alike (a phantom on black): the full range is then the only information there is.
        low, high = float(values.min()), float(values.max())
    if high <= low:
        raise CardioDiTError(
            f"The images are blank: every value is {low:g}.", "Choose a file with a picture of the heart in it."
        )
    return IntensityRange(low, high)


def estimate_slice_gains(
    array: NDArray[Any],
    spacing_xy_mm: tuple[float, float] = (1.5, 1.5),
    max_gain: float = 2.5,
    smoothing_mm: float = 6.0,
    ridge: float = 0.02,
) -> NDArray[np.float64]:
    """Relative brightness of each slice against its neighbours.

    Neighbouring slices show much the same tissue at the same place (chest wall, liver, heart), so the median over
    pixels of the ratio of two neighbouring, smoothed, time-averaged slices estimates their relative gain, robust to a
    minority of differing pixels. The chain of ratios is turned into one gain a slice by least squares, with a weak
    ridge term towards 1 that keeps errors from adding up along the stack.

    Args:
        array: (T, Z, Y, X) intensities (the 0.5th percentile is taken as black).
        spacing_xy_mm: Pixel spacing (x, y) in mm.
        max_gain: Gains are kept within [1 / max_gain, max_gain].
        smoothing_mm: Standard deviation of the in-plane smoothing, in mm.
        ridge: Weight of the term towards 1; 0 takes the chain of ratios as it is.

    Returns:
        (Z,) gains with geometric mean 1 (before the limits); dividing each slice by its gain levels the stack.
    """
    mean = np.asarray(array, dtype=np.float32).mean(axis=0)
    slices = mean.shape[0]
    if slices < 2:
        return np.ones(slices)
    mean = mean - np.percentile(array, 0.5)
    sx, sy = spacing_xy_mm
    smooth = ndimage.gaussian_filter(mean, (0.0, smoothing_mm / sy, smoothing_mm / sx))
    # Each slice's own threshold: a slice scaled down as a whole must keep its tissue.
    tissue = smooth > 0.15 * np.percentile(smooth, 98, axis=(1, 2), keepdims=True)
    tissue &= smooth > 0
    rows, targets, weights = [], [], []
    for z in range(slices - 1):
        both = tissue[z] & tissue[z + 1]
        share = float(both.mean())
        if share < 0.01:
            continue
        row = np.zeros(slices)
        row[z], row[z + 1] = -1.0, 1.0
        rows.append(row)
        targets.append(float(np.median(np.log(smooth[z + 1][both] / smooth[z][both]))))
        weights.append(np.sqrt(share / 0.3))
    if not rows:
        return np.ones(slices)
    scale = np.asarray(weights)[:, None]
    system = np.vstack([np.asarray(rows) * scale, np.sqrt(ridge) * np.eye(slices)])
    right = np.concatenate([np.asarray(targets) * scale[:, 0], np.zeros(slices)])
    logs = np.linalg.lstsq(system, right, rcond=None)[0]
    logs -= logs.mean()
    limit = np.log(max_gain)
    return np.exp(np.clip(logs, -limit, limit))


@dataclass(frozen=True)
class SliceLevels(Record):
    """Gain of each slice, and the level that counts as black; can be taken away and put back.

    Args:
        gains: (Z,) positive gains.
        black: Intensity that stays what it is.
    """

    record_name: ClassVar[str] = "levels of the slices"

    gains: tuple[float, ...]
    black: float

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Divide each slice of a (T, Z, Y, X) array by its gain."""
        return self._scale(array, 1.0 / np.asarray(self.gains))

    def undo(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Multiply each slice of a (T, Z, Y, X) array by its gain."""
        return self._scale(array, np.asarray(self.gains))

    def _scale(self, array: NDArray[Any], factors: NDArray[np.float64]) -> NDArray[np.float32]:
        black = np.float32(self.black)
        return (np.asarray(array, dtype=np.float32) - black) * factors.astype(np.float32)[:, None, None] + black


def level_slices(
    array: NDArray[Any], spacing_xy_mm: tuple[float, float] = (1.5, 1.5), max_gain: float = 2.5
) -> tuple[NDArray[np.float32], SliceLevels]:
    """Even out the brightness between slices; the same gain for all frames of a slice, so motion stays as it was.

    Args:
        array: (T, Z, Y, X) intensities.
        spacing_xy_mm: Pixel spacing (x, y) in mm.
        max_gain: As in :func:`estimate_slice_gains`.

    Returns:
        (T, Z, Y, X) float32 levelled intensities, and the levels; `SliceLevels.undo` puts them back.
    """
    gains = estimate_slice_gains(array, spacing_xy_mm, max_gain)
    levels = SliceLevels(tuple(float(gain) for gain in gains), float(np.percentile(array, 0.5)))
    return levels.apply(array), levels
