"""Making the plan of a cohort: hearts drawn or read, everything checked before the first is made."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from CardioDiTLib.bundles.manifest import MANIFEST_NAME, BundleManifest, read_manifest
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.cohort.heart import Heart, Whole, check_numbers
from CardioDiTLib.cohort.plan import CohortPlan, Measuring, table_sha256, write_plan
from CardioDiTLib.cohort.spread import Distributions, draw_hearts
from CardioDiTLib.cohort.table import hearts_of_table
from CardioDiTLib.device import check_device_name
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import sha256_of
from CardioDiTLib.generation.asked_grid import check_grid
from CardioDiTLib.generation.plan import make_plan
from CardioDiTLib.generation.request import DEFAULT_BUNDLE
from CardioDiTLib.io.output_set import check_folder
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM, check_rate
from CardioDiTLib.schema import Count, Record
from CardioDiTLib.version import __version__

_CHECKED = 10_000  # hearts at a time
_LARGEST = 10_000_000
_ANY_HEART = Distributions({}, {})


@dataclass(frozen=True, kw_only=True)
class PlanRequest(Record):
    """An order for the plan of a cohort.

    Args:
        table: CSV with a heart a row, in place of `count` and `drawn_from`.
        count: Hearts to draw.
        drawn_from: What from.
        seed: Of noise and draws, where the table says nothing else.
        bundle: Name or folder.
        shard_size: Hearts of a shard.
        measure: As of `CohortPlan`; None for the hearts' own labels where the model makes some.
        embed: As of `CohortPlan`; None where the bundle carries training embeddings.
        labels: Keep the labels; None where the model makes some.
        preset, steps, sampler, guidance, adjust, slices, frames, cycle_s, device, precision, backend, batch_size,
            storage, gate, false_alarm, redraws: As of `CohortPlan`.
    """

    record_name: ClassVar[str] = "request for the plan of a cohort"

    table: str | None = None
    count: Count | None = None
    drawn_from: Distributions = _ANY_HEART
    seed: Whole = 0
    bundle: str = DEFAULT_BUNDLE
    shard_size: Count = 100
    preset: str = CohortPlan.preset
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    adjust: Whole = CohortPlan.adjust
    slices: int | None = None
    frames: int | None = None
    cycle_s: float | None = None
    device: str | None = None
    precision: str | None = None
    backend: str | None = None
    batch_size: Count = 1
    storage: Literal["nii.gz", "seq.nrrd"] = "nii.gz"
    labels: bool | None = None
    gate: bool = False
    false_alarm: float = FALSE_ALARM
    redraws: Whole = 20
    measure: tuple[Measuring, ...] | None = None
    embed: bool | None = None


@dataclass(frozen=True)
class Planned:
    """What came of an order for a plan.

    Attributes:
        plan: The plan.
        new: False where the very same was there already.
        warnings: What should be known of the hearts, in plain sentences.
    """

    plan: CohortPlan
    new: bool
    warnings: tuple[str, ...]


def plan_cohort(folder: str | os.PathLike[str], request: PlanRequest) -> Planned:
    """Plan a cohort; the same order gives the same files.

    Args:
        folder: A new or empty folder, or one with this very plan.
        request: The order.

    Raises:
        CardioDiTError: The order contradicts itself, cannot be fulfilled by the bundle, or the folder holds something
            else; nothing is written then.

    Examples:
        >>> plan_cohort("hearts", PlanRequest(count=1000, seed=7))  # doctest: +SKIP
    """
    check_folder(Path(folder))
    check_device_name(request.device or "auto")
    check_rate(request.false_alarm)
    place = find_bundle(request.bundle)
    manifest = read_manifest(place)
    hearts = _hearts(request, manifest)
    check_numbers(hearts)
    plan = _plan(request, place, manifest, hearts)
    warnings = _check_all(plan, hearts, place, manifest)
    _check_gate(plan, place)
    return Planned(plan, write_plan(folder, plan, hearts), warnings)


def _hearts(request: PlanRequest, manifest: BundleManifest) -> list[Heart]:
    if (request.table is None) == (request.count is None):
        raise CardioDiTError("A cohort has a table, or a number of hearts to draw.", "Give --table or --count.")
    if request.table is not None:
        if request.drawn_from.classes or request.drawn_from.quantities:
            raise CardioDiTError("A table says all that is asked of its hearts.", "Leave the distributions out.")
        return hearts_of_table(Path(request.table), request.seed, manifest)
    assert request.count is not None
    if request.count > _LARGEST:
        raise CardioDiTError(f"{request.count} hearts are too many for a plan.", f"Plan at most {_LARGEST} at a time.")
    return draw_hearts(request.drawn_from, request.count, request.seed, manifest)


def _plan(request: PlanRequest, place: Path, manifest: BundleManifest, hearts: list[Heart]) -> CohortPlan:
    has_labels = manifest.names_tissues
    labels = has_labels if request.labels is None else request.labels
    measure = (("labels",) if has_labels else ()) if request.measure is None else request.measure
    if not has_labels and (labels or "labels" in measure):
        raise CardioDiTError(
            f"The model '{manifest.name}' makes no labels with its hearts.", "Measure with --measure network, or none."
        )
    given = {
        name: getattr(request, name)
        for name in (
            *("preset", "steps", "sampler", "guidance", "adjust", "slices", "frames", "cycle_s", "device"),
            *("precision", "backend", "batch_size", "storage", "gate", "false_alarm", "redraws", "seed"),
        )
    }
    return CohortPlan(
        count=len(hearts),
        shard_size=request.shard_size,
        hearts_sha256=table_sha256(hearts),
        # a folder is found from wherever a worker is started
        bundle=str(Path(request.bundle).resolve()) if os.sep in request.bundle else request.bundle,
        model=manifest.name,
        model_version=manifest.version,
        model_sha256=sha256_of(place / MANIFEST_NAME),
        labels=labels,
        measure=tuple(dict.fromkeys(measure)),
        embed=(manifest.privacy is not None) if request.embed is None else request.embed,
        drawn_from=None if request.table is not None else request.drawn_from,
        cardiodit_version=__version__,
        **given,
    )


def _check_all(plan: CohortPlan, hearts: list[Heart], place: Path, manifest: BundleManifest) -> tuple[str, ...]:
    """See that the bundle can be asked for every heart."""
    check_grid(plan.request(hearts[:1]), place, manifest)
    if not any(heart.has_aim for heart in hearts):  # then guidance leads nowhere
        make_plan(replace(plan.request(hearts[:1]), guidance=plan.guidance), manifest, manifest.null_class)
    warnings: dict[str, None] = {}
    groups = [
        [heart for heart in hearts if bool(heart.asked) == asks and (heart.pathology is None) == bare]
        for asks in (False, True)
        for bare in (False, True)
    ]
    for group in groups:
        for first in range(0, len(group), _CHECKED):
            request = plan.request(group[first : first + _CHECKED])
            warnings.update(dict.fromkeys(make_plan(request, manifest, manifest.null_class).warnings))
    if len(warnings) > 1:
        return (f"{len(warnings)} asked values are near the edge of what the model has seen; {next(iter(warnings))}",)
    return tuple(warnings)


def _check_gate(plan: CohortPlan, place: Path) -> None:
    """See that the bundle carries what gate and audit need; the only part that loads something.

    A gate needs patients enough for its rate; an audit of fewer remains undecided.
    """
    if plan.gate or plan.embed:
        from CardioDiTLib.bundles.bundle import load_bundle
        from CardioDiTLib.privacy.gate import Gate, load_reference

        reference = load_reference(load_bundle(place))
        if plan.gate:
            Gate(reference, None, plan.false_alarm)
