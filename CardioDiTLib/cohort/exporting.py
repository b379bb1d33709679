"""Hearts of a cohort as ordinary files: those that `cardiodit generate` would have written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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
from CardioDiTLib.generation.outputs import check_formats, output_name, save_results
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.io.output_set import refuse_existing, write_outputs

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
    files = [Path(out) / output_name(heart.record.name, kind) for heart in hearts for kind in wanted]
    refuse_existing(files, overwrite)
    return _written(hearts, Path(out), wanted, overwrite)


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
    by_number, by_seed = _flat(numbers), _flat(seeds)
    outside = sorted(number for number in by_number if not 0 <= number < cohort.plan.count)
    if outside:
        raise CardioDiTError(f"There is no heart {outside[0]}.", f"The cohort has 0 to {cohort.plan.count - 1}.")
    chosen = [heart.number for heart in cohort.hearts if heart.number in by_number or heart.seed in by_seed]
    if not chosen:
        raise CardioDiTError("No heart of the cohort is among those.", "Give other numbers or seeds.")
    return chosen


def _flat(values: Numbers) -> set[int]:
    return {one for value in values or () for one in (value if isinstance(value, range) else (value,))}


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


def _written(hearts: list[CohortHeart], out: Path, formats: tuple[str, ...], overwrite: bool) -> Iterator[Path]:
    for heart in hearts:
        storage = heart.record.storage
        stored = {storage: CINE, f"{LABEL_FORMAT}{storage}": LABELS}
        as_they_are = {
            output_name(heart.record.name, kind): heart.content(stored[kind]) for kind in formats if kind in stored
        }
        others = tuple(kind for kind in formats if kind not in stored)
        if as_they_are:
            writers = {name: (lambda path, data=data: path.write_bytes(data)) for name, data in as_they_are.items()}
            yield from write_outputs(out, writers, overwrite=overwrite)
        if others:
            yield from save_results([result_of(heart)], out, others, overwrite=overwrite)
