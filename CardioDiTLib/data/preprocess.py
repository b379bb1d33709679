"""From a cine to a model's grid and back.

`to_grid` turns any cine into the (T, Z, Y, X) block of numbers in [-1, 1] that a model works on, and `from_grid` puts
results (images or labels) back where the input came from, in space and in time. Everything in between is recorded in
a `GridTransform`, whose own affine and frame times let results be saved on the model grid, in the right place, too.

Orientation is kept: columns and rows of the grid run along those of the input, slices in its order, unless a turn in
plane or the base first is asked for. The affine says which way that is in the patient.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.grid_transform import GridTransform
from CardioDiTLib.data.heart_roi import heart_centre, motion_centre_index
from CardioDiTLib.data.in_plane import apply_plane_operator, plane_operator
from CardioDiTLib.data.intensity import level_slices, robust_range
from CardioDiTLib.data.orientation import base_end
from CardioDiTLib.data.time import cycle_seconds, end_diastole_from_images, end_diastole_from_labels, resample_cycle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.grid import ModelGrid

Labels = Segmentation | NDArray[np.integer]


def _slice_matrix(
    scale: float, offset: float, n_source: int, n_target: int, order: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weights (Z', Z) of a resampling between slices, and which target slices lie within the stack."""
    position = scale * np.arange(n_target) + offset
    inside = (position >= -0.5 - 1e-4) & (position <= n_source - 0.5 + 1e-4)
    # Positions that are whole numbers but for rounding errors must not blend in a neighbour.
    near = np.round(position)
    position = np.clip(np.where(np.abs(position - near) < 1e-4, near, position), 0, n_source - 1)
    weights = np.zeros((n_target, n_source))
    rows = np.arange(n_target)
    if order == 0:
        weights[rows, np.floor(position + 0.5 - 1e-9).astype(int).clip(0)] = 1.0
    else:
        lower = np.minimum(position.astype(int), n_source - 1)
        upper = np.minimum(lower + 1, n_source - 1)
        np.add.at(weights, (rows, lower), 1.0 - (position - lower))
        np.add.at(weights, (rows, upper), position - lower)
        sigma = _blur(abs(scale))
        if sigma > 0:
            distance = np.arange(n_source)[:, None] - np.arange(n_source)[None, :]
            smooth = np.exp(-0.5 * (distance / sigma) ** 2)
            weights = weights @ (smooth / smooth.sum(axis=1, keepdims=True))
    return weights.astype(np.float32), inside


def _blur(ratio: float) -> float:
    """Standard deviation in source pixels of the Gaussian that a coarser grid asks for before it is sampled.

    It turns a Gaussian point spread as wide as a source pixel into one as wide as a target pixel (Cardoso et al.,
    Scale factor point spread function matching, MICCAI 2015).
    """
    if ratio <= 1.05:
        return 0.0
    return float(np.sqrt((ratio**2 - 1.0) / (8.0 * np.log(2.0))))


def _resample_space(
    array: NDArray[Any], to_source: NDArray[np.float64], target_zyx: tuple[int, int, int], order: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Resample all frames of (T, Z, Y, X); returns values, slices (Z') and pixels (Y', X') inside the source."""
    slices, rows, columns = target_zyx
    _, n_slices, height, width = array.shape
    m = to_source
    # Axes are at right angles, so that the third one can be split off; what little skew a file may have is taken at
    # the middle of the grid.
    plane = np.array(
        [
            [m[0, 0], m[0, 1], m[0, 3] + m[0, 2] * (slices - 1) / 2],
            [m[1, 0], m[1, 1], m[1, 3] + m[1, 2] * (slices - 1) / 2],
        ]
    )
    z_offset = m[2, 3] + m[2, 0] * (columns - 1) / 2 + m[2, 1] * (rows - 1) / 2
    weights, slices_inside = _slice_matrix(m[2, 2], z_offset, n_slices, slices, order)
    used = np.flatnonzero(np.abs(weights).sum(axis=0) > 0)
    values = np.asarray(array[:, used], dtype=np.float32)
    if order > 0:
        sigma = (_blur(float(np.hypot(*plane[1, :2]))), _blur(float(np.hypot(*plane[0, :2]))))
        if max(sigma) > 0:
            values = ndimage.gaussian_filter(values, (0.0, 0.0, *sigma), mode="nearest", truncate=3.0)
    operator, pixels_inside = plane_operator(plane, (height, width), (rows, columns), order)
    values = apply_plane_operator(operator, values, (rows, columns))
    values = np.einsum("kz,tzyx->tkyx", weights[:, used], values, optimize=True)
    return np.ascontiguousarray(values), slices_inside, pixels_inside


def _resample_labels(
    labels: NDArray[np.integer], to_source: NDArray[np.float64], target_zyx: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Each label's share of a target voxel, resampled linearly; the largest share wins (volumes are kept)."""
    best = np.zeros((len(labels), *target_zyx), dtype=np.uint8)
    shares: dict[int, NDArray[np.float32]] = {}
    inside: NDArray[np.bool_] = np.ones(target_zyx, dtype=bool)
    for label in np.unique(labels):
        if label == 0:
            continue
        share, in_slices, in_plane = _resample_space(labels == label, to_source, target_zyx, order=1)
        inside = in_slices[:, None, None] & in_plane[None]
        shares[int(label)] = share
    if not shares:
        return best
    top = 1.0 - np.sum(list(shares.values()), axis=0, dtype=np.float32)
    for label, share in shares.items():
        wins = share > top
        best[wins] = label
        top = np.maximum(top, share)
    best[:, ~inside] = 0
    return best


def _label_array(labels: Labels, cine_shape: tuple[int, ...]) -> NDArray[np.integer]:
    array = np.asarray(labels.array if isinstance(labels, Segmentation) else labels)
    if array.shape != tuple(cine_shape) or not np.issubdtype(array.dtype, np.integer):
        raise CardioDiTError(
            f"The labels have shape {array.shape} and type {array.dtype}, the cine has shape {tuple(cine_shape)}.",
            "Give whole-number labels on the same grid as the cine.",
        )
    return array


def _place_slices(cine: Cine, centre: NDArray[np.float64], grid: ModelGrid) -> NDArray[np.float64]:
    """Move an automatic centre along the slice direction to where the grid uses the recorded stack best."""
    index = np.linalg.inv(cine.affine) @ np.append(centre, 1.0)
    last = cine.array.shape[1] - 1
    ratio = grid.spacing_mm[2] / cine.spacing[2]
    half = (grid.slices - 1) / 2 * ratio
    z = float(np.clip(index[2], half, last - half)) if 2 * half <= last else last / 2
    if abs(ratio - 1.0) < 0.02:
        # The same distance between slices: put slice on slice, so that none has to be blended.
        z += float(np.round(z - half) - (z - half))
    index[2] = z
    return (np.asarray(cine.affine) @ index)[:3]


def to_grid(
    cine: Cine,
    grid: ModelGrid,
    centre: ArrayLike | None = None,
    labels: Labels | None = None,
    rotation_deg: float = 0.0,
    *,
    base_first: bool = False,
    end_diastole: int | Literal["auto"] | None = "auto",
    time_method: str = "monotone",
    order: int = 3,
    padding: Literal["minimum", "edge"] = "minimum",
    level: bool = False,
    percentiles: tuple[float, float] = (0.5, 99.5),
) -> tuple[NDArray[np.float32], GridTransform]:
    """Bring a cine to a model's grid: heart in the middle, one cycle, robust brightness.

    Space: resampled in mm, in plane by bicubic and between slices by linear interpolation, smoothed first where the
    grid is coarser. Slices beyond the recorded stack are not extrapolated: they are -1 and marked in
    `GridTransform.slice_valid`. Time: exactly one cycle, periodic. Brightness: percentiles of the whole cropped cine
    (all frames and slices alike, recorded voxels only) become -1 and +1; the crop, so that the width of the field of
    view does not matter.

    Args:
        cine: The cine, (T, Z, Y, X).
        grid: The model grid.
        centre: (3,) mm RAS that becomes the middle of the grid, exactly. None finds the heart (labels if given, else
            what moves) and then places the slices so that the recorded stack is used best.
        labels: Labels of the cine, used for the centre, for end-diastole and for which end is the base; they are not
            resampled here, see `labels_to_grid`.
        rotation_deg: Turns the picture counter-clockwise as displayed (row 0 on top), about the centre, in plane.
        base_first: Order the slices from base to apex where it can be told (see `orientation.base_end`).
        end_diastole: Source frame that becomes frame 0; "auto" finds it from labels or images and keeps the order where
            it cannot be told; None keeps the order.
        time_method: See `resample_cycle`; "repeat" is the published system's cyclic repetition.
        order: In-plane interpolation, 0, 1 or 3.
        padding: What lies in plane beyond the recorded picture: "minimum" (-1) or "edge" (its rim goes on).
        level: Even out brightness between slices first.
        percentiles: Percentiles (0-100) that become -1 and +1.

    Returns:
        Array (T, Z, Y, X) float32 in [-1, 1] on the grid, and the transform.

    Raises:
        CardioDiTError: If no heart is found, the images are blank, the labels do not fit, or the grid misses the stack.
    """
    label_array = None if labels is None else _label_array(labels, cine.array.shape)
    if label_array is not None and not np.any(label_array):
        raise CardioDiTError("There is no heart in these labels.", "Check that they belong to this cine.")
    if padding not in ("minimum", "edge"):
        raise CardioDiTError(f"Padding {padding!r} is unknown.", "Use 'minimum' or 'edge'.")
    if centre is None:
        middle = _place_slices(cine, heart_centre(cine, label_array), grid)
    else:
        middle = np.asarray(centre, dtype=np.float64).reshape(-1)
        if middle.shape != (3,) or not np.all(np.isfinite(middle)):
            raise CardioDiTError(f"The centre {centre!r} is not a point in mm.", "Give three numbers (x, y, z) in RAS.")
    grid_affine = _grid_affine(cine, grid, middle, rotation_deg, base_first, label_array)
    first, known = _first_frame(cine, label_array, middle, end_diastole)

    source: NDArray[Any] = cine.array
    levels = None
    if level:
        source, levels = level_slices(source, cine.spacing[:2])
    to_source = np.linalg.inv(cine.affine) @ grid_affine
    values, slices_inside, pixels_inside = _resample_space(source, to_source, grid.shape[1:], order)
    if not slices_inside.any() or not pixels_inside.any():
        raise CardioDiTError(
            "The model grid lies outside the recorded images.", "Check that the centre is in mm, in RAS."
        )
    transform = GridTransform(
        source_shape=cine.shape,
        source_affine=np.asarray(cine.affine),
        source_frame_times=np.asarray(cine.frame_times),
        cycle_s=cycle_seconds(cine.frame_times),
        grid=grid,
        grid_affine=grid_affine,
        slice_valid=tuple(bool(value) for value in slices_inside),
        intensity=robust_range(values[:, slices_inside][:, :, pixels_inside], *percentiles),
        first_frame=first,
        end_diastole_known=known,
        time_method=time_method,
        levels=levels,
        rotation_deg=float(rotation_deg),
    )
    scaled = transform.intensity.scale(_time_to_grid(values, transform, time_method))
    scaled[:, ~slices_inside] = -1.0
    if padding == "minimum":
        scaled[:, :, ~pixels_inside] = -1.0
    return scaled, transform


def _grid_affine(
    cine: Cine,
    grid: ModelGrid,
    centre: NDArray[np.float64],
    rotation_deg: float,
    base_first: bool,
    labels: NDArray[np.integer] | None,
) -> NDArray[np.float64]:
    """Index (x, y, z) on the grid to mm RAS: along the source's axes, turned in plane, about the centre."""
    x, y, z = (np.asarray(cine.affine)[:3, :3] / np.asarray(cine.spacing)).T
    if base_first and base_end(cine.affine, labels) == "last":
        z = -z
    angle = np.deg2rad(rotation_deg)
    axes = np.column_stack([np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x, z])
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(grid.spacing_mm)
    middle = np.array([grid.width - 1, grid.height - 1, grid.slices - 1]) / 2.0
    affine[:3, 3] = centre - affine[:3, :3] @ middle
    return affine


def _first_frame(
    cine: Cine,
    labels: NDArray[np.integer] | None,
    centre: NDArray[np.float64],
    end_diastole: int | Literal["auto"] | None,
) -> tuple[int, bool]:
    """Source frame for frame 0 of the grid, and whether it is known to be end-diastole."""
    if end_diastole is None:
        return 0, False
    if end_diastole == "auto":
        found = estimate_end_diastole_frame(cine, labels, centre)
        return (0, False) if found is None else (found, True)
    if not 0 <= int(end_diastole) < cine.n_frames:
        raise CardioDiTError(
            f"There is no frame {end_diastole} for end-diastole.", f"The cine has frames 0 to {cine.n_frames - 1}."
        )
    return int(end_diastole), True


def estimate_end_diastole_frame(
    cine: Cine, labels: Labels | None = None, centre: ArrayLike | None = None
) -> int | None:
    """Frame of end-diastole, from labels where they tell, else from the images, else None (keep the order).

    Args:
        cine: The cine.
        labels: Labels of the cine, or None.
        centre: (3,) mm RAS of the heart; None finds it.

    Returns:
        Frame index, or None. See `time.end_diastole_from_labels` and `time.end_diastole_from_images`.
    """
    if labels is not None:
        found = end_diastole_from_labels(_label_array(labels, cine.array.shape))
        if found is not None:
            return found
    if centre is None:
        try:
            x, y, _ = motion_centre_index(cine.array, cine.spacing)
        except CardioDiTError:
            return None
    else:
        x, y, _ = (np.linalg.inv(cine.affine) @ np.append(np.asarray(centre, dtype=np.float64), 1.0))[:3]
    return end_diastole_from_images(cine.array, cine.spacing, (float(x), float(y)))


def _time_to_grid(array: NDArray[Any], transform: GridTransform, method: str) -> NDArray[Any]:
    if transform.time_method == "repeat":
        return resample_cycle(np.roll(array, -transform.first_frame, axis=0), transform.grid.frames, method="repeat")
    return resample_cycle(
        array,
        transform.grid.frames,
        frame_times=transform.source_frame_times,
        cycle_s=transform.cycle_s,
        method=method,
        start_phase=float(transform.source_frame_times[transform.first_frame] / transform.cycle_s),
    )


def _time_from_grid(array: NDArray[Any], transform: GridTransform, method: str) -> NDArray[Any]:
    frames = transform.source_shape[0]
    if transform.time_method == "repeat":
        if frames > transform.grid.frames:
            raise CardioDiTError(
                f"The end of the cycle was cut: {frames} frames were recorded, the grid holds {transform.grid.frames}.",
                "Preprocess with a method that resamples the cycle, or with a grid of more frames.",
            )
        return np.roll(array[:frames], transform.first_frame, axis=0)
    return resample_cycle(array, method=method, target_phases=transform.source_phases)


def _only_valid_slices(array: NDArray[Any], transform: GridTransform) -> NDArray[Any]:
    """Empty slices replaced by the nearest recorded one, so that they are not blended into the ends of the stack."""
    valid = np.flatnonzero(transform.slice_valid)
    nearest = np.abs(np.arange(transform.grid.slices)[:, None] - valid[None, :]).argmin(axis=1)
    return array[:, valid[nearest]]


def labels_to_grid(labels: Labels, transform: GridTransform) -> NDArray[np.uint8]:
    """Bring labels of the same cine to the grid, the way `to_grid` brought the images.

    Volumes are kept to 1-2 % where the slice distance stays. Where it changes, a ventricle that ends between two
    slices can only end at one of them: by up to half a basal slice more or less, as with any whole-voxel labels.

    Args:
        labels: (T, Z, Y, X) of the source.
        transform: From `to_grid`.

    Returns:
        (T, Z, Y, X) uint8 on the grid, 0 outside the recorded stack.

    Raises:
        CardioDiTError: If the labels do not fit the source.
    """
    array = _label_array(labels, transform.source_shape)
    return _time_to_grid(
        _resample_labels(array, transform.grid_to_source, transform.grid.shape[1:]), transform, "nearest"
    )


def from_grid(
    array: NDArray[Any],
    transform: GridTransform,
    order: int = 3,
    *,
    fill: float | None = None,
    rescale: bool = True,
) -> NDArray[Any]:
    """Put a result on the model grid back on the input's grid, in space and time.

    Args:
        array: (T, Z, Y, X) on the grid: whole numbers are labels, real numbers are images in [-1, 1].
        transform: From `to_grid`.
        order: In-plane interpolation of images, 0, 1 or 3 (labels go by the largest share).
        fill: Value of source voxels that the grid did not cover; None is the darkest intensity (-1 without `rescale`).
            Labels are always 0 there.
        rescale: Turn [-1, 1] back into the source's intensities; False leaves values alone (probabilities, say).

    Returns:
        (T, Z, Y, X) of the source: uint8 labels or float32.

    Raises:
        CardioDiTError: If the array is not on the grid, or a repeated cycle had been cut.
    """
    values = np.asarray(array)
    if values.shape != transform.grid.shape:
        raise CardioDiTError(
            f"The array has shape {values.shape}, the model grid has {transform.grid.shape}.",
            "Give an array (T, Z, Y, X) on the grid of the transform.",
        )
    target = transform.source_shape[1:]
    if values.dtype == bool or np.issubdtype(values.dtype, np.integer):
        values = _time_from_grid(_only_valid_slices(values.astype(np.uint8), transform), transform, "nearest")
        return _resample_labels(values, transform.source_to_grid, target)
    method = "linear" if transform.time_method == "nearest" else transform.time_method
    values = _only_valid_slices(np.asarray(values, dtype=np.float32), transform)
    values = _time_from_grid(values, transform, method)
    result, slices_inside, pixels_inside = _resample_space(values, transform.source_to_grid, target, order)
    # Bicubic weights overshoot at edges; nothing may leave the range of what went in.
    np.clip(result, values.min(), values.max(), out=result)
    if rescale:
        result = transform.intensity.unscale(result)
        if transform.levels is not None:
            result = transform.levels.undo(result)
        outside = transform.intensity.low if fill is None else fill
    else:
        outside = -1.0 if fill is None else fill
    result[:, ~(slices_inside[:, None, None] & pixels_inside[None])] = outside
    return result


def on_grid(array: NDArray[Any], transform: GridTransform, meta: dict[str, Any] | None = None) -> Cine | Segmentation:
    """Wrap a result on the model grid with the grid's own geometry and times, ready to be saved.

    Args:
        array: (T, Z, Y, X) on the grid: whole numbers are labels, real numbers are images.
        transform: From `to_grid`.
        meta: Provenance.

    Returns:
        A `Segmentation` for whole numbers, else a `Cine`; it lies where the heart lies.
    """
    kind = Segmentation if np.issubdtype(np.asarray(array).dtype, np.integer) else Cine
    return kind(
        array=np.asarray(array),
        affine=transform.grid_affine,
        frame_times=transform.grid_frame_times,
        meta=dict(meta or {}),
    )
