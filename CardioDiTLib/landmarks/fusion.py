"""Fusion of two sets of points, a network's and those from labels, on the same frames and slices."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.landmarks.angle_check import LOW, turned_pairs


@dataclass(frozen=True)
class FusionRule:
    """Chosen on cines that neither network was trained on.

    Attributes:
        apart_mm: Points closer than this are taken for the same point: their weighted mean is used. Of two that lie
            farther apart the one whose pair does not turn away from the others of its source is taken, else the one
            that fits the points that both sources agree on in the neighbouring slices and frames, the network's where
            there are none.
        label_weight: Weight of a point from labels, whose confidence is a share of contact, against one of the network.
        network_alone: Confidence that a point of the network needs where the labels have none.
        labels_alone: Confidence that a point from labels needs in the first and the last slice of a frame with points,
            where the network has none and `known_share` is reached; above 1: never. Between other slices with points no
            confidence is needed, since the septum is continuous.
        known_share: Share of the points from labels that the network has to find too. Below it the images are taken to
            differ from those of its training: points from labels are then taken also where the network has none.
    """

    apart_mm: float = 12.0
    label_weight: float = 0.5
    network_alone: float = 0.8
    labels_alone: float = 0.4
    known_share: float = 0.75


def fused_tracks(network: LandmarkTrack, labels: LandmarkTrack, rule: FusionRule | None = None) -> LandmarkTrack:
    """Brings two tracks together.

    The order of points from labels follows from a walk around the left ventricle; a network can exchange the two:
    where its pair fits the labels' pair better with the names exchanged, they are exchanged first.

    Args:
        network: Points of a network.
        labels: Points from labels, same frames and slices.
        rule: None for the default.

    Returns:
        The fused track; confidence is that of the point that was taken, or the weighted mean of two that agree, and
        half of it where only one of the two has a point. A pair of which one point lies farther apart than `apart_mm`
        in both has `LOW` at most. The meta says under "landmarks" what was fused.
    """
    rule = rule or FusionRule()
    points, sureness = network.points.copy(), np.where(network.found, network.confidence, 0.0)
    exchanged = _exchanged(points, labels.points)
    points[exchanged], sureness[exchanged] = points[exchanged][:, ::-1], sureness[exchanged][:, ::-1]
    seen, walked = ~np.isnan(points[..., 0]), labels.found
    other = np.where(walked, np.nan_to_num(labels.confidence), 0.0)

    weight = rule.label_weight * other / np.maximum(rule.label_weight * other + sureness, 1e-9)
    mean = (1 - weight)[..., None] * points + weight[..., None] * labels.points
    agree = seen & walked & (_distance(points, labels.points) <= rule.apart_mm)
    apart = seen & walked & ~agree
    fits_labels = _nearer_to_neighbours(points, labels.points, np.where(agree[..., None], mean, np.nan)) & apart
    # a pair whose line turns away from the others of its source gives way to one whose line does not
    doubted, other_doubted = turned_pairs(points)[..., None], turned_pairs(labels.points)[..., None]
    fits_labels = np.where(doubted == other_doubted, fits_labels, doubted & apart)
    known = bool((seen & walked).sum() >= rule.known_share * walked.sum())
    within = _between_others((seen & walked) | (seen & (sureness >= rule.network_alone)))
    needed = np.where(within | (not known), 0.0, rule.labels_alone)
    result = np.full(points.shape, np.nan)
    confidence = np.zeros(sureness.shape)
    alone = (apart & ~fits_labels) | (seen & ~walked & (sureness >= rule.network_alone))
    only_labels = fits_labels | (walked & ~seen & (other >= needed))
    for where, values, sure in (
        (agree, mean, (1 - weight) * sureness + weight * other),
        (alone, points, sureness / 2),
        (only_labels, labels.points, other / 2),
    ):
        result[where], confidence[where] = values[where], sure[where]
    # Two sources that name different places: whichever was taken, half of its own confidence is too much.
    torn = apart.any(axis=-1) & (confidence > 0).any(axis=-1)
    confidence[torn] = np.minimum(confidence[torn], LOW)
    about = {
        **network.meta.get("landmarks", {}),
        "source": "network and segmentation",
        "fusion": asdict(rule),
        "network_knows_cine": known,
        "agreeing": int(agree.sum()),
        "network_alone": int(alone.sum()),
        "labels_alone": int(only_labels.sum()),
    }
    # Labels show the shape of the heart, by which the header is judged; points alone do not.
    if told := labels.meta.get("landmarks", {}).get("naming_note"):
        about["naming_note"] = told
    meta = {**labels.meta, **network.meta, "landmarks": about}
    return LandmarkTrack(result, np.clip(confidence, 0, 1), network.frame_times, meta)


def _between_others(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T, Z, 2): slices with such points on both sides of them, in the same frame."""
    before = np.maximum.accumulate(there, axis=1)
    after = np.maximum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(before & after)


def _nearer_to_neighbours(
    points: NDArray[np.float64], labels: NDArray[np.float64], agreed: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(T, Z, 2): where the labels' point is the nearer one to agreed points one slice or one frame (cyclic) away."""
    sums, counts = np.zeros(agreed.shape), np.zeros(agreed.shape[:3])
    padded = np.full((agreed.shape[0], agreed.shape[1] + 2, *agreed.shape[2:]), np.nan)
    padded[:, 1:-1] = agreed
    near = [padded[:, :-2], padded[:, 2:]]
    if len(agreed) > 2:
        near += [np.roll(agreed, 1, axis=0), np.roll(agreed, -1, axis=0)]
    for one in near:
        there = ~np.isnan(one[..., 0])
        sums += np.where(there[..., None], one, 0.0)
        counts += there
    middle = np.where(counts[..., None] > 0, sums / np.maximum(counts, 1)[..., None], np.nan)
    return np.asarray(_distance(labels, middle) < _distance(points, middle))  # False where nothing is agreed


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(np.linalg.norm(one - other, axis=-1), nan=np.inf))


def _exchanged(points: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(T, Z), True where both have both points and they fit better crosswise."""
    straight = np.linalg.norm(points - labels, axis=-1).sum(axis=-1)
    across = np.linalg.norm(points - labels[:, :, ::-1], axis=-1).sum(axis=-1)
    return np.asarray(across < straight)  # False where either is NaN
