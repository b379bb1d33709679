"""Where a synthetic heart lies in the patient's coordinates, and when its frames are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.grid import BundleGrid


def cine_affine(manifest: BundleManifest, grid: BundleGrid | None = None) -> NDArray[np.float64]:
    """4x4, index (x, y, z) to mm in RAS, of the cines of a bundle.

    The bundle's own where it has one. Otherwise a plausible oblique short axis: slice 0 at the base, slices running to
    the patient's left, front and feet (the apex); columns running to the left, so that the right ventricle is on the
    left of the picture; rows running backward, so that the front wall is on top. Base first with this picture makes
    the axes left-handed, as in many scanners' files. `grid` is that of the cine where it is not the bundle's.
    """
    if manifest.affine is not None:
        return np.array(manifest.affine, dtype=np.float64)
    grid = grid or manifest.grid
    return short_axis_affine((grid.slices, grid.height, grid.width), grid.spacing_mm)


def cine_frame_times(
    manifest: BundleManifest, cycle_s: float | None = None, grid: BundleGrid | None = None
) -> NDArray[np.float64]:
    """(T,) seconds: the frames spread evenly over a cycle of `cycle_s` seconds; None for the bundle's."""
    frames = (grid or manifest.grid).frames
    interval_s = (cycle_s or manifest.grid.cycle_s) / frames
    return np.arange(frames, dtype=np.float64) * interval_s
