"""A cine brought to the pose of the training cines: right ventricle on the left, base first, heart in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.cine_from_pair import choose_slices
from CardioDiTLib.data.grid_transform import GridTransform
from CardioDiTLib.data.header_check import right_ventricle_direction
from CardioDiTLib.data.intensity import IntensityRange, robust_range
from CardioDiTLib.data.orientation import APEX_DIRECTION, base_end
from CardioDiTLib.data.preprocess import estimate_end_diastole_frame, from_grid, to_grid
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.decode import BRIGHTEST
from CardioDiTLib.grid import ModelGrid
from CardioDiTLib.segmentation.segment import FRAMES, Weights, segment

BLOOD_ENTRY = "blood_grey"
"""Entry of a bundle's provenance: grey value (of 255) that the blood of the left ventricle had at end-diastole in
training, where every heart was brought to one brightness."""

_LEFT_VENTRICLE = 3
_FEWEST_VOXELS = 50


@dataclass(frozen=True, eq=False)
class PlacedCine:
    """A cine on a model's grid.

    Attributes:
        array: (T, Z, Y, X) float32 in [-1, 1] on the grid; slices beyond the recorded stack repeat its last one.
        transform: The way back.
        mirrored: Whether the source's columns were reversed first: it showed the heart from the other side.
        how: What was done, in plain values.
    """

    array: NDArray[np.float32]
    transform: GridTransform
    mirrored: bool
    how: dict[str, Any]

    def on_source(self, array: NDArray[np.float32], elsewhere: NDArray[Any]) -> NDArray[np.float32]:
        """An image on the grid, (T, Z, Y, X) in [-1, 1], back on the source's grid and in its grey values.

        Args:
            array: The image.
            elsewhere: (T, Z, Y, X) of the source, for what the grid does not cover.
        """
        back = from_grid(np.asarray(array, np.float32), self.transform, fill=math.nan)
        if self.mirrored:
            back = back[..., ::-1]
        return np.where(np.isfinite(back), back, elsewhere).astype(np.float32)

    def covered_slices(self) -> NDArray[np.bool_]:
        """(Z,) slices of the source of which the grid covers anything."""
        back = from_grid(np.zeros(self.array.shape, np.float32), self.transform, fill=math.nan)
        return np.asarray(np.isfinite(back).any(axis=(0, 2, 3)))


def place(
    cine: Cine, manifest: BundleManifest, labels: Segmentation | None = None, weights: Weights = None
) -> PlacedCine:
    """Bring a cine without gaps to the grid and pose of a bundle.

    Args:
        cine: The cine; gaps were interpolated.
        manifest: Of the bundle.
        labels: Labels of the cine; None finds them in some frames. Not needed for a cine that the bundle itself made.
        weights: Segmentation model in place of the embedded one.

    Raises:
        CardioDiTError: No heart can be found, or the labels are not on the grid of the cine.
    """
    shape = manifest.grid
    grid = ModelGrid(shape.slices, shape.height, shape.width, shape.frames, shape.spacing_mm)
    if is_own(cine, manifest, grid):
        middle = (np.array([grid.width, grid.height, grid.slices]) - 1) / 2
        centre = (np.asarray(cine.affine) @ [*middle, 1.0])[:3]
        values, transform = to_grid(cine, grid, centre, end_diastole=0, percentiles=(0.0, 100.0))
        return _bright(values, transform, IntensityRange(0.0, float(BRIGHTEST)), False, {"moved": False})
    frame, found = _labels(cine, labels, weights)
    mirrored = _is_mirrored(cine, found)
    if mirrored:
        cine, found = _columns_reversed(cine), found[..., ::-1]
    way = right_ventricle_direction(found, cine.spacing[:2])
    if way is None:
        raise CardioDiTError(
            "Both ventricles could not be found in this cine.",
            "Check that it is a short-axis cine, or give labels of it.",
        )
    turn = math.remainder(math.degrees(way) - 180.0, 360.0)
    centre = _centre(cine, found[0], turn, grid)
    # Which end is the base was found on few frames of labels; `to_grid` is given those of end-diastole.
    told = np.zeros(cine.shape, np.uint8)
    told[frame] = found[0]
    values, transform = to_grid(
        cine, grid, centre, told, turn, base_first=True, end_diastole=frame, percentiles=(0.0, 100.0)
    )
    real = transform.intensity.unscale(values)
    inside = [z for z, valid in enumerate(transform.slice_valid) if valid]
    wanted = robust_range(real[:, inside])
    blood = manifest.provenance.get(BLOOD_ENTRY)
    if blood is not None:
        wanted = _blood_range(cine.array[frame], found[0], float(blood), wanted)
    how = {
        "moved": True,
        "turn_deg": round(turn, 2),
        "mirrored": mirrored,
        "end_diastole_frame": frame,
        "brightness": "percentiles" if blood is None else "blood",
    }
    return _bright(values, transform, wanted, mirrored, how)


def is_own(cine: Cine, manifest: BundleManifest, grid: ModelGrid) -> bool:
    """Whether a cine was made by the bundle and still lies on its grid."""
    return (
        bool(cine.meta.get("synthetic"))
        and cine.meta.get("model") == manifest.name
        and cine.shape == grid.shape
        and np.allclose(cine.spacing, grid.spacing_mm, rtol=1e-3)
    )


def _bright(
    values: NDArray[np.float32], transform: GridTransform, wanted: IntensityRange, mirrored: bool, how: dict[str, Any]
) -> PlacedCine:
    """From the whole range of the source's grey values to that of the model."""
    array = wanted.scale(transform.intensity.unscale(values))
    valid = np.flatnonzero(transform.slice_valid)
    nearest = np.abs(np.arange(array.shape[1])[:, None] - valid[None]).argmin(axis=1)
    array = np.ascontiguousarray(array[:, valid[nearest]])
    return PlacedCine(array, replace(transform, intensity=wanted), mirrored, how)


def _labels(cine: Cine, labels: Segmentation | None, weights: Weights) -> tuple[int, NDArray[np.uint8]]:
    """Frame of end-diastole, and labels (N, Z, Y, X) of some frames, that one first."""
    if labels is not None:
        if labels.shape != cine.shape:
            raise CardioDiTError(
                f"The labels have shape {labels.shape}, the cine has {cine.shape}.", "Give labels of this very cine."
            )
        if not np.allclose(labels.affine, cine.affine, atol=1e-2):
            raise CardioDiTError(
                "The labels do not lie where the cine lies, or their voxels are stored in another order.",
                "Give labels of this very cine.",
            )
        frame = int((labels.array == _LEFT_VENTRICLE).sum(axis=(1, 2, 3)).argmax())
        return frame, labels.array[[frame]]
    told = estimate_end_diastole_frame(cine)
    start = told or 0
    count = min(cine.n_frames, 2 * FRAMES if told is None else FRAMES)
    # Evenly over the cycle, end-diastole first; neighbours in time, as segmentation expects them.
    chosen = (start + np.linspace(0, cine.n_frames, count, endpoint=False).astype(int)) % cine.n_frames
    part = Cine(cine.array[chosen], cine.affine, np.arange(len(chosen)) * cine.cycle_s / len(chosen))
    found = segment(part, weights=weights).array
    if told is None:
        largest = int((found == _LEFT_VENTRICLE).sum(axis=(1, 2, 3)).argmax())
        found, start = np.roll(found, -largest, axis=0), int(chosen[largest])
    if not (found[0] == _LEFT_VENTRICLE).any():
        raise CardioDiTError(
            "No left ventricle was found in this cine.", "Check that it is a short-axis cine, or give labels of it."
        )
    return start, found


def _is_mirrored(cine: Cine, labels: NDArray[np.uint8]) -> bool:
    """Whether the picture shows the heart from the base: columns, rows and the way to the apex are then right-handed.

    Files whose planes lie along the patient's axes have lost their direction cosines, and are taken as they are.
    """
    if base_end(cine.affine) is None:
        return False
    axes = cine.affine[:3, :3] / np.linalg.norm(cine.affine[:3, :3], axis=0)
    end = base_end(cine.affine, labels)
    to_apex = axes[:, 2] if end == "first" else -axes[:, 2]
    # Labels and directions that contradict each other: one of them is wrong, so nothing is reversed.
    if to_apex @ APEX_DIRECTION < 0:
        return False
    return float(np.cross(axes[:, 0], axes[:, 1]) @ to_apex) > 0


def _columns_reversed(cine: Cine) -> Cine:
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = cine.shape[3] - 1
    return Cine(cine.array[..., ::-1], cine.affine @ flip, cine.frame_times, cine.meta)


def _centre(cine: Cine, labels: NDArray[np.uint8], turn_deg: float, grid: ModelGrid) -> NDArray[np.float64]:
    """mm RAS of the grid's middle: that of the box around the heart in the turned picture, as in training."""
    spacing = cine.spacing
    last = base_end(cine.affine, labels[None]) == "last"
    ordered = labels[::-1] if last else labels
    places, _ = choose_slices(ordered, spacing[2], grid.slices, grid.spacing_mm[2])
    slices = np.unique(np.clip(np.round(places[1:-1]).astype(int), 0, len(labels) - 1))
    where = np.nonzero(ordered[slices] > 0)
    angle = math.radians(turn_deg)
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = (np.stack([where[2], where[1]], axis=1) * np.array(spacing[:2])) @ turned
    box = turned @ ((np.percentile(points, 1, axis=0) + np.percentile(points, 99, axis=0)) / 2)
    z = places[0] + (grid.slices - 1) / 2 * grid.spacing_mm[2] / spacing[2]
    z = len(labels) - 1 - z if last else z
    index = [box[0] / spacing[0], box[1] / spacing[1], z, 1.0]
    return np.asarray((np.asarray(cine.affine) @ index)[:3], dtype=np.float64)


def _blood_range(image: NDArray[Any], labels: NDArray[np.uint8], grey: float, usual: IntensityRange) -> IntensityRange:
    """The range in which the left ventricle's blood has its grey value of training."""
    inner = ndimage.binary_erosion(labels == _LEFT_VENTRICLE, np.ones((1, 3, 3)))
    if inner.sum() < _FEWEST_VOXELS:
        return usual
    blood = float(np.median(image[inner]))
    if blood <= usual.low:
        return usual
    return IntensityRange(usual.low, usual.low + (blood - usual.low) * 255.0 / grey)
