"""Completion and variation in the worker: cines of the scene in, cines out; networks stay loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import QUANTITY_NAMES
from CardioDiTLib.service.arrays import cine_of, describe_cine, segmentation_of
from CardioDiTLib.service.generation_jobs import display_range, nothing_left
from CardioDiTLib.service.job import Job, JobListener, Loaded
from CardioDiTLib.service.probe import load_torch
from CardioDiTLib.workflow.complete import (
    CompleteRequest,
    FromCineRequest,
    FromCineResult,
    VaryRequest,
    run,
    run_variation,
)

if TYPE_CHECKING:
    from CardioDiTLib.completion.completer import Completer

_OPTIONS = (
    *("bundle", "device", "seed", "count", "segmentation_weights"),
    *("pathology", "guidance", "preset", "steps", *QUANTITY_NAMES),
)
_GIVEN = ("cine", "folder", "segmentation", *_OPTIONS)


class CompletionJobs:
    """Jobs ``complete`` and ``vary``."""

    def __init__(self) -> None:
        self._completers: Loaded[Completer] = Loaded()

    def complete(self, job: Job) -> dict[str, Any]:
        """Fill slices and frames of a cine that nobody recorded.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            folder: Where the arrays go.
            missing_slices, missing_frames: Text such as "1,3,5" or "4-7", from 0; empty or absent for none.
            segmentation: Labels of the cine, for its pose; they are looked for without it.
            on_source, segmentation_weights, bundle, device, seed, count, pathology, guidance, preset, steps, edv_ml,
                ef_percent, lv_mass_g, lv_slices: See `CompleteRequest`.

        Returns:
            ``cines``: one a completion: `arrays.describe_cine`, display_range, seed, index, generated_slices,
            generated_frames (numbers of those that are made up altogether, on the grid of the result). ``warnings``.

        Raises:
            CardioDiTError: As `completion.complete` does.
        """
        job.check_arguments(*_GIVEN, "missing_slices", "missing_frames", "on_source")
        from CardioDiTLib.completion.missing import parse_indices

        slices, frames = (
            parse_indices(text, title) if (text := job.argument(name, str, "").strip()) else ()
            for name, title in (("missing_slices", "Missing slices"), ("missing_frames", "Missing frames"))
        )
        request = CompleteRequest(
            **_common(job), **job.given("on_source"), missing_slices=slices, missing_frames=frames
        )
        completer = self._loaded(request, job)
        done = run(request, progress=JobListener(job, "denoise"), cancel=job.cancel, completer=completer)
        return _described(job, "completion", request, done)

    def vary(self, job: Job) -> dict[str, Any]:
        """Hearts like one that is there.

        Arguments of the job:
            strength: 0 (only coded and decoded) to 1 (nothing is kept).
            cine, folder and the others: As for `complete`.

        Returns:
            As `complete`; where the bundle carries training embeddings, meta of a cine holds ``audit``.

        Raises:
            CardioDiTError: As `completion.vary` does.
        """
        job.check_arguments(*_GIVEN, "strength")
        request = VaryRequest(**_common(job), **job.given("strength"))
        completer = self._loaded(request, job)
        done = run_variation(request, progress=JobListener(job, "denoise"), cancel=job.cancel, completer=completer)
        return _described(job, "variation", request, done)

    def _loaded(self, request: FromCineRequest, job: Job) -> Completer:
        request.check()
        load_torch()
        from CardioDiTLib.bundles.bundle import load_bundle
        from CardioDiTLib.completion.completer import Completer

        folder, device = find_bundle(request.bundle), request.device
        return self._completers.get(job, folder / MANIFEST_NAME, lambda: Completer(load_bundle(folder), device), device)

    def forget(self, folder: Path) -> None:
        """Let go of a bundle's networks, before it is removed or replaced."""
        self._completers.forget(folder)


def _common(job: Job) -> dict[str, Any]:
    labels, options = job.argument("segmentation", dict, None), job.given(*_OPTIONS)
    if job.argument("count", int, 1) < 1:
        raise CardioDiTError(f"{options['count']} cines cannot be made.", "Ask for at least one.")
    return {
        "cine": cine_of(job.argument("cine", dict)),
        "segmentation": None if labels is None else segmentation_of(labels),
        **options,
    }


def _described(job: Job, kind: str, request: FromCineRequest, done: FromCineResult) -> dict[str, Any]:
    folder = Path(job.argument("folder", str))
    written: list[Path] = []
    cines = []
    with nothing_left(written):
        for index, result in enumerate(done.results):
            path = folder / f"{kind}-{index}-{job.request.id}.npy"
            written.append(path)
            cines.append(
                {
                    **describe_cine(result.cine, path),
                    "seed": request.seed,
                    "index": index,
                    "display_range": display_range(result.cine.array),
                    "generated_slices": np.flatnonzero(result.generated.all(axis=0)).tolist(),
                    "generated_frames": np.flatnonzero(result.generated.all(axis=1)).tolist(),
                }
            )
    return {"cines": cines, "warnings": done.warnings}
