"""Synthetic cines into a folder: each is written, whole, as soon as it is there; a run that was ended goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from CardioDiTLib.device import check_device_name
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.outputs import LABELS, check_formats, output_name, save_results
from CardioDiTLib.generation.plan import SamplingPlan, make_plan, plan_before_loading
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.generation.result import sample_name
from CardioDiTLib.generation.resume import RECORDS, missing_formats
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM
from CardioDiTLib.progress import CancelSource
from CardioDiTLib.schema import Record, Unknowable

if TYPE_CHECKING:
    from CardioDiTLib.bundles.manifest import BundleManifest
    from CardioDiTLib.bundles.manifest_parts import Licence
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.progress import ProgressCallback, ProgressEvent
    from CardioDiTLib.generation.result import GenerationResult
    from CardioDiTLib.privacy.gate import Gate

USUAL = ("nii.gz", "json")
"""Written where nothing else is asked for, with labels where there are some."""


@dataclass(frozen=True)
class CohortRequest(Record):
    """An order for cines as files.

    Args:
        cines: What to make.
        out: Folder for the files.
        formats: Among `generation.outputs.FORMATS`; None for `USUAL`, with labels where the model makes some.
        gate: Draw cines again that lie nearer to a training patient than novel patients do.
        false_alarm: Of the gate: share of novel patients refused.
        redraws: Of the gate: at most, for a cine.
        resume: Go on with an earlier run of the same request: leave out what is there.
        overwrite: Replace files that are there.
    """

    record_name = "request for a cohort"

    cines: GenerationRequest
    out: str = "out"
    formats: tuple[str, ...] | None = None
    gate: bool = False
    false_alarm: Unknowable = FALSE_ALARM  # the gate itself refuses what is no share
    redraws: int = 20
    resume: bool = False
    overwrite: bool = False


class Cohort:
    """Cines of a request, in a folder.

    Args:
        request: The order.

    Raises:
        CardioDiTError: It cannot be fulfilled: what can be told before work is told here.
    """

    def __init__(self, request: CohortRequest) -> None:
        self.formats = check_formats(USUAL if request.formats is None else request.formats)
        if request.resume and request.overwrite:
            raise CardioDiTError("--resume leaves what is there, --overwrite replaces it.", "Give one of them.")
        self._request, self._folder = request, Path(request.out)
        check_folder(self._folder)
        check_device_name(request.cines.device or "auto")
        # what the manifest tells is told before seconds are spent on loading networks
        manifest, plan = plan_before_loading(request.cines)
        self._check_labels(manifest)
        if not request.resume:
            self._refuse_existing(manifest, plan)
        from CardioDiTLib.generation.generator import Generator

        self._generator: Generator = Generator.for_request(request.cines)
        self._gate: Gate | None = None
        if request.gate:
            from CardioDiTLib.privacy.gate import Gate

            self._gate = Gate.from_bundle(self._generator.bundle, request.false_alarm)
        self._missing = self._formats_to_write()
        self.whole = sum(not one for one in self._missing)
        """Cines that are there, all their files written."""
        self.drawn = self.refused = 0
        """Cines that were drawn for a gate, and how many of them it refused."""

    @property
    def can_go_on(self) -> bool:
        """Whether the files say enough for an ended run to be resumed."""
        return bool(set(self.formats) & set(RECORDS))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be known of the request, in plain sentences."""
        bundle = self._generator.bundle
        return tuple(make_plan(self._request.cines, bundle.manifest, bundle.dit.null_class).warnings)

    @property
    def licence(self) -> Licence:
        """Terms of the model."""
        return self._generator.bundle.manifest.licence

    def make(self, progress: ProgressCallback, cancel: CancelSource = None) -> Iterator[list[Path]]:
        """Make what is missing.

        Args:
            progress: Told of the whole, in `ProgressEvent`.
            cancel: Asked after every step and slice.

        Yields:
            The files of each cine, once they are written.

        Raises:
            Cancelled: `cancel` said so; cines that are written stay.
            CardioDiTError: As `Generator.batches` and `generate_gated` do, or a file cannot be written.
        """
        cines = self._request.cines
        made = self._generator.batches(
            cines,
            progress=progress,
            cancel=cancel,
            wanted=lambda numbers: any(self._missing[number] for number in numbers),
        )
        for batch in made:
            for result in batch if self._gate is None else self._gated(batch, self._gate):
                suffixes = self._missing[result.index - cines.first_index]
                if suffixes:
                    written = save_results([result], self._folder, suffixes, overwrite=self._request.overwrite)
                    self.whole += 1
                    yield written

    def _check_labels(self, manifest: BundleManifest) -> None:
        has_labels = manifest.names_tissues
        if self._request.formats is None and has_labels:
            self.formats = (*self.formats, "labels.nii.gz")
        if not has_labels and any(one.startswith(LABELS) for one in self.formats):
            raise CardioDiTError(
                f"The model '{manifest.name}' makes no labels with its hearts.",
                "Leave the labels out, and use cardiodit segment on the cines.",
            )

    def _formats_to_write(self) -> list[tuple[str, ...]]:
        """Formats of each cine that are not there yet."""
        records = self._generator.provenances(self._request.cines)
        if self._request.resume:
            rate = float(self._request.false_alarm) if self._request.gate else None
            return [missing_formats(self._folder, one, self.formats, false_alarm=rate) for one in records]
        return [self.formats] * len(records)

    def _refuse_existing(self, manifest: BundleManifest, plan: SamplingPlan) -> None:
        cines = self._request.cines
        names = [
            sample_name(manifest.name, cines.seed, cines.first_index + number, pathology)
            for number, pathology in enumerate(plan.pathologies)
        ]
        files = [self._folder / output_name(name, suffix) for name in names for suffix in self.formats]
        refuse_existing(files, self._request.overwrite)

    def _gated(self, batch: list[GenerationResult], gate: Gate) -> list[GenerationResult]:
        """A batch as the gate lets it pass."""
        from CardioDiTLib.privacy.gate import generate_gated

        cines = self._request.cines
        part = cines.part(batch[0].index - cines.first_index, len(batch))

        def make(one: GenerationRequest) -> list[GenerationResult]:
            return batch if one is part else self._generator.generate(one, progress=_nobody)

        found = generate_gated(make, part, gate, redraws=self._request.redraws)
        self.drawn += found.drawn
        self.refused += found.drawn - len(batch)
        return found.results


def _nobody(event: ProgressEvent) -> None:
    """The bar of the whole goes on meanwhile."""
