"""Generation in the worker: networks stay loaded from one request to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CardioDiTLib.bundles.manifest import MANIFEST_NAME, BundleManifest
from CardioDiTLib.bundles.manifest_parts import Preset
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.diffusion.sampler_names import FEW_STEPS
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.plan import plan_before_loading
from CardioDiTLib.generation.progress import ProgressEvent
from CardioDiTLib.generation.request import DEFAULT_BUNDLE, GenerationRequest
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM
from CardioDiTLib.progress import Stop
from CardioDiTLib.service.arrays import cine_of, describe_cine, describe_segmentation, write_film
from CardioDiTLib.service.job import Job, Loaded
from CardioDiTLib.service.probe import load_torch

if TYPE_CHECKING:
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.privacy.gate import Gate

_KEPT_GENERATORS = 2
_KEPT_PREVIEWS = 4
_TIMED_STEPS = 3
_RESHAPING_SHARE = 0.6  # what moving a picture and coding it takes, of what decoding it takes


class GenerationJobs:
    """Jobs ``generate``, ``estimate`` and ``save_cine``, and the networks that they share."""

    def __init__(self) -> None:
        self._generators: Loaded[Generator] = Loaded(_KEPT_GENERATORS)

    def generate(self, job: Job) -> dict[str, Any]:
        """Make cines.

        Arguments of the job:
            request: `GenerationRequest.to_dict`.
            folder: Where the arrays and previews go.
            gate: Whether cines that lie too near to a training patient are drawn again, see `generate_gated`.
            false_alarm: Of the gate: share of novel patients refused; `privacy.false_alarm.FALSE_ALARM` without it.

        Returns:
            ``cines``: one a sample: `arrays.describe_cine`, name, seed, index, pathology, seconds, display_range;
            with a bundle that makes labels also ``segmentation``: `arrays.describe_segmentation`.
            ``warnings``: plain sentences about the request. ``licence``: of the model. ``seconds``: of the whole.
            ``drawn``, ``rejected``: how many cines were drawn, and how many of these the gate refused. With a gate,
            provenance and meta of a cine hold ``audit``.

        Raises:
            CardioDiTError: As `Generator.generate` does, with a gate also as `Gate.from_bundle` and `generate_gated`.
        """
        job.check_arguments("request", "folder", "gate", "false_alarm")
        request = GenerationRequest.from_dict(job.argument("request", dict))
        folder = Path(job.argument("folder", str))
        began = time.perf_counter()
        plan_before_loading(request)
        generator = self.generator(request.bundle, request.device, request.precision, job, request.backend)
        written: list[Path] = []
        with _Previews(job, folder, generator.bundle.manifest) as previews, nothing_left(written):
            gate = _gate(generator, job) if job.argument("gate", bool, False) else None
            results, drawn, rejected = _drawn(generator, request, gate, previews, job)
            cines = []
            for result in results:
                path = folder / f"{result.name}-{job.request.id}.npy"
                written.append(path)
                labels = {}
                if result.segmentation is not None:
                    labels_path = path.with_name(f"{path.stem}-labels.npy")
                    written.append(labels_path)
                    labels = {"segmentation": describe_segmentation(result.segmentation, labels_path)}
                cines.append(
                    {
                        **describe_cine(result.cine, path),
                        **labels,
                        "name": result.name,
                        "seed": result.seed,
                        "index": result.index,
                        "pathology": result.pathology,
                        "seconds": result.seconds,
                        "provenance": result.provenance,
                        "display_range": display_range(result.cine.array),
                    }
                )
        warnings = list(dict.fromkeys(warning for result in results for warning in result.warnings))
        licence = generator.bundle.manifest.licence.to_dict()
        seconds = time.perf_counter() - began
        return {
            "cines": cines,
            "licence": licence,
            "seconds": seconds,
            "drawn": drawn,
            "rejected": rejected,
            "warnings": warnings,
        }

    def estimate(self, job: Job) -> dict[str, Any]:
        """Load a bundle and time it, so that the first cine comes without waiting and the user knows how long it takes.

        Arguments of the job:
            bundle, device, precision, backend: As in a `GenerationRequest`.

        Returns:
            ``step_s``, ``guided_step_s``: seconds a denoising step; ``decode_s``: seconds a cine to decode; ``load_s``;
            ``presets``: {name: {steps, seconds, guided_seconds, steered_seconds}}, the last for hearts of which
            quantities are asked, drawn again as often as they may be; ``device``, ``precision`` and ``backend`` in use.
        """
        job.check_arguments("bundle", "device", "precision", "backend")
        names = [job.argument(name, str, None) for name in ("bundle", "device", "precision", "backend")]
        began = time.perf_counter()
        generator = self.generator(names[0], names[1], names[2], job, names[3])
        load_s = time.perf_counter() - began
        timing = _time_steps(generator, job)
        presets = {}
        for name, preset in generator.bundle.manifest.presets.items():
            guided = preset.steps * _asking_s(preset, timing) + timing["decode_s"]
            presets[name] = {
                "steps": preset.steps,
                "seconds": preset.steps * timing["step_s"] + timing["decode_s"],
                "guided_seconds": guided,
                "steered_seconds": guided + _redraws_s(generator, name, timing),
            }
        backend = generator.backend
        used = {"device": str(generator.device), "precision": backend.precision, "backend": backend.name}
        return {**timing, "load_s": load_s, "presets": presets, **used}

    def save_cine(self, job: Job) -> dict[str, Any]:
        """Write a cine as a file.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            path: Destination, ``.nii.gz``, ``.nii``, ``.seq.nrrd`` or ``.nrrd``, or ``.dcm`` for a folder of images.
            multi_frame: DICOM only: one multi-frame file in place of the folder.
        """
        job.check_arguments("cine", "path", "multi_frame")
        from CardioDiTLib.io import save_cine

        cine, path = cine_of(job.argument("cine", dict)), job.argument("path", str)
        return {"path": str(save_cine(cine, path, multi_frame=job.argument("multi_frame", bool, False)))}

    def generator(
        self, bundle: str | None, device: str | None, precision: str | None, job: Job, backend: str | None = None
    ) -> Generator:
        """A loaded generator; the last few are kept."""
        load_torch()
        from CardioDiTLib.generation.generator import Generator

        folder = find_bundle(bundle or DEFAULT_BUNDLE)
        manifest = folder / MANIFEST_NAME
        if not manifest.is_file():
            raise CardioDiTError(f"'{folder}' holds no {MANIFEST_NAME}.", "Give the folder of a bundle.")
        settings = (device or "auto", precision or "auto", backend or "torch")
        return self._generators.get(job, manifest, lambda: Generator.from_bundle(folder, *settings), *settings)

    def forget(self, folder: Path) -> None:
        """Let go of a bundle's networks, before it is removed or replaced."""
        self._generators.forget(folder)


def display_range(array: np.ndarray) -> list[float]:
    """(low, high) grey values for the screen, one pair for the whole cine, so that it does not flicker."""
    low, high = np.percentile(array[:: max(1, len(array) // 4)], [0.5, 99.7])
    return [float(low), float(max(high, low + 1))]


def _gate(generator: Generator, job: Job) -> Gate:
    from CardioDiTLib.privacy.gate import Gate

    rate = job.argument("false_alarm", float, None)
    return Gate.from_bundle(generator.bundle, FALSE_ALARM if rate is None else rate)


def _drawn(
    generator: Generator, request: GenerationRequest, gate: Gate | None, previews: _Previews, job: Job
) -> tuple[list[Any], int, int]:
    """Results, how many cines were drawn for them, and how many of these the gate refused."""

    def draw(one: GenerationRequest) -> list[Any]:
        return list(generator.generate(one, progress=previews.show, cancel=job.cancel))

    if gate is None:
        results = draw(request)
        return results, len(results), 0
    from CardioDiTLib.privacy.gate import generate_gated

    def judged(sample: int, _attempt: int, _verdict: Any) -> None:
        Stop(job.cancel).check()
        previews.judged(sample + 1, request.count)

    found = generate_gated(draw, request, gate, judged=judged)
    return found.results, found.drawn, found.rejected


def _time_steps(generator: Generator, job: Job) -> dict[str, float]:
    """Seconds a step and a decoding, from a short run; guided steps ask the network twice."""
    manifest = generator.bundle.manifest
    moments: list[tuple[str, float]] = []

    def note(event: ProgressEvent) -> None:
        moments.append((event.stage, time.perf_counter()))

    request = GenerationRequest(steps=_TIMED_STEPS, count=1, preset=next(iter(manifest.presets)))
    generator.generate(request, progress=note, cancel=job.cancel)
    ends = [moment for stage, moment in moments if stage == "denoise"]
    # the first step also sets things up
    step_s = min(later - earlier for earlier, later in pairwise(ends))
    return {"step_s": step_s, "guided_step_s": 2 * step_s, "decode_s": moments[-1][1] - ends[-1]}


def _asking_s(preset: Preset, timing: dict[str, float]) -> float:
    """Seconds a guided step; the few steps that a bundle was taught have their guidance in them."""
    return timing["step_s" if preset.sampler == FEW_STEPS else "guided_step_s"]


def _redraws_s(generator: Generator, preset: str, timing: dict[str, float]) -> float:
    """Seconds that a steered heart of a preset takes beyond another one, at most."""
    draws, steps = generator.redraws_of(GenerationRequest(preset=preset))
    asking_s = _asking_s(generator.bundle.manifest.presets[preset], timing)
    return draws * (steps * asking_s + (1 + _RESHAPING_SHARE) * timing["decode_s"])


@contextmanager
def nothing_left(written: Sequence[Path]) -> Iterator[None]:
    """Remove files again if the block does not end well."""
    try:
        yield
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


class _Previews:
    """Progress with small films of the heart as it appears; the files are gone when the job is."""

    def __init__(self, job: Job, folder: Path, manifest: BundleManifest) -> None:
        self._job, self._folder = job, folder
        self._spacing = list(manifest.grid.spacing_mm)
        self._files: list[Path] = []
        self._count = 0
        self._share = 0.0

    def __enter__(self) -> _Previews:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._files:
            path.unlink(missing_ok=True)

    def show(self, event: ProgressEvent) -> None:
        values = event.to_dict()
        values.pop("preview_shape")
        if event.preview is not None:
            values["preview"] = str(self._write(event.preview))
            values["preview_frames"] = len(event.preview)
            values["preview_spacing_mm"] = self._spacing[:2]
        # what a gate has drawn again begins anew, the share that is shown does not
        self._share = values["fraction"] = max(self._share, values["fraction"])
        self._job.progress(values.pop("stage"), **values)

    def judged(self, done: int, of: int) -> None:
        """A gate has judged a cine."""
        self._job.progress("judge", step=done, of=of, fraction=self._share, eta_s=None)

    def _write(self, preview: np.ndarray) -> Path:
        path = self._folder / f"preview-{self._job.request.id}-{self._count:04d}.pgm"
        self._count += 1
        self._files.append(write_film(preview, path))
        # whoever reads is not far behind; older films are of no use
        for old in self._files[:-_KEPT_PREVIEWS]:
            old.unlink(missing_ok=True)
        self._files = self._files[-_KEPT_PREVIEWS:]
        return path
