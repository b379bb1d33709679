"""Right-ventricular insertion points: finding, following and judging them.

============================  ========================================================================
what                          where
============================  ========================================================================
points of a cine              ``detect``; ``heatmap``, ``fusion``, ``angle_check``
networks                      ``model``, ``slice_points``; the published one: ``rvip_detector``
points from labels            ``septal_contour``, ``naming``
following through the cycle   ``tracking``
judging                       ``metrics``, ``pitfalls``; as published: ``rvip_metrics``
files                         ``files``
============================  ========================================================================

Networks, and the torch that they bring, are imported when ``detect_landmarks`` is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.landmarks.files import load_landmarks, save_landmarks
from CardioDiTLib.landmarks.metrics import LandmarkScores, evaluate_landmarks
from CardioDiTLib.landmarks.pitfalls import compare_metrics
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import TrackingSettings, track_landmarks

if TYPE_CHECKING:
    from CardioDiTLib.landmarks.detect import detect_landmarks

__all__ = [
    "LandmarkScores",
    "TrackingSettings",
    "compare_metrics",
    "detect_landmarks",
    "evaluate_landmarks",
    "landmarks_from_segmentation",
    "load_landmarks",
    "save_landmarks",
    "track_landmarks",
]


def __getattr__(name: str) -> Any:
    if name != "detect_landmarks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from CardioDiTLib.landmarks.detect import detect_landmarks

    globals()[name] = detect_landmarks
    return detect_landmarks
