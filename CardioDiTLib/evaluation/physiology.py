"""What cardiologists read, compared between cohorts: volumes, function, mass, wall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.features import checked_pair
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.function.function_report import LEFT, RIGHT, WALL, Quantity, reason_for

_WITHOUT_RATE_OF_BEATS = ("cardiac_output_l_min", "rv_cardiac_output_l_min")

QUANTITIES: tuple[Quantity, ...] = tuple(
    Quantity(q.field, f"RV {q.name[0].lower()}{q.name[1:]}" if q.field.startswith("rv_") else q.name, q.unit, q.digits)
    for q in (*LEFT, *WALL, *RIGHT)
    if q.field not in _WITHOUT_RATE_OF_BEATS
)
"""Quantities that are compared one by one."""

VECTOR: tuple[str, ...] = (
    *("edv_ml", "esv_ml", "lv_mass_g", "wall_thickness_ed_mm", "wall_thickness_es_mm"),
    *("peak_ejection_rate_ml_s", "peak_filling_rate_ml_s", "rv_edv_ml", "rv_esv_ml"),
)
"""Quantities that make up the vector of the Frechet distance: those that the others can be computed from."""

NO_LABELS = "No labels."


class Physiology(NamedTuple):
    """Quantities of one cine.

    Attributes:
        values: Field to number, NaN where it could not be measured.
        reasons: Field to why it is NaN.
    """

    values: dict[str, float]
    reasons: dict[str, str]


def physiology(segmentation: Segmentation | None, stack_covers_heart: bool | None = None) -> Physiology:
    """Quantities of one cine from its labels.

    Args:
        segmentation: (T, Z, Y, X) labels of one cycle, or None.
        stack_covers_heart: See :func:`CardioDiTLib.function.cardiac_function.cardiac_function`.

    Returns:
        All of :data:`QUANTITIES`.
    """
    if segmentation is None:
        return Physiology({q.field: np.nan for q in QUANTITIES}, {q.field: NO_LABELS for q in QUANTITIES})
    report = cardiac_function(segmentation, stack_covers_heart=stack_covers_heart)
    values = {q.field: float(getattr(report, q.field)) for q in QUANTITIES}
    missing = [field for field, value in values.items() if not np.isfinite(value)]
    return Physiology(values, {field: _kind_of_reason(reason_for(report, field)) for field in missing})


def _kind_of_reason(reason: str) -> str:
    """A reason without what is this cine's alone (the millilitres that are labelled), so that like ones are counted."""
    return f"{reason.split(';')[0].rstrip('.')}." if reason else "Not measured."


def wasserstein(first: ArrayLike, second: ArrayLike) -> float:
    """1-Wasserstein distance of two samples of one quantity, in its unit (Villani 2009; the area between both CDFs).

    Args:
        first: (N,) values; those that are not finite do not count.
        second: (M,).

    Returns:
        The distance; NaN where a sample is empty.
    """
    one, two = (values[np.isfinite(values)] for values in (np.asarray(v, np.float64).ravel() for v in (first, second)))
    return float(stats.wasserstein_distance(one, two)) if len(one) and len(two) else np.nan


class Frechet(NamedTuple):
    """Frechet distance of two cohorts.

    Attributes:
        value: Squared distance, as such distances are reported; no unit, since the vectors are standardised.
        real_shrinkage: Weight of the identity in the real covariance, 0 to 1.
        synthetic_shrinkage: The same of the synthetic one.
    """

    value: float
    real_shrinkage: float
    synthetic_shrinkage: float


def frechet_distance(real: ArrayLike, synthetic: ArrayLike) -> Frechet:
    """Frechet distance of the normal distributions with both samples' moments.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2) (Dowson and Landau, J Multivar Anal 1982), after each column
    was standardised with the real sample's mean and standard deviation. Covariances are shrunk towards a multiple of
    the identity by as much as the sample asks for (Ledoit and Wolf, J Multivar Anal 2004): without this they are
    singular in cohorts of tens. Still biased upwards in small samples, so it is to be read beside its floor at the same
    size.

    Args:
        real: (N, d) finite, N >= 2; a column that does not vary is left out.
        synthetic: (M, d), M >= 2.

    Returns:
        The distance; NaN where a sample has fewer than two rows or no column varies.

    Raises:
        CardioDiTError: Arrays of another shape, or values that are not finite.
    """
    x, y = checked_pair(real, synthetic)
    if min(len(x), len(y)) < 2:
        return Frechet(np.nan, np.nan, np.nan)
    middle, spread = x.mean(axis=0), x.std(axis=0, ddof=1)
    varies = spread > 1e-9 * np.maximum(np.abs(middle), 1e-9)
    if not varies.any():
        return Frechet(np.nan, np.nan, np.nan)
    x, y = ((part[:, varies] - middle[varies]) / spread[varies] for part in (x, y))
    first, real_shrinkage = shrunk_covariance(x)
    second, synthetic_shrinkage = shrunk_covariance(y)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0.0, None)).sum()
    gap = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    value = gap + float(np.trace(first) + np.trace(second)) - 2.0 * float(cross)
    return Frechet(max(value, 0.0), real_shrinkage, synthetic_shrinkage)


def shrunk_covariance(sample: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Covariance shrunk towards a multiple of the identity, and the weight of the latter.

    Ledoit and Wolf, J Multivar Anal 88 (2004), eqs. 14 to 16, with their 1/n covariance scaled to 1/(n - 1).

    Args:
        sample: (N, d), N >= 2.

    Returns:
        (d, d) and the weight, 0 to 1.

    Raises:
        CardioDiTError: Fewer than two rows.
    """
    x = np.asarray(sample, np.float64)
    count, width = x.shape
    if count < 2:
        raise CardioDiTError(f"{count} cines have no covariance.", "Give two or more.")
    x = x - x.mean(axis=0)
    plain = x.T @ x / count
    level = float(np.trace(plain)) / width
    away = float(((plain - level * np.eye(width)) ** 2).sum())
    error = float(((x**2).sum(axis=1) ** 2).sum() / count - (plain**2).sum()) / count
    weight = min(1.0, max(0.0, error / away)) if away > 0 else 0.0
    shrunk = weight * level * np.eye(width) + (1.0 - weight) * plain
    return shrunk * (count / (count - 1)), weight


def vectors(values: list[Mapping[str, float]], fields: tuple[str, ...] = VECTOR) -> NDArray[np.float64]:
    """(N, d) quantities of cines, NaN where one is missing."""
    return np.array([[one[field] for field in fields] for one in values], np.float64).reshape(len(values), len(fields))
