"""Judging a landmark network on the cines that a pack keeps aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ..data.packing import PackedCines
from ..landmarks.metrics import septum_angle_differences
from ..landmarks.slice_points import SlicePoints
from .landmark_references import PackReferences

HIT_MM = 15.0
PRESENCE = 0.5

Predict = Callable[[int, NDArray[np.uint8]], SlicePoints]
"""(index of the cine, planes (Z, Y, X)) -> points in pixels of these planes."""


def validation_scores(
    data: PackedCines, references: PackReferences, systole: NDArray[np.int64], indices: Iterable[int], predict: Predict
) -> dict[str, float]:
    """Distances, recall and precision at end-diastole and end-systole, pooled over some cines.

    A point is given where its presence is at least one half. The first point of the walk is the anterior one in a
    picture seen from the apex.

    Args:
        data: The pack.
        references: Its points.
        systole: (N,) frame of end-systole.
        indices: Which cines.
        predict: The network.

    Returns:
        What `point_scores` gives; empty where there is no cine.
    """
    found, truth = [], []
    scale = np.asarray(data.spacing[:2])
    for index in indices:
        valid = np.nonzero(data.slice_valid[index])[0]
        for frame in (0, int(systole[index])):
            seen = predict(int(index), data.images[index, frame, valid])
            found.append(np.where(seen.presence[..., None] >= PRESENCE, seen.places * scale, np.nan))
            truth.append(np.stack([references.points(int(index), frame, int(z))[0] for z in valid]) * scale)
    return point_scores(np.concatenate(found), np.concatenate(truth)) if found else {}


def point_scores(found: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """How well points agree.

    Args:
        found: (S, 2, 2) mm, first and second point of each slice, NaN where there is none.
        truth: The same.

    Returns:
        "first_mm" and "second_mm" (medians where point and reference are), "recall" and "precision" at 15 mm, and
        "angle_deg" (median); NaN where nothing is to be counted.
    """
    distance = np.linalg.norm(found - truth, axis=-1)
    both = np.isfinite(distance)
    hits = float((distance <= HIT_MM).sum())
    labelled, given = float(np.isfinite(truth[..., 0]).sum()), float(np.isfinite(found[..., 0]).sum())
    predicted, true = (np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1) for points in (found, truth))
    angles = septum_angle_differences(predicted, true)
    return {
        "first_mm": _median(distance[both[:, 0], 0]),
        "second_mm": _median(distance[both[:, 1], 1]),
        "recall": hits / labelled if labelled else float("nan"),
        "precision": hits / given if given else float("nan"),
        "angle_deg": _median(angles[np.isfinite(angles)]),
    }


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
