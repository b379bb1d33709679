"""Hearts of a cohort as ordinary files: those that `cardiodit generate` would have written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.cohort.claims import shard_name
from CardioDiTLib.cohort.heart_record import CINE, LABELS
from CardioDiTLib.cohort.plan import SHARDS, PlannedCohort, open_plan
from CardioDiTLib.cohort.reading import CohortHeart, Shard
from CardioDiTLib.cohort.shard import read_shard_record
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.outputs import LABELS as LABEL_FORMAT
from CardioDiTLib.generation.outputs import check_formats, output_name, writers_of
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.io.output_set import Writer, refuse_existing, write_outputs

Numbers = Sequence[range] | Sequence[int] | None
"""Whole numbers, in ranges or one by one."""


def export_hearts(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    numbers: Numbers = None,
    seeds: Numbers = None,
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Write hearts of a cohort as files.

    Args:
        folder: Of the cohort.
        out: Where to.
        numbers: Hearts by number, in ranges or one by one.
        seeds: Hearts by seed, likewise.
        formats: Among `generation.outputs.FORMATS`; None for what is stored, and provenance.
        overwrite: Replace files that are there.

    Yields:
        Paths, as soon as the files of a heart are there.

    Raises:
        CardioDiTError: A heart is not planned or not made yet, or a file is there already; told before the first file.
    """
    cohort = open_plan(folder)
    plan = cohort.plan
    usual = (plan.storage, *((f"{LABEL_FORMAT}{plan.storage}",) if plan.labels else ()), "json")
    wanted = check_formats(usual if formats is None else formats)
    if not plan.labels and any(kind.startswith(LABEL_FORMAT) for kind in wanted):
        raise CardioDiTError("This cohort holds no labels.", "Leave the labels out, or use cardiodit segment.")
    hearts = _found(cohort, _chosen(cohort, numbers, seeds))
    called = cohort.file_names
    names = [called[heart.number] for heart in hearts]
    refuse_existing([Path(out) / output_name(name, kind) for name in names for kind in wanted], overwrite)
    return _written(hearts, names, Path(out), wanted, overwrite)


def result_of(heart: CohortHeart) -> GenerationResult:
    """A heart as its generator gave it: its geometry to the last bit, and nothing that reading a file adds."""
    record, provenance = heart.record, heart.record.provenance
    affine = np.array(record.affine, np.float64)
    stored, labels = heart.cine, heart.segmentation
    cine = Cine(stored.array, affine, stored.frame_times, provenance)
    segmentation = None
    if labels is not None:
        # the gate judges the picture, so that labels say nothing of it
        ungated = {name: value for name, value in provenance.items() if name != "audit"}
        segmentation = Segmentation(labels.array, affine, labels.frame_times, ungated)
    seed, index = int(provenance["seed"]), int(provenance["index"])
    return GenerationResult(cine, seed, index, record.heart.pathology, provenance, 0.0, None, segmentation)


def _chosen(
    cohort: PlannedCohort,
    numbers: Numbers,
    seeds: Numbers,
) -> list[int]:
    by_number, by_seed = _ranges(numbers), _ranges(seeds)
    count = cohort.plan.count
    outside = [max(one.start, count) if one.start >= 0 else one.start for one in by_number if _beyond(one, count)]
    if outside:
        raise CardioDiTError(f"There is no heart {min(outside)}.", f"The cohort has 0 to {count - 1}.")
    places = {number for one in by_number for number in one}
    chosen = [
        heart.number for heart in cohort.hearts if heart.number in places or any(heart.seed in one for one in by_seed)
    ]
    if not chosen:
        raise CardioDiTError("No heart of the cohort is among those.", "Give other numbers or seeds.")
    return chosen


def _ranges(values: Numbers) -> list[range]:
    """As ranges, which take no room however long they are."""
    return [value if isinstance(value, range) else range(value, value + 1) for value in values or ()]


def _beyond(numbers: range, count: int) -> bool:
    return len(numbers) > 0 and not (0 <= numbers[0] < count and 0 <= numbers[-1] < count)


def _found(cohort: PlannedCohort, numbers: list[int]) -> list[CohortHeart]:
    shards: dict[int, Shard] = {}
    hearts = []
    for number in numbers:
        place = number // cohort.plan.shard_size
        if place not in shards:
            path = cohort.folder / SHARDS / shard_name(place)
            if read_shard_record(path) is None:
                raise CardioDiTError(f"The shard of heart {number} is not whole yet.", "Run the cohort first.")
            shards[place] = Shard(path)
        hearts.append(shards[place][number])
    return hearts


def _written(
    hearts: list[CohortHeart], names: list[str], out: Path, wanted: tuple[str, ...], overwrite: bool
) -> Iterator[Path]:
    for heart, name in zip(hearts, names):
        storage = heart.record.storage
        stored = {storage: CINE, f"{LABEL_FORMAT}{storage}": LABELS}
        writers: dict[str, Writer] = {}
        for kind in wanted:
            if kind in stored:
                writers[output_name(name, kind)] = partial(_write, heart.content(stored[kind]))
        others = tuple(kind for kind in wanted if kind not in stored)
        writers |= writers_of(result_of(heart), others, name) if others else {}
        yield from write_outputs(out, writers, overwrite=overwrite)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)
