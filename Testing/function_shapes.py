"""Made-up ventricles of which volume, thickness and insertion points are known, for the tests of ``function``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack, Segmentation

SHAPE = (10, 96, 110)
SPACING = (1.4, 1.4, 10.0)


def oblique_affine(spacing: tuple[float, float, float], shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float64]:
    """A short axis as it is planned: the slices run from the base to the apex, which points left, forward and down."""
    apex = np.array([-0.58, 0.52, -0.63]) / np.linalg.norm([-0.58, 0.52, -0.63])
    x = np.array([-0.80, -0.10, 0.60])
    x -= (x @ apex) * apex
    x /= np.linalg.norm(x)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([x, np.cross(-apex, x), apex]) * spacing
    affine[:3, 3] = np.array([-20.0, 15.0, -10.0]) - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2.0)
    return affine


def plane_mm(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[NDArray, NDArray]:
    """x and y of every pixel from the middle of the picture, mm."""
    x = (np.arange(shape[2]) - (shape[2] - 1) / 2.0)[None, :] * spacing[0]
    y = (np.arange(shape[1]) - (shape[1] - 1) / 2.0)[:, None] * spacing[1]
    return np.broadcast_arrays(x, y)


def ventricles(
    inner_mm: NDArray[np.float64],
    outer_mm: NDArray[np.float64],
    *,
    rv: bool = True,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
    cycle_s: float = 1.0,
    affine: NDArray[np.float64] | None = None,
    half_septum_deg: float = 60.0,
    wall=None,
    meta: dict | None = None,
) -> tuple[Segmentation, LandmarkTrack]:
    """Round left ventricles of given radii with a right one on the left of the picture, and their insertion points.

    Args:
        inner_mm: (T, Z) radius of the cavity, 0 where there is none.
        outer_mm: (T, Z) radius of the outer wall, 0 where there is none.
        rv: Draw a right ventricle, 25 mm wide, in slices with a cavity.
        shape: (Z, Y, X).
        spacing: (x, y, z) mm.
        cycle_s: Seconds of the cycle.
        affine: Geometry; an oblique short axis where it is None.
        half_septum_deg: Half of the septum's arc; its middle lies to the left.
        wall: Replaces the outer radius by `wall(angle, outer)`, where the angle is that in the usual view: 0 to the
            right of the picture, pi/2 up.
        meta: Provenance.
    """
    frames = len(inner_mm)
    x, y = plane_mm(shape, spacing)
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    labels = np.zeros((frames, *shape), np.uint8)
    index = np.full((frames, shape[0], 2, 3), np.nan)
    half = np.radians(half_septum_deg)
    for t in range(frames):
        for z in range(shape[0]):
            inner, outer = inner_mm[t, z], outer_mm[t, z]
            if outer <= 0:
                continue
            rim = wall(angle, outer) if wall is not None else np.full_like(radius, outer)
            away = np.abs(np.mod(angle - np.pi + np.pi, 2 * np.pi) - np.pi)
            if rv and inner > 0:
                labels[t, z][(radius >= rim) & (radius < rim + 25.0) & (away < half)] = 1
                for side, sign in enumerate((-1.0, 1.0)):  # anterior: up in the picture
                    a = np.pi + sign * half
                    here = float(wall(np.array(a), outer)) if wall is not None else outer
                    index[t, z, side] = (
                        here * np.cos(a) / spacing[0] + (shape[2] - 1) / 2.0,
                        -here * np.sin(a) / spacing[1] + (shape[1] - 1) / 2.0,
                        z,
                    )
            labels[t, z][radius < rim] = 2
            labels[t, z][radius < inner] = 3
    matrix = oblique_affine(spacing, shape) if affine is None else affine
    times = np.arange(frames) * cycle_s / frames
    segmentation = Segmentation(labels, matrix, times, {} if meta is None else meta)
    points = segmentation.index_to_ras(index)
    return segmentation, LandmarkTrack(points, np.where(np.isnan(points[..., 0]), 0.0, 1.0), times)


def beating(
    frames: int = 20, ed_mm: float = 24.0, es_mm: float = 16.0, wall_mm: float = 9.0, **other
) -> tuple[Segmentation, LandmarkTrack]:
    """Cylinders of slices 1 to 7 with a cap of muscle in slice 8, cosine radius from ED (frame 0) to ES (T / 2)."""
    shape = other.get("shape", SHAPE)
    swing = (1.0 + np.cos(2 * np.pi * np.arange(frames) / frames)) / 2.0
    taper = np.zeros(shape[0])
    taper[1:8] = [1.0, 1.0, 0.97, 0.92, 0.85, 0.72, 0.55]
    inner = (es_mm + (ed_mm - es_mm) * swing)[:, None] * taper
    thick = wall_mm + 3.0 * (1.0 - swing)[:, None]
    outer = np.where(inner > 0, inner + thick, 0.0)
    outer[:, 8] = 9.0
    return ventricles(inner, outer, **other)


def stored_otherwise(
    segmentation: Segmentation, landmarks: LandmarkTrack, *, flips: tuple[int, ...] = (), transpose: bool = False
) -> tuple[Segmentation, LandmarkTrack]:
    """The same heart in the same place, in an array that is mirrored along axes (1 Z, 2 Y, 3 X) or turned.

    Args:
        segmentation: Labels.
        landmarks: Points.
        flips: Array axes that are reversed, the affine with them.
        transpose: Exchange rows and columns.
    """
    array, affine = segmentation.array, segmentation.affine.copy()
    points, confidence = landmarks.points, landmarks.confidence
    for axis in flips:
        column = 3 - axis
        affine[:3, 3] += affine[:3, column] * (array.shape[axis] - 1)
        affine[:3, column] *= -1
        array = np.flip(array, axis)
        if axis == 1:
            points, confidence = np.flip(points, 1), np.flip(confidence, 1)
    if transpose:
        array, affine = array.swapaxes(2, 3), affine[:, [1, 0, 2, 3]]
    return (
        Segmentation(array, affine, segmentation.frame_times, segmentation.meta),
        LandmarkTrack(points, confidence, landmarks.frame_times, landmarks.meta),
    )
