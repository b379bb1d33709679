"""Everything that is measured on the cines of a cohort, one cine at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.coherence import REASONS, coherence
from CardioDiTLib.evaluation.cohort import Cohort
from CardioDiTLib.evaluation.evaluation_grid import FRAMES, Centre, judging_grid
from CardioDiTLib.evaluation.features import FEATURES
from CardioDiTLib.evaluation.physiology import physiology
from CardioDiTLib.progress import StepCallback as Progress


@dataclass(frozen=True, eq=False)
class CineMeasures:
    """What is kept of one cine.

    Attributes:
        name: Of the cine.
        group: Pathology group, or empty.
        labelled: Whether it came with labels.
        values: Quantities of physiology and of coherence by name; NaN where one could not be measured.
        reasons: Name to why it is NaN.
        features: Feature vectors by the name of the feature.
        digest: Of the grey values and labels; puts cines in an order that does not depend on how they were given.
        slice_step_mm: Distance of its slices.
        resampled: Whether its pixels were interpolated in plane.
        frames: How many it has.
        extent_mm: Shorter side of its picture.
    """

    name: str
    group: str
    labelled: bool
    values: dict[str, float]
    reasons: dict[str, str]
    features: dict[str, NDArray[np.float64]]
    digest: str
    slice_step_mm: float
    resampled: bool
    frames: int
    extent_mm: float


@dataclass(frozen=True, eq=False)
class MeasuredCohort:
    """A cohort of which only the numbers are kept.

    Attributes:
        name: Of the cohort.
        cines: Sorted by their content.
        centre: Where the heart box was put.
        notes: What the reader should know, one sentence each.
    """

    name: str
    cines: tuple[CineMeasures, ...]
    centre: Centre
    notes: tuple[str, ...] = ()


def measure_cine(
    cine: Cine,
    segmentation: Segmentation | None = None,
    *,
    name: str = "cine",
    group: str = "",
    centre: Centre = "picture",
    stack_covers_heart: bool | None = None,
) -> CineMeasures:
    """Measure one cine.

    Args:
        cine: The cine, frame 0 at end-diastole.
        segmentation: Its labels, or None.
        name: Of the cine.
        group: Pathology group.
        centre: Where the heart box lies, see :func:`CardioDiTLib.evaluation.evaluation_grid.judging_grid`.
        stack_covers_heart: See :func:`CardioDiTLib.function.cardiac_function.cardiac_function`.

    Returns:
        The numbers.
    """
    same_frames = segmentation is not None and segmentation.shape == cine.shape
    judged = judging_grid(cine, centre, segmentation.array if segmentation is not None and same_frames else None)
    body = physiology(segmentation, stack_covers_heart)
    picture = {field: float(value) for field, value in coherence(judged)._asdict().items()}
    missing = {field: f"{REASONS[field].capitalize()}." for field, value in picture.items() if not np.isfinite(value)}
    digest = hashlib.sha256(np.ascontiguousarray(judged.frames).tobytes())
    if segmentation is not None:
        digest.update(np.ascontiguousarray(segmentation.array).tobytes())
    digest.update(repr((group, cine.spacing, tuple(cine.frame_times))).encode())
    return CineMeasures(
        name=name,
        group=group,
        labelled=segmentation is not None,
        values={**body.values, **picture},
        reasons={**body.reasons, **missing},
        features={feature: compute(judged) for feature, compute in FEATURES.items()},
        digest=digest.hexdigest(),
        slice_step_mm=judged.slice_step_mm,
        resampled=judged.resampled,
        frames=cine.n_frames,
        extent_mm=min(cine.shape[2] * cine.spacing[1], cine.shape[3] * cine.spacing[0]),
    )


def measure_cohort(
    cohort: Cohort,
    *,
    centre: Centre = "picture",
    stack_covers_heart: bool | None = None,
    progress: Progress | None = None,
) -> MeasuredCohort:
    """Measure all cines of a cohort; only one is in memory at a time where they come from files.

    Args:
        cohort: The cohort.
        centre: See :func:`measure_cine`.
        stack_covers_heart: See :func:`measure_cine`.
        progress: Called with (done, of).

    Returns:
        The numbers, in an order that does not depend on how the cines were given.

    Raises:
        CardioDiTError: No cine, or one that cannot be read; the sentence names it.
    """
    if not cohort.items:
        raise CardioDiTError(f"The cohort '{cohort.name}' has no cines.", "Give one or more.")
    measured = []
    for index, item in enumerate(cohort.items):
        cine, labels = item.load()
        group = item.group or str(cine.meta.get("pathology") or "")
        try:
            measured.append(
                measure_cine(
                    cine,
                    labels,
                    name=item.name,
                    group=group,
                    centre=centre,
                    stack_covers_heart=stack_covers_heart,
                )
            )
        except CardioDiTError as error:
            raise CardioDiTError(f"'{item.name}': {error.message}", error.hint) from error
        if progress is not None:
            progress(index + 1, len(cohort.items))
    measured.sort(key=lambda one: (one.digest, one.name))
    notes = [*cohort.notes, *_notes(cohort.name, measured, centre)]
    if stack_covers_heart and any(one.labelled for one in measured):
        notes.append(f"Ventricles of '{cohort.name}' that reach the first or the last slice were taken for complete.")
    return MeasuredCohort(cohort.name, tuple(measured), centre, tuple(notes))


_WIDE_MM = 250.0  # a picture this wide was hardly cropped around the heart


def _notes(name: str, cines: list[CineMeasures], centre: Centre) -> list[str]:
    notes = []
    count = len(cines)
    interpolated = sum(one.resampled for one in cines)
    if interpolated:
        notes.append(f"Pixels of {interpolated} of {count} cines of '{name}' were interpolated, which softens them.")
    other = sum(one.frames != FRAMES for one in cines)
    if other:
        notes.append(f"{other} of {count} cines of '{name}' were brought from their own frames to {FRAMES}.")
    wide = sum(one.extent_mm > _WIDE_MM for one in cines)
    if wide and centre == "picture":
        notes.append(
            f"{wide} of {count} cines of '{name}' are wider than {_WIDE_MM:g} mm: if their hearts do not lie in the "
            "middle, centre on the heart."
        )
    return notes
