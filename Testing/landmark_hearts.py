"""Made-up hearts and tracks for the tests of landmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data.orientation import short_axis_affine

DATA = Path(__file__).parent / "data"


def published(name: str) -> dict[str, Any]:
    """Check data: what the published functions return for made-up inputs."""
    return json.loads((DATA / f"rvip_{name}.json").read_text(encoding="utf-8"))


def decoded(runs: list[list[int]], shape: list[int]) -> np.ndarray:
    """A mask from [value, run length] in row-major order."""
    return np.concatenate([np.full(count, value, np.uint8) for value, count in runs]).reshape(shape)


def numbers(values: Any) -> np.ndarray:
    """Lists with null or "NaN" for missing numbers or points (y, x) as an array with NaN."""

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(part) for part in value]
        return np.nan if value is None or value == "NaN" else value

    return np.array(filled(values), dtype=float)


def points(values: list[Any]) -> np.ndarray:
    """A list of (y, x) with null for missing ones as (N, 2) with NaN."""
    return np.array([[np.nan, np.nan] if point in (None, "NaN") else point for point in values], float).reshape(-1, 2)


def pairs(anterior: list[Any], inferior: list[Any]) -> np.ndarray:
    """(Z, 2, 2) of two lists of points."""
    return np.stack([points(anterior), points(inferior)], axis=1)


def slice_labels(
    y: np.ndarray, x: np.ndarray, radius: float, septum_deg: float = 0.0, reach_mm: float = 24.0
) -> np.ndarray:
    """A short-axis slice at positions in mm, displayed x to the right, y down: the RV is to the left at 0 degrees.

    A disc of the radius is the left ventricle; the right one is a disc of the same radius centred ``reach_mm`` beside
    it, less the left one.
    """
    angle = np.deg2rad(septum_deg)
    cx, cy = -np.cos(angle) * reach_mm, np.sin(angle) * reach_mm
    from_left = np.hypot(y, x)
    labels = np.zeros(np.broadcast(y, x).shape, np.uint8)
    labels[np.hypot(y - cy, x - cx) <= radius] = 1
    labels[from_left <= radius] = 2
    labels[from_left <= 0.65 * radius] = 3
    return labels


def true_corners(radius: float, septum_deg: float = 0.0, reach_mm: float = 24.0) -> np.ndarray:
    """The insertion points (y, x) mm of :func:`slice_labels`: upper then lower at 0 degrees."""
    half = np.arccos(reach_mm / 2.0 / radius)
    middle = np.pi - np.deg2rad(septum_deg)  # of the septum, from the x axis towards y, which runs down
    return np.array([[radius * np.sin(middle + s * half), radius * np.cos(middle + s * half)] for s in (1, -1)])


def heart(
    affine: np.ndarray | None = None, septum_deg: float = 20.0, shape: tuple[int, int, int, int] = (4, 5, 72, 64)
) -> Segmentation:
    """A beating, tapering heart on an oblique short axis: slice 0 at the base, one empty slice at the apex."""
    frames, slices, rows, columns = shape
    if affine is None:
        affine = short_axis_affine((slices, rows, columns), (1.5, 1.5, 10.0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    y = (np.arange(rows) - (rows - 1) / 2.0)[:, None] * spacing[1]
    x = (np.arange(columns) - (columns - 1) / 2.0)[None] * spacing[0]
    array = np.zeros(shape, np.uint8)
    for frame in range(frames):
        for level in range(slices - 1):
            radius = 27.0 - 2.0 * level - 2.0 * np.sin(np.pi * frame / frames)
            array[frame, level] = slice_labels(y - 3.0, x + 2.0 + level, radius, septum_deg)
    return Segmentation(array, affine, np.arange(frames) * 0.05, {"source": "made up"})


def flipped(segmentation: Segmentation, axes: str) -> Segmentation:
    """The same heart with voxel axes of its array mirrored, and the affine to match."""
    array, affine = segmentation.array, segmentation.affine.copy()
    for axis in axes:
        k = "xyz".index(axis)
        array = np.flip(array, 3 - k)
        affine[:3, 3] += affine[:3, k] * (array.shape[3 - k] - 1)
        affine[:3, k] *= -1
    return Segmentation(array, affine, segmentation.frame_times, segmentation.meta)


def quarter_turned(segmentation: Segmentation, turns: int) -> Segmentation:
    """The same heart with its array turned in the plane by quarters, and the affine to match."""
    array, affine = segmentation.array, segmentation.affine.copy()
    for _ in range(turns % 4):
        columns = array.shape[3]
        array = np.rot90(array, axes=(2, 3))  # new (y, x) holds old (x, columns - 1 - y)
        turned = affine.copy()
        turned[:3, 0], turned[:3, 1] = affine[:3, 1], -affine[:3, 0]
        turned[:3, 3] = affine[:3, 3] + affine[:3, 0] * (columns - 1)
        affine = turned
    return Segmentation(array, affine, segmentation.frame_times, segmentation.meta)


def moving_track(frames: int = 20, slices: int = 6, amplitude_mm: float = 8.0) -> LandmarkTrack:
    """Smooth periodic motion, tapering towards the apex, all points there and sure."""
    phase = 2.0 * np.pi * np.arange(frames) / frames
    track = np.zeros((frames, slices, 2, 3))
    for level in range(slices):
        size = 25.0 - 2.0 * level
        inward = amplitude_mm / 2.0 * (1.0 - np.cos(phase))
        for kind, sign in ((0, 1.0), (1, -1.0)):
            track[:, level, kind, 0] = 10.0 + 0.3 * inward
            track[:, level, kind, 1] = sign * (size - 0.6 * inward)
            track[:, level, kind, 2] = -10.0 * level + 0.5 * inward
    return LandmarkTrack(track, np.ones((frames, slices, 2)), np.arange(frames) * 0.04, {"source": "made up"})


def changed(
    track: LandmarkTrack, points: np.ndarray | None = None, confidence: np.ndarray | None = None
) -> LandmarkTrack:
    """The track with other points or confidences; confidence 0 where there is none."""
    points = track.points if points is None else points
    confidence = track.confidence if confidence is None else confidence
    confidence = np.where(np.isnan(points[..., 0]), 0.0, confidence)
    return LandmarkTrack(points, confidence, track.frame_times, track.meta)
