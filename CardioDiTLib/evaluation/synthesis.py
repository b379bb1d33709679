"""A synthetic cohort against a real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.cohort import Cohort
from CardioDiTLib.evaluation.evaluation_grid import Centre
from CardioDiTLib.evaluation.features import FEATURES, distances
from CardioDiTLib.evaluation.manifold import (
    diversity_of_distances,
    duplicates,
    kernel_distance,
    overlap_of_distances,
    polynomial_kernel,
    weighted_mmd2,
)
from CardioDiTLib.evaluation.measures import CineMeasures, MeasuredCohort, measure_cohort
from CardioDiTLib.evaluation.physiology import QUANTITIES, VECTOR, frechet_distance, vectors
from CardioDiTLib.evaluation.split_halves import Draws, beside_floor, draw_halves, wasserstein_beside_floor, why_too_few
from CardioDiTLib.evaluation.synthesis_report import Better, QuantityComparison, SetNumber, Spread, SynthesisReport
from CardioDiTLib.function.function_report import Quantity
from CardioDiTLib.schema import check_seed

DUPLICATE_SHARE = 0.2
"""Two synthetic cines nearer than this share of how far a real cine is from its nearest neighbour are duplicates."""
DUPLICATE_FEATURE = "cine-hog-1"
"""The feature in which duplicates are looked for."""

COHERENCE: tuple[Quantity, ...] = (
    Quantity("through_plane_correlation", "Correlation of neighbouring slices", "", 3),
    Quantity("through_plane_step", "Step to the next slice over any two", "", 3),
    Quantity("temporal_roughness", "Roughness over time", "", 3),
    Quantity("temporal_slow_share", "Energy over time in harmonics 1-2", "", 3),
    Quantity("temporal_fast_share", "Energy over time in harmonics 5-8", "", 3),
    Quantity("cycle_closure", "Last-to-first step over the others", "", 3),
    Quantity("motion_amount", "Motion over contrast", "", 3),
    Quantity("sharpness_per_mm2", "Sharpness", "1/mm^2", 3),
)
"""Quantities of coherence, as in :class:`CardioDiTLib.evaluation.coherence.Coherence`."""

_BETTER: dict[str, Better] = {
    "kernel_distance": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "mean_distance": "real",
    "nearest_distance": "real",
}


def evaluate_synthesis(
    real: Cohort | MeasuredCohort | Sequence[Cine],
    synthetic: Cohort | MeasuredCohort | Sequence[Cine],
    *,
    neighbours: int = 5,
    resamples: int = 500,
    seed: int = 0,
    centre: Centre = "picture",
    stack_covers_heart: bool | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> SynthesisReport:
    """Compare a synthetic cohort with a real one: physiology, coherence, kernel distance, overlap, diversity.

    Every number stands beside what it is between random halves of the real cohort. Because most of these numbers
    depend on how many cines there are, the floor and the synthetic cohort are compared at one size: s = min(M, N // 2)
    synthetic cines against the same real half that s other real cines are compared with.

    Args:
        real: N cines.
        synthetic: M cines.
        neighbours: k of precision, recall, density and coverage.
        resamples: Random halves for the floors; also resamples for the interval of the kernel distance.
        seed: The same seed gives the same report.
        centre: Where the heart box lies in both cohorts: on the middle of the "picture" or on the "heart".
        stack_covers_heart: See :func:`CardioDiTLib.function.cardiac_function.cardiac_function`.
        progress: Called with (name of the cohort, done, of) while cines are measured.

    Returns:
        The report. What cannot be had of so few cines, or without labels, is NaN with a reason.

    Raises:
        CardioDiTError: An empty cohort, a cine that cannot be used, fewer than one neighbour or resample, or cohorts
            that were measured with the box in different places.
    """
    if neighbours < 1:
        raise CardioDiTError(f"A neighbourhood of {neighbours} cines is empty.", "Give one neighbour or more.")
    if resamples < 1:
        raise CardioDiTError(f"A floor cannot be had of {resamples} resamples.", "Give one or more, such as 500.")
    check_seed(seed)
    pair = [
        _measured(cohort, name, centre, stack_covers_heart, progress)
        for cohort, name in ((real, "real"), (synthetic, "synthetic"))
    ]
    if pair[0].centre != pair[1].centre:
        raise CardioDiTError("The cohorts were measured with the heart box in different places.", "Use one for both.")
    x, y = (sorted(cohort.cines, key=lambda one: (one.digest, one.name)) for cohort in pair)
    notes = [note for cohort in pair for note in cohort.notes]
    notes += _notes(x, y)
    sets: dict[str, dict[str, SetNumber]] = {}
    sets["physiology"] = {"frechet_distance": _frechet(x, y, resamples, seed, notes)}
    copies: list[tuple[int, int]] = []
    limit = np.nan
    for feature in FEATURES:
        first, second = (np.stack([one.features[feature] for one in part]) for part in (x, y))
        within = distances(first, first), distances(second, second)
        sets[feature] = _feature_numbers(feature, (first, second), within, neighbours, resamples, seed)
        if feature == DUPLICATE_FEATURE:
            limit = DUPLICATE_SHARE * diversity_of_distances(within[0]).nearest_distance
            copies = duplicates(within[1], limit)
    return SynthesisReport(
        real_name=pair[0].name,
        synthetic_name=pair[1].name,
        n_real=len(x),
        n_synthetic=len(y),
        n_real_labelled=sum(one.labelled for one in x),
        n_synthetic_labelled=sum(one.labelled for one in y),
        neighbours=neighbours,
        resamples=resamples,
        seed=seed,
        centre=pair[0].centre,
        quantities=_quantities(x, y, resamples, seed),
        sets=sets,
        duplicates=tuple(sorted(tuple(sorted((y[i].name, y[j].name))) for i, j in copies)),  # type: ignore[misc]
        duplicate_limit=float(limit),
        notes=tuple(dict.fromkeys(notes)),
    )


def _measured(
    cohort: Cohort | MeasuredCohort | Sequence[Cine],
    name: str,
    centre: Centre,
    covers: bool | None,
    progress: Callable[[str, int, int], object] | None,
) -> MeasuredCohort:
    if isinstance(cohort, MeasuredCohort):
        if not cohort.cines:
            raise CardioDiTError(f"The cohort '{cohort.name}' has no cines.", "Give one or more.")
        return cohort
    given = cohort if isinstance(cohort, Cohort) else Cohort.from_cines(cohort, name=name)
    tell = None if progress is None else lambda done, of: progress(given.name, done, of)
    return measure_cohort(given, centre=centre, stack_covers_heart=covers, progress=tell)


def _notes(x: list[CineMeasures], y: list[CineMeasures]) -> list[str]:
    notes = []
    steps = [float(np.median([one.slice_step_mm for one in part])) for part in (x, y)]
    if abs(steps[0] - steps[1]) > 0.1 * min(steps):
        notes.append(
            f"Slices are {steps[0]:.3g} mm apart in the real and {steps[1]:.3g} mm in the synthetic cohort: numbers "
            "through the plane differ for that alone."
        )
    for part, what in ((x, "real"), (y, "synthetic")):
        labelled = [one for one in part if one.labelled]
        open_ended = sum("may not cover" in one.reasons.get("edv_ml", "") for one in labelled)
        if open_ended:
            notes.append(
                f"{open_ended} of {len(labelled)} labelled {what} cines have no volumes, since their slices may not "
                "cover the ventricle; large hearts are missing more often. Take stacks for complete "
                "(stack_covers_heart) to compare what is labelled."
            )
    groups = [{one.group for one in part if one.group} for part in (x, y)]
    for ours, theirs, what in ((groups[0], groups[1], "real"), (groups[1], groups[0], "synthetic")):
        if ours - theirs and theirs:
            notes.append(f"Only the {what} cohort has the groups {', '.join(sorted(ours - theirs))}.")
    shares = [Counter(one.group for one in part) for part in (x, y)]
    if all(groups) and any(
        abs(shares[0][group] / len(x) - shares[1][group] / len(y)) > 0.1 for group in groups[0] | groups[1]
    ):
        notes.append("The cohorts mix their groups differently: numbers over all cines differ for that alone.")
    return notes


def _quantities(
    x: list[CineMeasures], y: list[CineMeasures], resamples: int, seed: int
) -> tuple[QuantityComparison, ...]:
    compared = []
    for kind, quantities in (("physiology", QUANTITIES), ("coherence", COHERENCE)):
        if kind == "physiology" and not any(one.labelled for one in (*x, *y)):
            continue
        for quantity in quantities:
            compared.append(_quantity(quantity, kind, "", x, y, resamples, seed))
    groups = sorted({one.group for one in x} & {one.group for one in y} - {""})
    for group in groups:
        ours, theirs = ([one for one in part if one.group == group] for part in (x, y))
        if any(one.labelled for one in ours) and any(one.labelled for one in theirs):
            compared += [_quantity(q, "physiology", group, ours, theirs, resamples, seed) for q in QUANTITIES]
    return tuple(compared)


def _quantity(
    quantity: Quantity,
    kind: str,
    group: str,
    x: list[CineMeasures],
    y: list[CineMeasures],
    resamples: int,
    seed: int,
) -> QuantityComparison:
    field = quantity.field
    values = [[one.values[field] for one in part] for part in (x, y)]
    spreads = [
        Spread.of(column, [one.reasons[field] for one in part if field in one.reasons])
        for column, part in zip(values, (x, y))
    ]
    distance = wasserstein_beside_floor(values[0], values[1], resamples, seed, f"{group}/{field}")
    return QuantityComparison(
        field, quantity.name, quantity.unit, quantity.digits, kind, group, spreads[0], spreads[1], distance
    )


def _frechet(x: list[CineMeasures], y: list[CineMeasures], resamples: int, seed: int, notes: list[str]) -> SetNumber:
    """Frechet distance of the physiology vector, of cines that have it whole."""
    tables = [vectors([one.values for one in part]) for part in (x, y)]
    kept = [f for i, f in enumerate(VECTOR) if all(np.isfinite(table[:, i]).mean() >= 0.5 for table in tables)]
    if not kept:
        few = "No quantity was measured on half of the cines of both cohorts."
        nothing = np.zeros(0)
        return beside_floor(np.nan, nothing, nothing, counts=(0, 0, 0), better="lower", reason=few)
    if len(kept) < len(VECTOR):
        notes.append(
            f"The Frechet distance leaves out {', '.join(sorted(set(VECTOR) - set(kept)))}, which fewer than half of "
            "the cines of a cohort have."
        )
    columns = [VECTOR.index(field) for field in kept]
    whole = [table[:, columns][np.isfinite(table[:, columns]).all(axis=1)] for table in tables]
    first, second = whole
    for part, table, what in ((first, tables[0], "real"), (second, tables[1], "synthetic")):
        if len(part) < len(table):
            notes.append(
                f"The Frechet distance rests on {len(part)} of {len(table)} {what} cines, which have it whole."
            )
    draws = draw_halves(len(first), len(second), resamples, seed, "frechet")
    counts = (len(first), len(second), draws.size)
    reason = why_too_few(len(first), len(second))
    value = frechet_distance(first, second)
    if not reason and np.isnan(value.value):
        reason = "The quantities do not vary among the real cines, so there is no scale for the Frechet distance."
    if np.isfinite(value.value):
        notes.append(
            f"Covariances of the {len(kept)} quantities of the Frechet distance were shrunk by "
            f"{value.real_shrinkage:.2f} (real) and {value.synthetic_shrinkage:.2f} (synthetic)."
        )
    matched = [frechet_distance(first[b], second[c]).value for b, c in zip(draws.second, draws.synthetic)]
    floor = [frechet_distance(first[b], first[a]).value for a, b in zip(draws.first, draws.second)]
    return beside_floor(value.value, matched, floor, counts=counts, better="lower", reason=reason)


def _feature_numbers(
    feature: str,
    sets: tuple[NDArray[np.float64], NDArray[np.float64]],
    within: tuple[NDArray[np.float64], NDArray[np.float64]],
    neighbours: int,
    resamples: int,
    seed: int,
) -> dict[str, SetNumber]:
    """Kernel distance, overlap and diversity in one feature."""
    x, y = sets
    between = distances(x, y)
    kernels = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)
    draws = draw_halves(len(x), len(y), resamples, seed, feature)
    whole = kernel_distance(x, y, resamples=resamples, seed=seed)
    values = {"kernel_distance": whole.value}
    values |= overlap_of_distances(within[0], within[1], between, neighbours)._asdict()
    values |= diversity_of_distances(within[1])._asdict()
    rows = [_resampled(r, draws, kernels, (*within, between), neighbours) for r in range(len(draws.first))]
    few = why_too_few(len(x), len(y))
    small = f"Neighbourhoods of {neighbours} cines need more than {neighbours} cines in a half, there are {draws.size}."
    numbers = {}
    for name, better in _BETTER.items():
        reason = few
        if not reason and draws.size <= neighbours and name in ("precision", "recall", "density", "coverage"):
            reason = small
        numbers[name] = beside_floor(
            values[name],
            [row[0][name] for row in rows],
            [row[1][name] for row in rows],
            counts=(len(x), len(y), draws.size),
            better=better,
            interval=(whole.low, whole.high) if name == "kernel_distance" else (np.nan, np.nan),
            reason=reason,
        )
    return numbers


def _resampled(
    row: int,
    draws: Draws,
    kernels: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    apart: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    neighbours: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Numbers of synthetic cines against a real half, and of the other real half against it."""
    a, b, c = draws.first[row], draws.second[row], draws.synthetic[row]
    ones = np.ones((1, draws.size))
    numbers = []
    # Which matrices hold the set that is judged, and the reference against it.
    for inner, cross, chosen in ((1, 2, c), (0, 0, a)):
        reference, own = kernels[0][np.ix_(b, b)], kernels[inner][np.ix_(chosen, chosen)]
        kernel = weighted_mmd2(reference, own, kernels[cross][np.ix_(b, chosen)], ones, ones)
        own_apart = apart[inner][np.ix_(chosen, chosen)]
        found = {"kernel_distance": float(kernel[0])}
        found |= overlap_of_distances(
            apart[0][np.ix_(b, b)], own_apart, apart[cross][np.ix_(b, chosen)], neighbours
        )._asdict()
        found |= diversity_of_distances(own_apart)._asdict()
        numbers.append(found)
    return numbers[0], numbers[1]
