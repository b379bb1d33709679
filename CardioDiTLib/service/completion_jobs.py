"""Completion and variation in the worker: cines of the scene in, cines out; networks stay loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import sha256_of
from CardioDiTLib.generation.request import DEFAULT_BUNDLE
from CardioDiTLib.service.arrays import cine_of, describe_cine, segmentation_of
from CardioDiTLib.service.generation_jobs import display_range, nothing_left
from CardioDiTLib.service.job import Job, MeasurementProgress
from CardioDiTLib.service.probe import load_torch

if TYPE_CHECKING:
    from CardioDiTLib.completion.completer import Completer
    from CardioDiTLib.completion.result import CompletionResult

_COMMON = (
    *("cine", "folder", "bundle", "device", "seed", "count", "segmentation", "segmentation_weights"),
    *("pathology", "guidance", "preset", "steps"),
)


class CompletionJobs:
    """Jobs ``complete`` and ``vary``."""

    def __init__(self) -> None:
        self._completer: tuple[tuple[str, str], Completer] | None = None

    def complete(self, job: Job) -> dict[str, Any]:
        """Fill slices and frames of a cine that nobody recorded.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            folder: Where the arrays go.
            missing_slices, missing_frames: Text such as "1,3,5" or "4-7", from 0; empty or absent for none.
            on_source: Whether the result has the grid of the cine; that of the model without it.
            segmentation: Labels of the cine, for its pose; they are looked for without it.
            segmentation_weights: Folder of a segmentation model in place of the embedded one.
            bundle, device, seed, count, pathology, guidance, preset, steps: As `completion.complete` takes them.

        Returns:
            ``cines``: one a completion: `arrays.describe_cine`, display_range, seed, index, generated_slices,
            generated_frames (numbers of those that are made up altogether, on the grid of the result). ``warnings``.

        Raises:
            CardioDiTError: As `completion.complete` does.
        """
        job.check_arguments(*_COMMON, "missing_slices", "missing_frames", "on_source")
        from CardioDiTLib.completion.missing import parse_indices

        slices, frames = (
            parse_indices(text, title) if (text := job.argument(name, str, "").strip()) else ()
            for name, title in (("missing_slices", "Missing slices"), ("missing_frames", "Missing frames"))
        )
        on_source = job.argument("on_source", bool, False)

        def make(completer: Completer, **common: Any) -> list[CompletionResult]:
            from CardioDiTLib.completion.complete import complete

            return complete(
                bundle=completer, on_source=on_source, missing_slices=slices, missing_frames=frames, **common
            )

        return self._run(job, "completion", make)

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
        job.check_arguments(*_COMMON, "strength")
        strength = job.argument("strength", float, 0.5)
        from CardioDiTLib.completion.strength import check_strength

        load_torch()
        check_strength(strength)

        def make(completer: Completer, **common: Any) -> list[CompletionResult]:
            from CardioDiTLib.completion.vary import vary

            return vary(bundle=completer, strength=strength, **common)

        return self._run(job, "variation", make)

    def _run(self, job: Job, kind: str, make: Callable[..., list[CompletionResult]]) -> dict[str, Any]:
        folder = Path(job.argument("folder", str))
        cine = cine_of(job.argument("cine", dict))
        labels = job.argument("segmentation", dict, None)
        optional = {name: job.argument(name, str, None) for name in ("pathology", "preset")}
        optional |= {"guidance": job.argument("guidance", float, None), "steps": job.argument("steps", int, None)}
        seed, count = job.argument("seed", int, 0), job.argument("count", int, 1)
        if count < 1:
            raise CardioDiTError(f"{count} cines cannot be made.", "Ask for at least one.")
        completer = self._loaded(job)
        results = make(
            completer,
            cine=cine,
            segmentation=None if labels is None else segmentation_of(labels),
            weights=job.argument("segmentation_weights", str, None),
            seed=seed,
            count=count,
            progress=MeasurementProgress(job, "denoise"),
            cancel=job.cancel,
            **{name: value for name, value in optional.items() if value is not None},
        )
        written: list[Path] = []
        cines = []
        with nothing_left(written):
            for index, result in enumerate(results):
                path = folder / f"{kind}-{index}-{job.request.id}.npy"
                written.append(path)
                cines.append(
                    {
                        **describe_cine(result.cine, path),
                        "seed": seed,
                        "index": index,
                        "display_range": display_range(result.cine.array),
                        "generated_slices": np.flatnonzero(result.generated.all(axis=0)).tolist(),
                        "generated_frames": np.flatnonzero(result.generated.all(axis=1)).tolist(),
                    }
                )
        return {
            "cines": cines,
            "warnings": list(dict.fromkeys(warning for result in results for warning in result.warnings)),
        }

    def _loaded(self, job: Job) -> Completer:
        """The networks; the last ones are kept, and a bundle that has changed on disk is loaded anew."""
        load_torch()
        from CardioDiTLib.bundles.bundle import load_bundle
        from CardioDiTLib.completion.completer import Completer

        folder = find_bundle(job.argument("bundle", str, None) or DEFAULT_BUNDLE)
        manifest = folder / MANIFEST_NAME
        device = job.argument("device", str, None) or "auto"
        key = (f"{folder.resolve()}@{sha256_of(manifest) if manifest.is_file() else ''}", device)
        if self._completer is None or self._completer[0] != key:
            job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)
            self._completer = None
            self._completer = (key, Completer(load_bundle(folder), device))
        return self._completer[1]

    def forget(self, folder: Path) -> None:
        """Let go of a bundle's networks, before it is removed or replaced."""
        if self._completer is not None and self._completer[0][0].startswith(f"{folder.resolve()}@"):
            self._completer = None
