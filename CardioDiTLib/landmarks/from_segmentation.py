"""Insertion points of every slice and frame of a segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.io.label_convention import named_segmentation
from CardioDiTLib.landmarks.naming import name_points
from CardioDiTLib.landmarks.septal_walk import SeptalWalk, walk_septum


def landmarks_from_segmentation(
    segmentation: Segmentation, *, swap: bool = False, label_map: Mapping[int, int] | str | None = None
) -> LandmarkTrack:
    """Right-ventricular insertion points from labels of the ventricles.

    In every slice the ends of the septum are found (:func:`~CardioDiTLib.landmarks.septal_walk.walk_septum`); which is
    the anterior one is decided once for all slices and frames, in the patient's coordinates
    (:func:`~CardioDiTLib.landmarks.naming.name_points`). The same heart gives the same points, whichever way its array
    is turned, mirrored or sorted, as long as the affine says so.

    Args:
        segmentation: (T, Z, Y, X), 1 right ventricle, 2 myocardium, 3 left cavity.
        swap: Exchange the names: for pictures that are mirrored but do not say so.
        label_map: From its labels to 0 background, 1 RV, 2 myocardium, 3 LV, or the name of a convention; None to
            take them as said above unless the anatomy contradicts (:func:`~CardioDiTLib.io.label_convention`).

    Returns:
        Points (T, Z, 2, 3) mm RAS, anterior then inferior, on the myocardium's outer border and in the slice's plane;
        NaN where a slice has no septum. Confidence (T, Z, 2): see :class:`SeptalWalk`; 0 where there is no point. The
        meta says under "landmarks" how the points were named.

    Examples:
        >>> track = landmarks_from_segmentation(load_segmentation("heart.nii.gz"))  # doctest: +SKIP
        >>> anterior_mm = track.points[0, 4, 0]  # doctest: +SKIP
    """
    segmentation, note = named_segmentation(segmentation, label_map)
    frames, slices = segmentation.n_frames, segmentation.n_slices
    spacing = segmentation.spacing
    walks: dict[tuple[int, int], SeptalWalk] = {}
    for frame in range(frames):
        for level in range(slices):
            walk = walk_septum(segmentation.array[frame, level], (spacing[1], spacing[0]))
            if walk is not None:
                walks[frame, level] = walk
    pixels = np.array(
        [[(p[1], p[0], level) for p in (walk.first, walk.second)] for (_, level), walk in walks.items()]
    ).reshape(-1, 2, 3)
    ras = segmentation.index_to_ras(pixels)
    septum_mm = np.array([walk.septum_mm for walk in walks.values()])
    naming = name_points(segmentation.affine, segmentation.meta, ras[:, 0], ras[:, 1], septum_mm)
    if naming.first_is_anterior == swap:
        ras = ras[:, ::-1]

    points = np.full((frames, slices, 2, 3), np.nan)
    confidence = np.zeros((frames, slices, 2))
    for (place, walk), pair in zip(walks.items(), ras):
        points[place], confidence[place] = pair, walk.confidence
    about: dict[str, Any] = {"source": "segmentation", "named_by": naming.rule, "swapped": swap}
    if np.isfinite(naming.agreement):
        about["agreement"] = naming.agreement
    if naming.note:
        about["naming_note"] = naming.note
    if note:
        about["label_note"] = note
    return LandmarkTrack(points, confidence, segmentation.frame_times, {**segmentation.meta, "landmarks": about})
