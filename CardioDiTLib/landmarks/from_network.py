"""Insertion points of every slice and frame of a cine, found by a network and named in the patient's coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.stopping import Stop
from CardioDiTLib.cine import Cine, LandmarkTrack
from CardioDiTLib.landmarks.cine_points import CinePoints, Progress, find_points
from CardioDiTLib.landmarks.manifest import WEIGHTS_NAME
from CardioDiTLib.landmarks.model import LandmarkModel
from CardioDiTLib.landmarks.naming import name_points

LARGEST_TURN_COSINE = -0.3
"""A pair that points this much against the septum of all slices and frames was met the wrong way round."""


def landmarks_from_network(
    cine: Cine,
    model: LandmarkModel,
    *,
    device: torch.device | None = None,
    batch: int = 8,
    views: int = 4,
    swap: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> LandmarkTrack:
    """Points of a network, named as those from labels are (:mod:`~CardioDiTLib.landmarks.naming`).

    Args:
        cine: Any spacing, size and orientation.
        model: Ours or the published one.
        device: None is the CPU.
        batch: Slices at once.
        views: See `find_points`.
        swap: Exchange the names: for pictures that are mirrored but do not say so.
        progress: Called with (frames done, frames in all).
        stop: Asked before every batch.

    Returns:
        Points (T, Z, 2, 3) mm RAS, anterior then inferior, NaN where the presence is below the model's threshold;
        confidence (T, Z, 2): presence times how much of the heat lies at the point; 0 where there is none.

    Raises:
        CardioDiTError: The images are blank.
        Cancelled: `stop` said so.
    """
    seen = find_points(cine, model, device=device, batch=batch, views=views, progress=progress, stop=stop)
    return named_track(cine, seen, model, swap=swap)


def named_track(cine: Cine, seen: CinePoints, model: LandmarkModel, *, swap: bool = False) -> LandmarkTrack:
    """Keeps what is likely, and names it; see `landmarks_from_network`."""
    frames, slices = cine.n_frames, cine.n_slices
    levels = np.broadcast_to(np.arange(slices, dtype=np.float64)[None, :, None, None], (frames, slices, 2, 1))
    ras = cine.index_to_ras(np.concatenate([seen.pixels, levels], axis=-1))
    likely = seen.presence >= model.manifest.rule.presence
    found: NDArray[np.bool_] = np.asarray(likely & ~np.isnan(ras).any(axis=-1), np.bool_)
    confidence = np.clip(seen.presence * seen.certainty, 0.0, 1.0)
    turned = _met_the_wrong_way_round(ras, found, confidence)
    ras[turned], found[turned], confidence[turned] = (
        ras[turned][:, ::-1],
        found[turned][:, ::-1],
        confidence[turned][:, ::-1],
    )
    both: NDArray[np.bool_] = np.asarray(found.all(axis=-1))
    length = np.linalg.norm(ras[both][:, 0] - ras[both][:, 1], axis=-1)
    naming = name_points(cine.affine, cine.meta, ras[both][:, 0], ras[both][:, 1], length)
    if naming.first_is_anterior == swap:
        ras, found, confidence = ras[:, :, ::-1], found[:, :, ::-1], confidence[:, :, ::-1]
    record = model.manifest.files.get(WEIGHTS_NAME)
    about: dict[str, Any] = {
        "source": "network",
        "name": model.manifest.name,
        "version": model.manifest.version,
        "sha256": record.sha256 if record else "",
        "named_by": naming.rule,
        "swapped": swap,
        "turned_slices": int(turned.sum()),
    }
    if np.isfinite(naming.agreement):
        about["agreement"] = naming.agreement
    if naming.note:
        about["naming_note"] = naming.note
    return LandmarkTrack(
        np.where(found[..., None], ras, np.nan),
        np.where(found, confidence, 0.0),
        cine.frame_times,
        {**cine.meta, "landmarks": about},
    )


def _met_the_wrong_way_round(
    ras: NDArray[np.float64], found: NDArray[np.bool_], confidence: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(T, Z), True for pairs that point against all others: the septum turns, but not by so much within a heart."""
    both: NDArray[np.bool_] = np.asarray(found.all(axis=-1))
    chord = np.where(both[..., None], ras[:, :, 0] - ras[:, :, 1], 0.0)
    length = np.linalg.norm(chord, axis=-1)
    unit = chord / np.maximum(length, 1e-9)[..., None]
    mean = (unit * (length * confidence.min(axis=-1))[..., None]).sum(axis=(0, 1))
    size = float(np.linalg.norm(mean))
    if size < 1e-9:
        return np.zeros(both.shape, bool)
    return np.asarray(both & (unit @ (mean / size) < LARGEST_TURN_COSINE))
