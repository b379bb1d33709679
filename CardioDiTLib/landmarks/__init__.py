"""Right-ventricular insertion points: finding, following and judging them.

============================  ==============================================================
what                          where
============================  ==============================================================
points from labels            ``from_segmentation``, ``septal_walk``, ``naming``, ``contour``
following through the cycle   ``tracking``
judging                       ``metrics``, ``pitfalls``; as published: ``published_metrics``
files                         ``files``
============================  ==============================================================
"""

from __future__ import annotations

from CardioDiTLib.landmarks.files import load_landmarks, save_landmarks
from CardioDiTLib.landmarks.from_segmentation import landmarks_from_segmentation
from CardioDiTLib.landmarks.metrics import evaluate_landmarks
from CardioDiTLib.landmarks.pitfalls import compare_metrics
from CardioDiTLib.landmarks.scores import LandmarkScores
from CardioDiTLib.landmarks.tracking import track_landmarks
from CardioDiTLib.landmarks.tracking_settings import TrackingSettings

__all__ = [
    "LandmarkScores",
    "TrackingSettings",
    "compare_metrics",
    "evaluate_landmarks",
    "landmarks_from_segmentation",
    "load_landmarks",
    "save_landmarks",
    "track_landmarks",
]
