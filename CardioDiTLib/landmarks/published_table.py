"""The whole published evaluation: one row a volume, one column a metric, and the means that its tables print.

A column is ``<metric>[_ant|_inf][_slice_wise][_up][_io|_msk][_point][_th15]``, the parts in this order:

===================  ==================================================================================================
part                 meaning
===================  ==================================================================================================
``mdists``           distance, mm: of mean points; ``_slice_wise`` mean over slices; ``_up`` with the bound on misses
``mangle_gt``        septal angle of the labels, degrees: of the mean points; ``_slice_wise`` mean over slices
``mangle_pred``      the same of what is judged
``mdiffs``           plain difference of angles, degrees; ``_slice_wise`` mean over slices; ``_up`` misses cost 180
``tpr``, ``ppv``     rates, without a threshold or (``_th15``) within 15 mm
``_ant``, ``_inf``   the anterior or the inferior point
``_io``              not the prediction but the second observer is judged
``_msk``             not the prediction but points from a segmentation are judged
``_point``           single points are kept; without it, slices of what is judged count with both points or not at all
===================  ==================================================================================================

All faults of :mod:`~CardioDiTLib.landmarks.published_metrics` are in these numbers: they are for comparison with
published ones. :func:`~CardioDiTLib.landmarks.metrics.evaluate_landmarks` gives numbers to rely on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks import published_metrics as published

JUDGED = {"predicted": "", "second_observer": "_io", "from_segmentation": "_msk"}
_KINDS = ("ant", "inf")


@dataclass(frozen=True)
class PublishedVolume:
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


def published_table(volumes: Sequence[PublishedVolume]) -> dict[str, NDArray[np.float64]]:
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


def published_summary(table: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[float, float, int]]:
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


def _row(volume: PublishedVolume) -> dict[str, float]:
    row: dict[str, float] = {}
    labelled = published.line_points(volume.truth)
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
            judged = np.asarray(points, dtype=np.float64) if unit else published.line_points(points)
            row |= _columns(labelled, judged, volume.spacing_mm, f"{suffix}{unit}")
    return row


def _columns(
    labelled: NDArray[np.float64], judged: NDArray[np.float64], spacing_mm: float, end: str
) -> dict[str, float]:
    of_means = [published.septum_angle(*published.volume_mean_points(points)) for points in (labelled, judged)]
    of_labels, of_judged = published.septum_angles(labelled), published.septum_angles(judged)
    pairs = {
        "mdists_{}": published.volume_distances(labelled, judged, spacing_mm),
        "mdists_{}_slice_wise": published.mean_over_slices(published.slice_distances(labelled, judged, spacing_mm)),
        "mdists_{}_slice_wise_up": published.mean_over_slices(
            published.slice_distances_upper_bound(labelled, judged, spacing_mm)
        ),
        "tpr_{}": published.true_positive_rate(labelled, judged),
        "ppv_{}": published.positive_predictive_value(labelled, judged),
        "tpr_{}#_th15": published.true_positive_rate(labelled, judged, spacing_mm, published.THRESHOLD_MM),
        "ppv_{}#_th15": published.positive_predictive_value(labelled, judged, spacing_mm, published.THRESHOLD_MM),
    }
    columns = {}
    for name, values in pairs.items():
        for kind, value in zip(_KINDS, values):
            body, _, threshold = name.format(kind).partition("#")
            columns[f"{body}{end}{threshold}"] = float(value)
    angles = {
        "mangle_gt": of_means[0],
        "mangle_pred": of_means[1],
        "mdiffs": published.angle_difference(*of_means),
        "mangle_gt_slice_wise": float(published.mean_over_slices(of_labels)),
        "mangle_pred_slice_wise": float(published.mean_over_slices(of_judged)),
        "mdiffs_slice_wise": published.mean_angle_difference(of_labels, of_judged),
        "mdiffs_slice_wise_up": published.mean_angle_difference(of_labels, of_judged, upper_bound=True),
    }
    return columns | {f"{name}{end}": float(value) for name, value in angles.items()}
