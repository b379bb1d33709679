"""Time: one cardiac cycle is one period. Resampling it, and finding end-diastole.

The recorded frames cover exactly one period, the last frame's own duration included: T frames at an even interval dt
span T * dt, and frame T would be frame 0 again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from CardioDiTLib.cine import cycle_of_times
from CardioDiTLib.errors import CardioDiTError

METHODS = ("monotone", "linear", "cubic", "fourier", "nearest", "repeat")


def cycle_seconds(frame_times: ArrayLike) -> float:
    """Length of the cycle that frames cover, see :func:`CardioDiTLib.cine.cycle_of_times`.

    Args:
        frame_times: (T,) seconds, rising.

    Returns:
        Seconds.

    Raises:
        CardioDiTError: If there are fewer than two frames or the times do not rise.
    """
    times = np.asarray(frame_times, dtype=np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise CardioDiTError("A cardiac cycle needs at least two frames.", "Choose a cine, not a single image.")
    steps = np.diff(times)
    if not np.all(np.isfinite(times)) or np.any(steps <= 0):
        raise CardioDiTError("The frame times do not rise from frame to frame.", "Sort the frames by trigger time.")
    return cycle_of_times(times)


def _phases(n_source: int, frame_times: ArrayLike | None, cycle_s: float | None) -> NDArray[np.float64]:
    """Phase in [0, 1) of each recorded frame, frame 0 at phase 0."""
    if frame_times is None:
        return np.arange(n_source) / n_source
    times = np.asarray(frame_times, dtype=np.float64)
    if times.shape != (n_source,):
        raise CardioDiTError(
            f"There are {n_source} frames but {times.size} frame times.", "Give one time a frame, in seconds."
        )
    if n_source == 1:
        return np.zeros(1)
    period = cycle_seconds(times) if cycle_s is None else float(cycle_s)
    if not np.isfinite(period) or period <= times[-1] - times[0]:
        raise CardioDiTError(
            f"A cycle of {period:g} s is shorter than the frames recorded in it.", "Give the cycle length in seconds."
        )
    return (times - times[0]) / period


def _linear_matrix(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    knots = np.append(source, 1.0)
    left = np.clip(np.searchsorted(knots, target, side="right") - 1, 0, len(source) - 1)
    weight = (target - knots[left]) / (knots[left + 1] - knots[left])
    matrix = np.zeros((len(target), len(source)))
    rows = np.arange(len(target))
    np.add.at(matrix, (rows, left), 1.0 - weight)
    np.add.at(matrix, (rows, (left + 1) % len(source)), weight)
    return matrix


def _nearest_index(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.int64]:
    distance = np.abs(target[:, None] - source[None, :])
    distance = np.minimum(distance, 1.0 - distance)
    # The earliest of equally near frames, whatever the rounding.
    return np.argmin(np.round(distance, 9), axis=1)


def _cubic_matrix(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    identity = np.eye(len(source))
    spline = CubicSpline(np.append(source, 1.0), np.vstack([identity, identity[:1]]), axis=0, bc_type="periodic")
    return np.asarray(spline(target))


def _fourier_basis(phases: NDArray[np.float64], harmonics: int, nyquist: int | None) -> NDArray[np.float64]:
    angles = 2.0 * np.pi * phases[:, None] * np.arange(1, harmonics + 1)[None, :]
    columns = [np.ones((len(phases), 1)), np.cos(angles), np.sin(angles)]
    if nyquist is not None:
        columns.append(np.cos(2.0 * np.pi * phases[:, None] * nyquist))
    return np.hstack(columns)


def _fourier_matrix(source: NDArray[np.float64], target: NDArray[np.float64], n_target: int) -> NDArray[np.float64]:
    count = len(source)
    harmonics = (count - 1) // 2
    nyquist = count // 2 if count % 2 == 0 else None
    basis = _fourier_basis(source, harmonics, nyquist)
    if np.linalg.cond(basis) > 100.0:
        raise CardioDiTError(
            "The frames are spaced too unevenly for Fourier resampling.", "Use the 'monotone' or 'linear' method."
        )
    coefficients = np.linalg.pinv(basis)
    wanted = _fourier_basis(target, harmonics, nyquist)
    # Harmonics that fewer target frames cannot hold are left out; a harmonic exactly at their limit would alias.
    orders = np.concatenate([[0], np.tile(np.arange(1, harmonics + 1), 2), [] if nyquist is None else [nyquist]])
    if n_target < count:
        wanted = wanted * (orders < n_target / 2)[None, :]
    return wanted @ coefficients


def _monotone(
    array: NDArray[np.floating], source: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Periodic monotone cubic Hermite interpolation (Fritsch and Butland 1984: weighted harmonic mean of slopes)."""
    count = len(source)
    steps = np.diff(np.append(source, 1.0)).astype(np.float32)
    values = np.asarray(array, dtype=np.float32)
    column = (slice(None),) + (None,) * (values.ndim - 1)
    after = (np.roll(values, -1, axis=0) - values) / steps[column]
    before = np.roll(after, 1, axis=0)
    step_after, step_before = steps[column], np.roll(steps, 1)[column]
    weight_before, weight_after = 2 * step_after + step_before, step_after + 2 * step_before
    same_way = before * after > 0
    denominator = weight_before * after + weight_after * before
    slopes = np.zeros_like(values)
    np.divide((weight_before + weight_after) * before * after, denominator, out=slopes, where=same_way)
    knots = np.append(source, 1.0)
    left = np.clip(np.searchsorted(knots, target, side="right") - 1, 0, count - 1)
    right = (left + 1) % count
    result = np.empty((len(target), *values.shape[1:]), dtype=np.float32)
    for row, (i, j) in enumerate(zip(left, right)):
        h = float(knots[i + 1] - knots[i])
        u = float((target[row] - knots[i]) / h)
        if u == 0.0:
            result[row] = values[i]
            continue
        result[row] = (1 + 2 * u) * (1 - u) ** 2 * values[i] + u * u * (3 - 2 * u) * values[j]
        result[row] += h * (u * (1 - u) ** 2 * slopes[i] - u * u * (1 - u) * slopes[j])
    return result


def resample_cycle(
    array: ArrayLike,
    n_frames: int | None = None,
    *,
    frame_times: ArrayLike | None = None,
    cycle_s: float | None = None,
    method: str = "monotone",
    start_phase: float = 0.0,
    target_phases: ArrayLike | None = None,
) -> NDArray[Any]:
    """Resample exactly one cardiac cycle along axis 0, periodically.

    | method | what it does | use |
    | --- | --- | --- |
    | "monotone" (default) | cubic, stays between the two neighbouring frames | images |
    | "linear" | straight line between two frames | images, soft labels |
    | "cubic" | periodic cubic spline; smoothest, overshoots a little | volume curves |
    | "fourier" | trigonometric; exact for band-limited motion, rings where a border passes quickly | volume curves |
    | "nearest" | the nearest frame | labels |
    | "repeat" | frames one after the other, over and over, then cut: n_frames / T cycles, not one | published system |

    The default does not ring: where the wall of the heart passes over a pixel, its brightness jumps within a frame
    or two, and a trigonometric series or a spline then oscillates before and after (dark and bright artefacts in
    frames where the wall is at rest). The monotone interpolant never leaves the range of the two neighbouring
    frames, is smooth in time, and returns recorded frames unchanged. Fewer frames than recorded are picked, not
    averaged, since an average over time blurs the moving wall.

    Args:
        array: (T, ...) frames of one cycle; the frame after the last is the first.
        n_frames: Number of frames wanted, evenly spaced over the cycle. Leave out if `target_phases` is given.
        frame_times: (T,) seconds of the recorded frames, even or uneven; None means even.
        cycle_s: Length of the cycle in seconds; None means T * interval (see `cycle_seconds`).
        method: See the table.
        start_phase: Phase (fraction of the cycle) of the first frame wanted.
        target_phases: (N,) phases wanted, as fractions of the cycle; any number is taken modulo 1.

    Returns:
        (N, ...) frames: float32, or the type of the input for "nearest" and "repeat".

    Raises:
        CardioDiTError: If the method is unknown, the number of frames is not positive, or the times do not fit.

    Examples:
        >>> resample_cycle(np.arange(4.0), 8, method="linear").tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 1.5]
    """
    values = np.asarray(array)
    if values.ndim < 1 or len(values) < 1:
        raise CardioDiTError("There are no frames to resample.", "Choose a cine with at least two frames.")
    if method not in METHODS:
        raise CardioDiTError(f"The resampling method {method!r} is unknown.", f"Use one of {', '.join(METHODS)}.")
    if (n_frames is None) == (target_phases is None):
        raise CardioDiTError("Resampling needs either a number of frames or the phases.", "Give exactly one of them.")
    if n_frames is not None and n_frames < 1:
        raise CardioDiTError(f"A cycle cannot have {n_frames} frames.", "Ask for at least one frame.")
    if method == "repeat":
        if n_frames is None or start_phase:
            raise CardioDiTError("Repetition knows no phases.", "Give a number of frames and no start phase.")
        return repeat_cycle(values, n_frames)
    source = _phases(len(values), frame_times, cycle_s)
    wanted = np.arange(n_frames) / n_frames if n_frames is not None else np.asarray(target_phases, dtype=np.float64)
    # Rounding makes phases equal that differ by rounding errors only, so that recorded frames come back unchanged.
    target = np.mod(np.round(wanted + start_phase, 12), 1.0)
    if method == "nearest":
        return values[_nearest_index(source, target)]
    if len(values) == 1:
        return np.repeat(np.asarray(values, dtype=np.float32), len(target), axis=0)
    match = np.abs(target[:, None] - source[None, :])
    hit = np.argmin(match, axis=1)
    target = np.where(match.min(axis=1) < 1e-9, source[hit], target)
    if method == "monotone":
        return _monotone(values, source, target)
    if method == "linear":
        matrix = _linear_matrix(source, target)
    elif method == "cubic":
        matrix = _cubic_matrix(source, target)
    else:
        matrix = _fourier_matrix(source, target, len(target))
    flat = np.asarray(values, dtype=np.float32).reshape(len(values), -1)
    return (matrix.astype(np.float32) @ flat).reshape(len(target), *values.shape[1:])


def repeat_cycle(array: ArrayLike, n_frames: int = 32) -> NDArray[Any]:
    """Repeat the frames cyclically up to `n_frames`, or cut them there, as the published system does.

    The result holds n_frames / T cycles rather than one: volumes are still right, but frame time and phase are not
    defined. For checkpoints that were trained so; anything new should use `resample_cycle`.

    Args:
        array: (T, ...) frames.
        n_frames: Number of frames wanted.

    Returns:
        (n_frames, ...) frames of the same type.
    """
    values = np.asarray(array)
    if n_frames < 1:
        raise CardioDiTError(f"A cine cannot have {n_frames} frames.", "Ask for at least one frame.")
    return values[np.arange(n_frames) % len(values)]


def roll_to_end_diastole(array: ArrayLike, frame: int | None) -> NDArray[Any]:
    """Start the cycle at the given frame.

    Args:
        array: (T, ...) frames of one cycle.
        frame: Index of end-diastole; None leaves the order as it is.

    Returns:
        (T, ...) with that frame first.
    """
    values = np.asarray(array)
    return values if frame is None else np.roll(values, -int(frame), axis=0)


def end_diastole_from_labels(labels: NDArray[np.integer], voxel_ml: float = 1.0) -> int | None:
    """Frame with the largest LV cavity, where labels tell.

    Frames without any LV cavity label count as not labelled (often only ED and ES are).

    Args:
        labels: (T, Z, Y, X), LV cavity 3.
        voxel_ml: Volume of a voxel in mL; only the proportions matter.

    Returns:
        Frame index, or None if fewer than two frames are labelled or the volume changes by less than 5 %.
    """
    volumes = (np.asarray(labels) == 3).sum(axis=(1, 2, 3)) * voxel_ml
    labelled = volumes > 0
    if labelled.sum() < 2 or np.ptp(volumes[labelled]) < 0.05 * volumes.max():
        return None
    return int(np.argmax(volumes))


class BloodCurve(NamedTuple):
    """How the bright area around the heart changes over the cycle; see `blood_curve`.

    Args:
        curve: (T,) scaled to [0, 1]; large where the ventricles are full.
        relative_change: Range of the bright area over its mean, weighted over slices.
        explained: Share of the variance of all slices that the curve explains, 0 to 1.
        slice_weights: (Z,) how much each slice goes with the curve; negative where a slice goes against it.
    """

    curve: NDArray[np.float64]
    relative_change: float
    explained: float
    slice_weights: NDArray[np.float64]


def blood_curve(
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    centre_index: tuple[float, float],
    radius_mm: float = 40.0,
) -> BloodCurve | None:
    """A curve over the cycle that goes with ventricular volume, from the images alone.

    In a bright-blood cine the bright area around the heart's centre shrinks as the ventricles empty. Each slice gives
    one curve (share of pixels above a common threshold); their first principal component weighs the ventricular
    slices up and lets atrial slices, which fill in systole, count the other way.

    Args:
        array: (T, Z, Y, X) intensities.
        spacing_mm: (x, y, z) mm.
        centre_index: (x, y) of the heart in pixels.
        radius_mm: Radius around the centre that is looked at.

    Returns:
        The curve and what belongs to it; None if nothing varies.
    """
    height, width = array.shape[-2:]
    yy, xx = np.mgrid[:height, :width]
    disc = np.hypot((yy - centre_index[1]) * spacing_mm[1], (xx - centre_index[0]) * spacing_mm[0]) < radius_mm
    box = np.asarray(array[..., disc], dtype=np.float32)
    if box.size == 0:
        return None
    # A soft threshold half-way between myocardium and blood: hard ones make the curve jump from pixel to pixel.
    dark, bright = np.percentile(box, (30, 90))
    if bright <= dark:
        return None
    level = np.clip((box - (dark + 0.25 * (bright - dark))) / (0.5 * (bright - dark)), 0.0, 1.0)
    area = level.mean(axis=2, dtype=np.float64)
    centred = area - area.mean(axis=0)
    if not np.any(np.abs(centred) > 0):
        return None
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    sign = 1.0 if right[0].sum() >= 0 else -1.0
    curve = left[:, 0] * sign
    weights = np.clip(right[0] * sign, 0.0, None)
    weighted = area @ weights
    relative = float(np.ptp(weighted) / max(weighted.mean(), 1e-12))
    explained = float(singular[0] ** 2 / np.sum(singular**2))
    return BloodCurve((curve - curve.min()) / np.ptp(curve), relative, explained, right[0] * sign)


def end_diastole_from_images(
    array: NDArray[Any], spacing_mm: tuple[float, float, float], centre_index: tuple[float, float]
) -> int | None:
    """Frame of end-diastole from the images alone, where it can be told.

    The curve of `blood_curve`, smoothed to four harmonics, is largest from late filling to the R wave; end-diastole is
    the last frame of that plateau (within 5 % of the range from the maximum) before the curve falls. It counts as
    told only if the bright area changes by more than 8 %, the slices agree (first component above half of the
    variance), the smoothed curve fits (residual below 12 % of the range), and the fall from there to the smallest
    area takes between 15 % and 80 % of the cycle.

    Args:
        array: (T, Z, Y, X) bright-blood cine of one cycle.
        spacing_mm: (x, y, z) mm.
        centre_index: (x, y) of the heart in pixels.

    Returns:
        Frame index, or None where it cannot be told (keep the frames as they are).
    """
    count = len(array)
    if count < 6:
        return None
    found = blood_curve(array, spacing_mm, centre_index)
    if found is None:
        return None
    curve, relative, explained, _ = found
    spectrum = np.fft.rfft(curve)
    spectrum[5:] = 0.0
    smooth = np.fft.irfft(spectrum, count)
    extent = float(np.ptp(smooth))
    if relative < 0.08 or explained < 0.5 or extent <= 0 or np.std(curve - smooth) > 0.12 * extent:
        return None
    height = (smooth - smooth.min()) / extent
    lowest = int(np.argmin(height))
    # Walk back from the smallest area, up the slope of contraction, to the end of the plateau.
    frame = lowest
    for step in range(1, count):
        frame = (lowest - step) % count
        if height[frame] >= 0.95:
            break
    systole = ((lowest - frame) % count) / count
    return frame if 0.15 <= systole <= 0.8 else None
