"""The plan of a cohort: everything that decides what its hearts are, in a folder."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from CardioDiTLib.cohort.heart import HEARTS_NAME, Heart, Whole, hearts_text, read_hearts
from CardioDiTLib.cohort.spread import Distributions
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import Sha256, atomic_path
from CardioDiTLib.generation.request import QUANTITY_NAMES, GenerationRequest
from CardioDiTLib.generation.result import sample_name
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM
from CardioDiTLib.schema import Count, Record, Words

PLAN_NAME = "plan.json"
SHARDS, CLAIMS, PARTS, LOGS = "shards", "claims", "parts", "logs"
"""Folders beside the plan: what is whole, who is at work, hearts of shards that are not whole, output of workers."""

Measuring = Literal["labels", "network"]

_OF_HEARTS = ("count", "seed", "first_index", "pathology", *QUANTITY_NAMES, "bundle", "device", "preview_every")
_USUAL = GenerationRequest()


@dataclass(frozen=True, kw_only=True)
class CohortPlan(Record):
    """What a cohort is: with the table of its hearts, the same bytes on the same kind of machine.

    Args:
        count: Hearts.
        shard_size: Hearts of a shard; the last may hold fewer.
        hearts_sha256: Of the table of hearts.
        bundle: Name or folder of the bundle.
        model, model_version, model_sha256: Of the bundle when the plan was made; no other is run.
        preset, steps, sampler, guidance, adjust, slices, frames, cycle_s, device, precision, backend: See
            `GenerationRequest`.
        batch_size: Hearts that are denoised together; only neighbours of one seed are.
        storage: Format of cines and labels in a shard.
        labels: Whether labels are kept, which the model makes with its hearts.
        gate, false_alarm, redraws: See `workflow.generate.CohortRequest`.
        measure: What function is measured on: the hearts' own labels, labels of the segmentation network, or both.
        embed: Keep what the bundle's encoder makes of each heart, so that the whole is audited without work.
        seed: Of what was drawn.
        drawn_from: What hearts were drawn from; None where a table named them.
        cardiodit_version: Of the software that planned.
    """

    record_name: ClassVar[str] = "plan of a cohort"
    record_hint: ClassVar[str] = "Give the folder that 'cardiodit cohort plan' made."
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit.cohort/1")
    all_needed: ClassVar[bool] = True

    count: Count
    shard_size: Count
    hearts_sha256: Sha256
    bundle: Words
    model: Words
    model_version: Words
    model_sha256: Sha256
    preset: Words = "standard"
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    adjust: Whole = GenerationRequest.adjust
    slices: int | None = None
    frames: int | None = None
    cycle_s: float | None = None
    device: str | None = None
    precision: str | None = None
    backend: str | None = None
    batch_size: Count = 1
    storage: Literal["nii.gz", "seq.nrrd"] = "nii.gz"
    labels: bool = True
    gate: bool = False
    false_alarm: float = FALSE_ALARM
    redraws: Whole = 20
    measure: tuple[Measuring, ...] = ()
    embed: bool = False
    seed: Whole = 0
    drawn_from: Distributions | None = None
    cardiodit_version: str = ""

    @property
    def shards(self) -> int:
        """How many shards."""
        return -(-self.count // self.shard_size)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of its requests that are not the usual ones."""
        request = replace(self.request([Heart(0, 0, 0)]), guidance=self.guidance)
        names = [item.name for item in fields(GenerationRequest) if item.name not in _OF_HEARTS]
        values = {name: getattr(request, name) for name in names}
        return {name: value for name, value in values.items() if value != getattr(_USUAL, name)}

    def numbers(self, shard: int) -> range:
        """Numbers of the hearts of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))

    def request(self, hearts: Sequence[Heart]) -> GenerationRequest:
        """The order for hearts that follow each other in one seed: what `cardiodit generate` would be given."""
        first, single = hearts[0], len(hearts) == 1
        values: dict[str, Any] = {}
        for name in ("pathology", *QUANTITY_NAMES):
            column = tuple(getattr(heart, name) for heart in hearts)
            values[name] = column[0] if single else (column if any(one is not None for one in column) else None)
        return GenerationRequest(
            count=len(hearts),
            seed=first.seed,
            first_index=first.index,
            preset=self.preset,
            steps=self.steps,
            sampler=self.sampler,
            guidance=self.guidance if any(heart.has_aim for heart in hearts) else None,
            adjust=self.adjust,
            slices=self.slices,
            frames=self.frames,
            cycle_s=self.cycle_s,
            backend=self.backend,
            batch_size=self.batch_size,
            **values,
        )

    def batches(self, hearts: Sequence[Heart]) -> list[list[Heart]]:
        """Hearts of a shard as they are denoised together: neighbours of one seed that are asked alike."""
        batches: list[list[Heart]] = []
        for heart in hearts:
            last = batches[-1] if batches else []
            if last and len(last) < self.batch_size and _go_together(last[-1], heart):
                last.append(heart)
            else:
                batches.append([heart])
        return batches


def _go_together(one: Heart, other: Heart) -> bool:
    follows = other.seed == one.seed and other.index == one.index + 1
    return follows and (one.pathology is None) == (other.pathology is None) and bool(one.asked) == bool(other.asked)


@dataclass(frozen=True)
class PlannedCohort:
    """A folder with its plan, as it was read.

    Attributes:
        folder: The folder.
        plan: Its plan.
        hearts: Its hearts, by number.
    """

    folder: Path
    plan: CohortPlan
    hearts: list[Heart]

    @property
    def file_names(self) -> list[str]:
        """What the files of each heart are called outside of its shard: as those of `cardiodit generate`, with the
        heart's number behind where hearts differ in nothing but the quantities that are asked of them."""
        model = self.plan.model
        names = [sample_name(model, heart.seed, heart.index, heart.pathology) for heart in self.hearts]
        times = Counter(name.lower() for name in names)
        return [f"{name}_{heart.name}" if times[name.lower()] > 1 else name for name, heart in zip(names, self.hearts)]

    def of_shard(self, shard: int) -> list[Heart]:
        """The hearts of a shard."""
        numbers = self.plan.numbers(shard)
        return self.hearts[numbers.start : numbers.stop]


def read_plan(folder: str | os.PathLike[str]) -> CohortPlan:
    """The plan of a folder.

    Raises:
        CardioDiTError: There is none, or it cannot be read.
    """
    path = Path(folder) / PLAN_NAME
    if not path.is_file():
        raise CardioDiTError(f"'{folder}' holds no cohort.", "Make a plan with 'cardiodit cohort plan'.")
    return CohortPlan.read(path)


def open_plan(folder: str | os.PathLike[str]) -> PlannedCohort:
    """The plan of a folder with its hearts.

    Raises:
        CardioDiTError: There is none, it cannot be read, or the table of hearts is not the one that was planned.
    """
    plan = read_plan(folder)
    return PlannedCohort(Path(folder), plan, read_hearts(Path(folder) / HEARTS_NAME, plan.hearts_sha256, plan.count))


def write_plan(folder: str | os.PathLike[str], plan: CohortPlan, hearts: Sequence[Heart]) -> bool:
    """Write a plan where there is none; the same plan twice is one.

    Returns:
        Whether it was written now.

    Raises:
        CardioDiTError: Another plan is there, the folder holds something else, or cannot be written.
    """
    place = Path(folder)
    if (place / PLAN_NAME).is_file():
        _refuse_other(place, CohortPlan.read(place / PLAN_NAME), plan)
        return False
    there = [path for path in place.iterdir() if path.name != HEARTS_NAME] if place.is_dir() else []
    if there:
        raise CardioDiTError(
            f"'{place}' is not empty: '{there[0].name}' is there.", "Give the name of a new or an empty folder."
        )
    # the plan comes last: a folder that has it has the table too
    for name, text in ((HEARTS_NAME, hearts_text(hearts)), (PLAN_NAME, plan.to_json())):
        with atomic_path(place / name) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
    return True


def table_sha256(hearts: Sequence[Heart]) -> str:
    """SHA-256 of the table of hearts."""
    return hashlib.sha256(hearts_text(hearts).encode("utf-8")).hexdigest()


def _refuse_other(folder: Path, there: CohortPlan, wanted: CohortPlan) -> None:
    for name in (item.name for item in fields(CohortPlan)):
        before, now = getattr(there, name), getattr(wanted, name)
        if before != now and name not in ("cardiodit_version", "bundle"):
            what = (
                "other hearts"
                if name in ("hearts_sha256", "drawn_from")
                else f"{name.replace('_', ' ')} {before!r}, not {now!r}"
            )
            raise CardioDiTError(
                f"'{folder}' holds another plan: {what}.", "Plan another folder, or run the one that is there."
            )
