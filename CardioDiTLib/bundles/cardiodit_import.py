"""Published checkpoints made into a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.bundle import write_bundle
from CardioDiTLib.bundles.cardiodit_checkpoint import PublishedCheckpointInfo
from CardioDiTLib.bundles.cardiodit_config import read_config
from CardioDiTLib.bundles.cardiodit_read import PublishedModels, read_published
from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.bundles.manifest_parts import LatentSpec, Licence, NetworkSpec, TrainingData, usual_presets
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.grid import BundleGrid
from CardioDiTLib.schema import plain
from CardioDiTLib.version import __version__

SOURCE = "CardioDiT, arXiv 2603.25194"

CYCLE_NOTE = (
    "The published training repeats a cycle until it has the frames of the grid, so that a cine of this model may hold "
    "more than one beat. Its frame times spread the given cycle length over all frames; they are an assumption."
)
NATIVE_NOTE = (
    "The published training takes each cycle with its own number of frames, continued by its beginning up to a "
    "multiple that the codec shrinks. Ask for the frames of one beat; frame times spread the given cycle length over "
    "them."
)
GEOMETRY_NOTE = "A published checkpoint carries no geometry; spacing and affine are assumptions."
LICENCE_NOTE = "The checkpoint names no terms; those of its authors and of its training data hold."


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        folder: The new bundle.
        name: Its name.
        sha256: Fingerprint of the whole bundle.
        shape: (T, Z, Y, X) of the cines that it makes.
        notes: What was done and assumed, one sentence each.
    """

    folder: Path
    name: str
    sha256: str
    shape: tuple[int, int, int, int]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": str(self.folder),
            "name": self.name,
            "sha256": self.sha256,
            "shape": list(self.shape),
            "notes": list(self.notes),
        }


def import_published(
    stage1_checkpoint: str | Path,
    stage1_config: str | Path | Mapping[str, Any],
    dit_checkpoint: str | Path,
    dit_config: str | Path | Mapping[str, Any] | None,
    destination: str | os.PathLike[str],
    *,
    name: str | None = None,
    spacing_mm: Sequence[float] | None = None,
    cycle_s: float = 1.0,
    scale_factor: float | None = None,
    use_ema: bool = True,
    class_names: Sequence[str] | None = None,
    licence: Licence | None = None,
    data_source: str = "",
    storage: str = "fp32",
    quantised: bool = True,
    overwrite: bool = False,
) -> ImportReport:
    """Make a bundle of the published pairs of checkpoint and configuration.

    Args:
        stage1_checkpoint: Codec ``.pth``, a ``last_checkpoint.json`` or the folder of a run.
        stage1_config: Its YAML, or its content.
        dit_checkpoint: Transformer, likewise.
        dit_config: Its YAML, or its content; None for the one inside a training checkpoint of version 2.
        destination: Folder of the new bundle.
        name: Name of the bundle; the folder's where it is None.
        spacing_mm: (x, y, z) of the training images; None for those of the published data, 1 x 1 x 10, in version 2
            1.7 x 1.7 x 10.
        cycle_s: Seconds that all frames together last.
        scale_factor: Scale of the latents, where the configuration does not hold it.
        use_ema: Use the averaged weights where there are any.
        class_names: Names of the classes, in the order of the labels; numbers where it is None.
        licence: Terms of the checkpoint.
        data_source: What it was trained on.
        storage: "fp32", "fp16" or "int8".
        quantised: Decode the codes nearest to a sample; otherwise the sample itself. The published software has both.
        overwrite: Replace a bundle that lies there.

    Returns:
        What was done.

    Raises:
        CardioDiTError: A file is absent, damaged or unsafe, something does not fit, or the destination is taken.

    Examples:
        >>> report = import_published("vqgan.pth", "vqgan.yaml", "dit.pth", "dit.yaml", "my-model")  # doctest: +SKIP
        >>> report.notes[0]  # doctest: +SKIP
        "vqgan.pth: weights found under 'model'."
    """
    models = read_published(
        stage1_checkpoint, stage1_config, dit_checkpoint, dit_config, scale_factor=scale_factor, use_ema=use_ema
    )
    native = _keeps_frames(stage1_config)
    cycle_note = NATIVE_NOTE if native else CYCLE_NOTE
    notes = (*models.notes, GEOMETRY_NOTE, cycle_note)
    if spacing_mm is None:
        spacing_mm = (1.7, 1.7, 10.0) if models.is_version2 else (1.0, 1.0, 10.0)
    manifest = _manifest(
        models,
        name=name or Path(destination).name,
        grid=_grid(models, spacing_mm, cycle_s),
        class_names=_class_names(models, class_names),
        licence=licence or Licence("not stated", LICENCE_NOTE),
        data_source=data_source or "Not stated in the checkpoint.",
        notes=notes,
        cycle_note=cycle_note,
        quantised=quantised,
    )
    bundle = write_bundle(
        destination,
        manifest,
        models.vqgan,
        models.dit,
        models.latent_scale,
        model_card=_model_card(manifest, notes),
        storage=storage,
        overwrite=overwrite,
    )
    return ImportReport(bundle.folder, manifest.name, bundle.sha256, manifest.grid.shape, notes)


def _keeps_frames(stage1_config: str | Path | Mapping[str, Any]) -> bool:
    """Whether the codec was trained on cycles with their own number of frames."""
    training = read_config(stage1_config).get("training")
    return isinstance(training, Mapping) and training.get("target_frames") == "native"


def _grid(models: PublishedModels, spacing_mm: Sequence[float], cycle_s: float) -> BundleGrid:
    slices, height, width, frames = models.image_size
    if len(spacing_mm) != 3:
        raise CardioDiTError(f"The spacing {list(spacing_mm)} is not three numbers.", "Give x, y and z in mm.")
    x, y, z = spacing_mm
    return BundleGrid(slices, height, width, frames, (x, y, z), cycle_s)


def _class_names(models: PublishedModels, given: Sequence[str] | None) -> tuple[str, ...]:
    number = models.dit.num_classes
    if given is None:
        return tuple(str(label) for label in range(number))
    if len(given) != number:
        raise CardioDiTError(
            f"{len(given)} class names were given for a transformer with {number} classes.", "Give one name a class."
        )
    return tuple(given)


def _manifest(
    models: PublishedModels,
    *,
    name: str,
    grid: BundleGrid,
    class_names: tuple[str, ...],
    licence: Licence,
    data_source: str,
    notes: Sequence[str],
    cycle_note: str,
    quantised: bool,
) -> BundleManifest:
    schedule = models.schedule.to_schedule()
    return BundleManifest(
        name=name,
        version="1.0.0",
        title=f"{name} (imported)",
        description=f"A published latent diffusion transformer for short-axis cine MRI. {cycle_note}",
        licence=licence,
        training_data=TrainingData(data_source, motion=cycle_note),
        grid=grid,
        codec=NetworkSpec("VQGAN", plain(models.stage1_params), "codec.safetensors"),
        dit=NetworkSpec("DiT4D", plain(models.dit_params), "dit.safetensors"),
        latents=LatentSpec(
            models.dit.in_channels,
            quantised=quantised,
            file="latents.safetensors" if models.normalized else None,
            scale_factor=None if models.normalized else models.scale_factor,
        ),
        schedule=schedule.to_config(),
        class_names=class_names,
        presets=usual_presets("published", most=None if schedule.continuous else models.schedule.num_train_timesteps),
        references=(SOURCE,),
        provenance={
            "imported_with": f"CardioDiT {__version__}",
            "stage1": _found(models.stage1_info),
            "dit": _found(models.dit_info),
            "notes": list(notes),
        },
    )


def _found(info: PublishedCheckpointInfo) -> dict[str, Any]:
    return {
        "file_name": info.file_name,
        "layout": info.layout,
        "averaged_weights": bool(info.ema_keys),
        "training": {key: value for key, value in info.training.items() if not _is_odd(value)},
    }


def _is_odd(value: Any) -> bool:
    """NaN and infinity, which JSON does not have."""
    return isinstance(value, float) and not abs(value) < float("inf")


def _model_card(manifest: BundleManifest, notes: Sequence[str]) -> str:
    lines = [
        f"# {manifest.title}",
        "",
        manifest.description,
        "",
        f"- Source: {SOURCE}",
        f"- Licence: {manifest.licence.name}. {manifest.licence.conditions}",
        f"- Training data: {manifest.training_data.data_source}",
        f"- Use: {manifest.intended_use}",
        "",
        "## What the import did",
        "",
        *(f"- {note}" for note in notes),
        "",
    ]
    return "\n".join(lines)
