"""The published definitions of the metrics, under their names and with their faults, so that numbers stay comparable.

Points are (y, x) in pixels of the slice, as arrays (Z, 2) of one kind (anterior or inferior) or (Z, 2, 2) with the kind
on the second axis, anterior first; NaN where there is none. Millimetres are pixels times one spacing: square pixels are
assumed. Use :func:`~CardioDiTLib.landmarks.metrics.evaluate_landmarks` for numbers to rely on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError

FRAME_PX = 224
"""Side of the picture whose corners bound the penalty of a missed point."""

NO_THRESHOLD = 1000.0
"""Distance within which a prediction counts as found where no threshold is wanted; in pixels, at spacing 1."""

THRESHOLD_MM = 15.0

MISSING_ANGLE_DEG = 180.0
"""What a missing prediction costs in the upper bound of the angle."""

JUDGED = {"predicted": "", "second_observer": "_io", "from_segmentation": "_msk"}
_KINDS = ("ant", "inf")


def line_points(points: ArrayLike) -> NDArray[np.float64]:
    """Keep slices that have both points ("line"); single points are removed. (Z, 2, 2) to (Z, 2, 2)."""
    pairs = _pairs(points).copy()
    pairs[np.isnan(pairs).any(axis=(1, 2))] = np.nan
    return pairs


def volume_mean_points(points: ArrayLike) -> NDArray[np.float64]:
    """Mean anterior and inferior point over the slices that have it, (2, 2).

    Fault: each kind, and each side of a comparison, is averaged over its own slices; if one kind is missing
    everywhere, both are NaN.
    """
    pairs = _pairs(points)
    means = np.full((2, 2), np.nan)
    present = _present(pairs)
    if present.any(axis=0).all():
        for kind in (0, 1):
            means[kind] = pairs[present[:, kind], kind].mean(axis=0)
    return means


def volume_distances(truth: ArrayLike, predicted: ArrayLike, spacing_mm: float) -> NDArray[np.float64]:
    """Volume-based distance of the anterior and the inferior point, (2,) mm.

    Faults: errors of opposite direction cancel; the means may be of different slices.
    """
    difference = volume_mean_points(truth) - volume_mean_points(predicted)
    return np.asarray(np.hypot(difference[:, 0], difference[:, 1]) * spacing_mm)


def slice_distances(
    truth: ArrayLike, predicted: ArrayLike, spacing_mm: float, threshold_mm: float | None = None
) -> NDArray[np.float64]:
    """Distance in each slice, (Z, 2) mm; NaN where either point is missing, or beyond a threshold (inclusive)."""
    difference = _pairs(truth) - _pairs(predicted)
    distances = np.hypot(difference[..., 0], difference[..., 1]) * spacing_mm
    if threshold_mm is not None:
        distances[~(distances <= threshold_mm)] = np.nan
    return np.asarray(distances)


def slice_distances_upper_bound(
    truth: ArrayLike, predicted: ArrayLike, spacing_mm: float, frame_px: float = FRAME_PX
) -> NDArray[np.float64]:
    """Slice distances where a miss costs the way to the farthest corner of a fixed frame, (Z, 2) mm.

    Faults: the penalty grows with the pixel size and does not know the picture's real size; predictions in slices
    without a label cost nothing; points that are far off are not bounded.
    """
    labelled, found = _pairs(truth), _pairs(predicted)
    distances = slice_distances(labelled, found, spacing_mm)
    corners = np.array([[0.0, 0.0], [0.0, frame_px], [frame_px, 0.0], [frame_px, frame_px]])
    to_corners = np.linalg.norm(labelled[:, :, None] - corners, axis=-1).max(axis=-1) * spacing_mm
    missed = _present(labelled) & ~_present(found)
    return np.asarray(np.where(missed, to_corners, distances))


def mean_over_slices(values: ArrayLike) -> NDArray[np.float64]:
    """Mean of each column over the slices that have a value; NaN where none has."""
    table = np.asarray(values, dtype=np.float64)
    count = (~np.isnan(table)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, np.nansum(table, axis=0) / count, np.nan))


def true_positive_rate(
    truth: ArrayLike, predicted: ArrayLike, spacing: float = 1.0, threshold: float = NO_THRESHOLD
) -> NDArray[np.float64]:
    """ "TPR" of the anterior and the inferior point, (2,).

    Faults: a prediction beyond the threshold is neither hit nor miss, so it leaves the denominator; a volume with
    nothing to find has rate 0.
    """
    hits, missed, _ = _counts(truth, predicted, spacing, threshold)
    return _rate(hits, missed)


def positive_predictive_value(
    truth: ArrayLike, predicted: ArrayLike, spacing: float = 1.0, threshold: float = NO_THRESHOLD
) -> NDArray[np.float64]:
    """ "PPV" of the anterior and the inferior point, (2,); 0 where there is no hit, even if nothing was predicted."""
    hits, _, false = _counts(truth, predicted, spacing, threshold)
    return _rate(hits, false)


def septum_angle(anterior: ArrayLike, inferior: ArrayLike) -> float:
    """Angle of the vector from the anterior to the inferior point, degrees in [0, 360), x to the right and y down.

    90 is straight down. NaN where a coordinate is. Fault: points that coincide have angle 0 instead of none.

    Args:
        anterior: (y, x).
        inferior: (y, x).
    """
    start, end = np.asarray(anterior, dtype=np.float64), np.asarray(inferior, dtype=np.float64)
    angle = float(np.degrees(np.arctan2(end[0] - start[0], end[1] - start[1])))
    return angle + 360.0 if angle < 0 else angle


def septum_angles(points: ArrayLike) -> NDArray[np.float64]:
    """Angle in each slice, (Z,) degrees, NaN without both points."""
    return np.array([septum_angle(anterior, inferior) for anterior, inferior in _pairs(points)], dtype=np.float64)


def angle_difference(first_deg: float, second_deg: float) -> float:
    """Plain difference of two angles. Fault: 359 and 1 degree differ by 358."""
    return abs(first_deg - second_deg)


def mean_angle_difference(truth_deg: ArrayLike, predicted_deg: ArrayLike, upper_bound: bool = False) -> float:
    """Mean of plain differences over slices with both angles; NaN where there are none.

    Args:
        truth_deg: (Z,) degrees, NaN where there is none.
        predicted_deg: (Z,).
        upper_bound: A labelled slice without prediction counts as 180 degrees.
    """
    truth, predicted = np.asarray(truth_deg, dtype=np.float64), np.asarray(predicted_deg, dtype=np.float64)
    differences = np.abs(truth - predicted)
    if upper_bound:
        differences[~np.isnan(truth) & np.isnan(predicted)] = MISSING_ANGLE_DEG
    return float(mean_over_slices(differences))


@dataclass(frozen=True)
class RvipRow:
    """One volume's row of the published table; pairs are (anterior, inferior), NaN where undefined.

    Attributes:
        volume_mm: Distance of mean points.
        volume_angle_deg: Plain difference of the angles of the mean points.
        slice_mm: Mean distance over slices.
        slice_upper_bound_mm: The same with the penalty for misses.
        tpr: Without a threshold.
        ppv: Without a threshold.
        tpr_15mm: With 15 mm.
        ppv_15mm: With 15 mm.
    """

    volume_mm: tuple[float, float]
    volume_angle_deg: float
    slice_mm: tuple[float, float]
    slice_upper_bound_mm: tuple[float, float]
    tpr: tuple[float, float]
    ppv: tuple[float, float]
    tpr_15mm: tuple[float, float]
    ppv_15mm: tuple[float, float]


def rvip_row(truth: ArrayLike, predicted: ArrayLike, spacing_mm: float, line: bool) -> RvipRow:
    """All published metrics of one volume.

    Args:
        truth: (Z, 2, 2) pixels (y, x). As in the published code, single labels are removed whatever ``line`` is.
        predicted: (Z, 2, 2).
        spacing_mm: Pixel size.
        line: Remove single points from the prediction too ("line"); otherwise keep them ("points").
    """
    labelled = line_points(truth)
    found = line_points(predicted) if line else _pairs(predicted)
    angles = [septum_angle(*volume_mean_points(points)) for points in (labelled, found)]

    def pair(values: NDArray[np.float64]) -> tuple[float, float]:
        return float(values[0]), float(values[1])

    return RvipRow(
        volume_mm=pair(volume_distances(labelled, found, spacing_mm)),
        volume_angle_deg=angle_difference(*angles),
        slice_mm=pair(mean_over_slices(slice_distances(labelled, found, spacing_mm))),
        slice_upper_bound_mm=pair(mean_over_slices(slice_distances_upper_bound(labelled, found, spacing_mm))),
        tpr=pair(true_positive_rate(labelled, found)),
        ppv=pair(positive_predictive_value(labelled, found)),
        tpr_15mm=pair(true_positive_rate(labelled, found, spacing_mm, THRESHOLD_MM)),
        ppv_15mm=pair(positive_predictive_value(labelled, found, spacing_mm, THRESHOLD_MM)),
    )


def _pairs(points: ArrayLike) -> NDArray[np.float64]:
    pairs = np.asarray(points, dtype=np.float64)
    if pairs.ndim != 3 or pairs.shape[1:] != (2, 2):
        raise CardioDiTError(
            f"The points of a volume have shape (Z, 2, 2), these have {pairs.shape}.",
            "Give the anterior and the inferior point (y, x) of every slice, NaN where there is none.",
        )
    return pairs


def _present(pairs: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(pairs).any(axis=-1))


def _counts(
    truth: ArrayLike, predicted: ArrayLike, spacing: float, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Hits, misses and false predictions of each kind, as the published code counts them."""
    labelled, found = _pairs(truth), _pairs(predicted)
    near = slice_distances(labelled, found, spacing) <= threshold  # NaN is not near
    hits = near.sum(axis=0)
    missed = (_present(labelled) & ~_present(found)).sum(axis=0)
    false = (_present(found) & ~near).sum(axis=0)
    return hits, missed, false


def _rate(hits: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.where(hits > 0, hits / np.maximum(hits + others, 1), 0.0))


@dataclass(frozen=True)
class RvipVolume:
    """Points of one volume, (Z, 2, 2) pixels (y, x), anterior then inferior, NaN where there is none.

    Attributes:
        truth: The labels; slices with one point only are dropped from them, as published.
        predicted: What a detector found.
        spacing_mm: Pixel size; pixels are taken to be square.
        second_observer: Labels of another observer, where there are any.
        from_segmentation: Points derived from a segmentation, where there are any.
    """

    truth: ArrayLike
    predicted: ArrayLike
    spacing_mm: float
    second_observer: ArrayLike | None = None
    from_segmentation: ArrayLike | None = None


def rvip_table(volumes: Sequence[RvipVolume]) -> dict[str, NDArray[np.float64]]:
    """Every published metric of every volume.

    Args:
        volumes: All with a second observer or none, and alike for points of a segmentation.

    Returns:
        Columns by name, each (N,), NaN where undefined: 42 for the prediction, 42 more for each further comparison.

    Raises:
        CardioDiTError: There are no volumes, or some have what others lack.
    """
    if not volumes:
        raise CardioDiTError("There are no volumes to evaluate.", "Give at least one.")
    rows = [_row(volume) for volume in volumes]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise CardioDiTError(
            "Some volumes have a second observer or points of a segmentation, others have not.",
            "Give them for all volumes or for none.",
        )
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def rvip_summary(table: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[float, float, int]]:
    """Mean, sample standard deviation and number of volumes of each column.

    Undefined values are skipped, as the published tables do, so failures leave the mean; the number says how many.
    """
    summary = {}
    for name, column in table.items():
        known = column[~np.isnan(column)]
        mean = float(known.mean()) if len(known) else float("nan")
        deviation = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
        summary[name] = (mean, deviation, len(known))
    return summary


def _row(volume: RvipVolume) -> dict[str, float]:
    row: dict[str, float] = {}
    labelled = line_points(volume.truth)
    for source, suffix in JUDGED.items():
        points = getattr(volume, source)
        if points is None:
            continue
        if np.shape(points) != labelled.shape:
            raise CardioDiTError(
                f"A volume has labels of shape {labelled.shape} and '{source}' of shape {np.shape(points)}.",
                "Give points of the same slices.",
            )
        for unit in ("", "_point"):
            judged = np.asarray(points, dtype=np.float64) if unit else line_points(points)
            row |= _columns(labelled, judged, volume.spacing_mm, f"{suffix}{unit}")
    return row


def _columns(
    labelled: NDArray[np.float64], judged: NDArray[np.float64], spacing_mm: float, end: str
) -> dict[str, float]:
    of_means = [septum_angle(*volume_mean_points(points)) for points in (labelled, judged)]
    of_labels, of_judged = septum_angles(labelled), septum_angles(judged)
    pairs = {
        "mdists_{}": volume_distances(labelled, judged, spacing_mm),
        "mdists_{}_slice_wise": mean_over_slices(slice_distances(labelled, judged, spacing_mm)),
        "mdists_{}_slice_wise_up": mean_over_slices(slice_distances_upper_bound(labelled, judged, spacing_mm)),
        "tpr_{}": true_positive_rate(labelled, judged),
        "ppv_{}": positive_predictive_value(labelled, judged),
        "tpr_{}#_th15": true_positive_rate(labelled, judged, spacing_mm, THRESHOLD_MM),
        "ppv_{}#_th15": positive_predictive_value(labelled, judged, spacing_mm, THRESHOLD_MM),
    }
    columns = {}
    for name, values in pairs.items():
        for kind, value in zip(_KINDS, values):
            body, _, threshold = name.format(kind).partition("#")
            columns[f"{body}{end}{threshold}"] = float(value)
    angles = {
        "mangle_gt": of_means[0],
        "mangle_pred": of_means[1],
        "mdiffs": angle_difference(*of_means),
        "mangle_gt_slice_wise": float(mean_over_slices(of_labels)),
        "mangle_pred_slice_wise": float(mean_over_slices(of_judged)),
        "mdiffs_slice_wise": mean_angle_difference(of_labels, of_judged),
        "mdiffs_slice_wise_up": mean_angle_difference(of_labels, of_judged, upper_bound=True),
    }
    return columns | {f"{name}{end}": float(value) for name, value in angles.items()}
