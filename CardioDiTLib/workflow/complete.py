"""Cines made from a cine: its gaps filled, or hearts like it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.plan import plan_before_loading
from CardioDiTLib.generation.request import DEFAULT_BUNDLE, QUANTITY_NAMES, GenerationRequest
from CardioDiTLib.io import save_cine
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.io.output_set import Writer, check_folder, refuse_existing, write_outputs
from CardioDiTLib.progress import CancelSource, Listener, steps_to
from CardioDiTLib.schema import Bounds, Record
from CardioDiTLib.workflow.sources import (
    CineFile,
    CineSource,
    LabelSource,
    check_destination,
    check_models,
    cine_at,
    labels_at,
    reading_notes,
)

if TYPE_CHECKING:
    from CardioDiTLib.completion.completer import Completer
    from CardioDiTLib.completion.result import CompletionResult


@dataclass(frozen=True, kw_only=True)
class FromCineRequest(Record):
    """What orders for cines made from a cine have in common.

    Args:
        cine: What they are made from.
        bundle: Name or folder of the model.
        seed: The same seed gives the same cines.
        count: How many.
        pathology, guidance, preset, steps, edv_ml, ef_percent, lv_mass_g, lv_slices: See `GenerationRequest`.
        segmentation: Labels of the cine, for the pose; None finds them.
        segmentation_weights: Segmentation model in place of the embedded one.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        overwrite: Replace files that are there.
    """

    record_name = "request for cines made from a cine"

    cine: CineSource
    bundle: str = DEFAULT_BUNDLE
    seed: int = GenerationRequest.seed
    count: int = GenerationRequest.count
    pathology: str | None = None
    guidance: float | None = None
    preset: str = GenerationRequest.preset
    steps: int | None = None
    edv_ml: float | None = None
    ef_percent: float | None = None
    lv_mass_g: float | None = None
    lv_slices: float | None = None
    segmentation: LabelSource | None = None
    segmentation_weights: str | None = None
    device: str = "auto"
    overwrite: bool = False

    def check(self) -> None:
        """See that model and device can be had, and the hearts of the model; told before torch is loaded.

        Raises:
            CardioDiTError: They cannot.
        """
        check_models(self.segmentation_weights, device=self.device)
        plan_before_loading(GenerationRequest(bundle=self.bundle, **self._drawn()))

    def _drawn(self) -> dict[str, Any]:
        asked = {name: value for name in QUANTITY_NAMES if (value := getattr(self, name)) is not None}
        names = ("seed", "count", "pathology", "guidance", "preset", "steps")
        return {**{name: getattr(self, name) for name in names}, **asked}

    def settings(self) -> dict[str, Any]:
        """What `complete` and `vary` take alike, beside cine and model; labels are read now."""
        return {
            **self._drawn(),
            "segmentation": None if self.segmentation is None else labels_at(self.segmentation),
            "weights": self.segmentation_weights,
            "device": self.device,
        }


@dataclass(frozen=True, kw_only=True)
class CompleteRequest(FromCineRequest):
    """An order to fill slices and frames that nobody recorded.

    Args:
        missing_slices, missing_frames: Numbers from 0.
        on_source: The result on the grid of the cine, not on that of the model.
        destination: File for the first of the cines; they are only given back without it.
    """

    missing_slices: tuple[int, ...] = ()
    missing_frames: tuple[int, ...] = ()
    on_source: bool = False
    destination: str | None = None


@dataclass(frozen=True, kw_only=True)
class VaryRequest(FromCineRequest):
    """An order for hearts like one that is there.

    Args:
        strength: 0 (only coded and decoded) to 1 (nothing is kept).
        out: Folder for the cines and their provenance; they are only given back without it.
    """

    strength: Annotated[float, Bounds(least=0, most=1)] = 0.5
    out: str | None = None


@dataclass(frozen=True, eq=False)
class FromCineResult:
    """Cines made from a cine.

    Attributes:
        results: The cines.
        files: Those that were written, without provenance.
        read: How the cine was read, what should be known of it.
    """

    results: tuple[CompletionResult, ...]
    files: tuple[Path, ...]
    read: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """What should be known of the results, each sentence once."""
        return list(dict.fromkeys(warning for result in self.results for warning in result.warnings))


def run(
    request: CompleteRequest,
    *,
    progress: Listener | None = None,
    cancel: CancelSource = None,
    completer: Completer | None = None,
) -> FromCineResult:
    """Fill, and write where a file is asked for.

    Args:
        request: The order.
        progress: Told of the stage "denoise", in steps.
        cancel: Asked after every step.
        completer: The model of the request, where it is loaded already.

    Raises:
        CardioDiTError: As `completion.complete.complete` does, or the file is there or is none for a cine.
        Cancelled: `cancel` said so.
    """
    destination = None if request.destination is None else Path(request.destination)
    if destination is not None:
        check_destination(destination, request.overwrite)
        if not destination.name.lower().endswith((".nii", ".nii.gz", ".nrrd")):
            raise CardioDiTError(f"'{destination.name}' is no cine file.", "Use .nii.gz, .nii, .seq.nrrd or .nrrd.")
    request.check()
    cine = cine_at(request.cine)
    from CardioDiTLib.completion.complete import complete

    results = complete(
        cine,
        bundle=request.bundle if completer is None else completer,
        missing_slices=request.missing_slices,
        missing_frames=request.missing_frames,
        on_source=request.on_source,
        progress=steps_to(progress, "denoise"),
        cancel=cancel,
        **request.settings(),
    )
    files = () if destination is None else (save_cine(results[0].cine, destination),)
    return FromCineResult(tuple(results), files, _how_read(request, cine))


def run_variation(
    request: VaryRequest,
    *,
    progress: Listener | None = None,
    cancel: CancelSource = None,
    completer: Completer | None = None,
) -> FromCineResult:
    """Vary, and write all files, or none, where a folder is given; as `run`."""
    request.check()
    names: list[str] = []
    if request.out is not None:
        stem = file_stem(Path(request.cine.path)) if isinstance(request.cine, CineFile) else "cine"
        names = [f"{stem}_variation_{index:03d}" for index in range(request.count)]
        folder = Path(request.out)
        check_folder(folder)
        wanted = [folder / f"{name}{suffix}" for name in names for suffix in (".nii.gz", ".json")]
        refuse_existing(wanted, request.overwrite)
    cine = cine_at(request.cine)
    from CardioDiTLib.completion.vary import vary

    results = vary(
        cine,
        bundle=request.bundle if completer is None else completer,
        strength=request.strength,
        progress=steps_to(progress, "denoise"),
        cancel=cancel,
        **request.settings(),
    )
    files: list[Path] = []
    if request.out is not None:
        writers: dict[str, Writer] = {}
        for name, result in zip(names, results):
            writers[f"{name}.nii.gz"] = partial(save_cine, result.cine)
            writers[f"{name}.json"] = partial(_save_provenance, result.provenance)
        files = write_outputs(request.out, writers, overwrite=request.overwrite)[::2]
    return FromCineResult(tuple(results), tuple(files), _how_read(request, cine))


def _how_read(request: FromCineRequest, cine: Cine) -> tuple[str, ...]:
    return tuple(reading_notes(cine.meta)) if isinstance(request.cine, CineFile) else ()


def _save_provenance(provenance: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
