"""From a training run to a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from CardioDiTLib.bundles.bundle import Bundle, write_bundle
from CardioDiTLib.bundles.manifest import GENERATOR, BundleManifest
from CardioDiTLib.bundles.manifest_parts import (
    LatentSpec,
    Licence,
    NetworkSpec,
    Preset,
    SteeredQuantity,
    TrainingData,
    usual_presets,
)
from CardioDiTLib.data.morph import BLOOD_GREY
from CardioDiTLib.diffusion.any_schedule import schedule_from_config
from CardioDiTLib.diffusion.sampler_names import FEW_STEPS
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.heart_quantities import TITLES
from CardioDiTLib.generation.plan import WHOLE_WAY_STEPS
from CardioDiTLib.grid import BundleGrid
from CardioDiTLib.training.checkpoint import finished_steps
from CardioDiTLib.training.config import TrainingConfig
from CardioDiTLib.training.latents import LatentSet, read_buckets
from CardioDiTLib.training.model_texts import read_texts
from CardioDiTLib.training.run import TrainingRun
from CardioDiTLib.training.start import started_from

TEXTS = (
    *("name", "version", "title", "description", "licence", "training_data", "spacing_mm", "cycle_s", "presets"),
    *("class_titles", "references", "eval_metrics", "audit", "authors", "copyright", "intended_use", "provenance"),
)
"""Entries of the JSON with what only a person knows of a model."""


def export_bundle(
    config: TrainingConfig,
    folder: str | Path,
    destination: str | Path,
    *,
    describe: str | Path | None = None,
    card: str | Path | None = None,
    storage: str = "int8",
    overwrite: bool = False,
    start_from: str | Path | None = None,
) -> Path:
    """Writes the averaged networks of a run as a bundle.

    Args:
        config: The run's settings.
        folder: The run's folder.
        destination: Folder of the bundle.
        describe: JSON with the texts and numbers that only a person knows, entries among `TEXTS`.
        card: Markdown of the model card; `{duration}` and the like are not filled in.
        storage: Weights at rest: fp32, fp16 or int8 (a scale for each output channel).
        overwrite: Replace a bundle that lies there.
        start_from: The bundle that the run started from, if it did; the run's folder remembers it. The new bundle has
            its classes, presets and terms. Where only its decoder went on, everything else of it is taken over. Name,
            version, measured quality and audit are never the old ones.

    Returns:
        The bundle's folder.
    """
    folder = Path(folder)
    run = TrainingRun(config, folder / "none", folder, start_from)
    texts = read_texts(describe, TEXTS)
    GENERATOR.check_destination(Path(destination), overwrite)
    if run.start is not None and finished_steps(folder / "decoder") and not finished_steps(folder / "dit"):
        return _with_new_decoder(run.start, run, texts, card, Path(destination), storage, overwrite)
    sets = read_buckets(folder / "latents")
    latents = sets[0]
    settings = config.dit.stage
    if settings.baseline in ("slice2dt", "channel3dt"):
        raise CardioDiTError(
            f"A bundle cannot hold the baseline '{settings.baseline}'.",
            "It is there to be compared with; train full4d.",
        )
    dit, scale = run.transformer()
    attention = {"attention": "factorised"} if settings.baseline == "factorised" else {}
    patch = settings.patch if settings.coordinates else None
    refiner = run.refiner()
    said = {**_inherited(run.start, Path(destination)), **texts}
    text = _card(card, said)
    manifest = BundleManifest(
        name=said.pop("name", config.name),
        version=said.pop("version", "0.1.0"),
        title=said.pop("title", config.name),
        description=said.pop("description", "A generator of synthetic short-axis cine cardiac MRI."),
        licence=Licence.from_dict(
            said.pop("licence", {"name": "unknown", "conditions": "Ask who trained it.", "needs_acceptance": True})
        ),
        training_data=TrainingData.from_dict(said.pop("training_data", {"data_source": "unknown"})),
        grid=BundleGrid(
            slices=config.grid.slices,
            height=config.grid.size,
            width=config.grid.size,
            frames=config.grid.frames,
            spacing_mm=_agreed(said, "spacing_mm", latents.about["spacing_mm"]),
            cycle_s=_agreed(said, "cycle_s", latents.about["cycle_s"]),
        ),
        codec=NetworkSpec("VQGAN", dict(config.vqgan.stage.model), "codec.safetensors"),
        dit=NetworkSpec("DiT4D", {**settings.model, **attention}, "dit.safetensors"),
        # Codes are taken before decoding whether or not the transformer learned rounded latents: the decoder knows
        # nothing else.
        latents=LatentSpec(
            channels=run.codec().embedding_dim,
            quantised=True,
            modes=settings.modes,
            file="latents.safetensors",
            patch=patch,
        ),
        schedule=schedule_from_config(settings.schedule).to_config(),
        class_names=run.class_names(latents),
        refiner=_refiner_spec(config, run),
        quantities=_quantities(sets, run.start) if settings.model.get("num_conditions", 0) else (),
        presets={name: Preset.from_dict(values) for name, values in said.pop("presets", {}).items()}
        or usual_presets("trained"),
        provenance={
            "codec_steps": finished_steps(run.codec_folder()),
            "dit_steps": finished_steps(folder / "dit"),
            **({"refiner_steps": refined} if (refined := finished_steps(folder / "refiner")) else {}),
            **({} if run.start is None else {"started_from": started_from(run.start)}),
            **({"blood_grey": BLOOD_GREY} if config.latents.augmentation.morphs else {}),
            **said.pop("provenance", {}),
        },
        **said,
    )
    bundle: Bundle = write_bundle(
        destination,
        manifest,
        run.codec(),
        dit,
        scale,
        model_card=text,
        storage=storage,
        overwrite=overwrite,
        refiner=refiner,
    )
    return bundle.folder


def _inherited(start: Bundle | None, destination: Path) -> dict[str, Any]:
    """What a fine-tuned model has of the one that it began from, unless the owner's texts say otherwise.

    Its terms go on: they bind what is made from it. Measured quality, audit and training embeddings do not: they say
    nothing about the new weights and the new training set.
    """
    if start is None:
        return {}
    old = start.manifest
    title = f"{old.title} ({old.version}), trained on"
    return {
        "name": own_name(old.name, destination),
        "title": title,
        "description": f"{old.description} This one was trained on from {old.name} {old.version} with other data.",
        "licence": old.licence.to_dict(),
        "training_data": {
            "data_source": f"Data of its owner, going on from {old.name} {old.version}, which was trained on: "
            f"{old.training_data.data_source}"
        },
        "class_titles": list(old.class_titles),
        "presets": {name: _whole_way(preset).to_dict() for name, preset in old.presets.items()},
        "intensity_range": list(old.intensity_range),
        "affine": old.affine,
        "copyright": old.copyright,
        "references": list(old.references),
        "intended_use": old.intended_use,
    }


def _whole_way(preset: Preset) -> Preset:
    """A preset for a transformer that was trained on: few steps were taught to the one before."""
    return Preset(WHOLE_WAY_STEPS, guidance=preset.guidance) if preset.sampler == FEW_STEPS else preset


def own_name(old: str, destination: Path) -> str:
    """A name that is not the old one: the folder's, where it can be the name of a bundle."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", destination.resolve().name).lstrip("._-")
    return name if name and name.lower() != old.lower() else f"{old}-own"


def _card(card: str | Path | None, said: Mapping[str, Any]) -> str:
    if card is None:
        return f"# {said.get('title', 'A model')}\n\n{said.get('description', '')}\n"
    try:
        return Path(card).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardioDiTError(f"The model card '{card}' cannot be read.", "Give a Markdown file.") from error


def _with_new_decoder(
    start: Bundle,
    run: TrainingRun,
    texts: dict[str, Any],
    card: str | Path | None,
    destination: Path,
    storage: str,
    overwrite: bool,
) -> Path:
    """The bundle that a run started from, with the decoder that the run trained on, under a name of its own.

    Training embeddings, few steps and refiner go along: transformer and training set are the same. Measured quality and
    audit do not, since samples look different now.
    """
    about = start.manifest.to_dict()
    steps = {"decoder_steps_more": finished_steps(run.folder / "decoder"), "started_from": started_from(start)}
    about["provenance"] = {**about["provenance"], **steps, **texts.pop("provenance", {})}
    for name in ("spacing_mm", "cycle_s"):
        _agreed(texts, name, about["grid"][name])
    about.pop("detail", None)  # fitted to what the old decoder made
    about |= {"eval_metrics": {}, "audit": {}, "name": own_name(start.manifest.name, destination)}
    about["version"] = _next_version(start.manifest.version)
    about |= texts
    privacy, few_steps = start.manifest.privacy, start.manifest.few_steps
    kept = (*(() if privacy is None else privacy.files), *(() if few_steps is None else (few_steps.file,)))
    files = {name: start.checked_file(name) for name in kept}
    if card is not None:
        text = _card(card, about)
    else:
        old, count = start.manifest, steps["decoder_steps_more"]
        text = (
            f"# {about['title']}: {about['name']} {about['version']}\n\nThis is {old.name} {old.version} with a "
            f"decoder that was trained on for {count} steps. Everything else is as it was, to the byte. Figures and "
            f"audit below were measured before that, on {old.name} {old.version}.\n\n{_lowered(start.model_card)}"
        )
    bundle = write_bundle(
        destination,
        BundleManifest.from_dict(about),
        run.codec(),
        start.dit,
        start.latent_scale,
        model_card=text,
        storage=storage,
        overwrite=overwrite,
        refiner=start.refiner,
        files=files,
    )
    return bundle.folder


def _next_version(version: str) -> str:
    """The version with its last number raised by one, what follows it left out."""
    major, minor, patch = re.match(r"(\d+)\.(\d+)\.(\d+)", version).groups()  # type: ignore[union-attr] # as checked
    return f"{major}.{minor}.{int(patch) + 1}"


def _lowered(markdown: str) -> str:
    """Markdown with every heading one level lower, so that it can be a part of another text."""
    lines = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
    return "\n".join(lines) + "\n"


def _agreed(texts: dict[str, Any], name: str, measured: Any) -> Any:
    """What the pack says; a text that says otherwise is a mistake that would cost millimetres."""
    said = texts.pop(name, measured)
    if not np.allclose(said, measured, rtol=1e-3):
        raise CardioDiTError(f"The description says {name} {said}, the pack has {measured}.", "Correct it.")
    return measured


def _refiner_spec(config: TrainingConfig, run: TrainingRun) -> NetworkSpec | None:
    """Of the refiner that `TrainingRun.refiner` gives."""
    if config.refiner is not None and finished_steps(run.folder / "refiner"):
        return NetworkSpec("CineRefiner", dict(config.refiner.stage.model), "refiner.safetensors")
    return None if run.start is None else run.start.manifest.refiner


def _quantities(sets: tuple[LatentSet, ...], start: Bundle | None) -> tuple[SteeredQuantity, ...]:
    """Ranges of what the training cines measure; where they have no labels, those of the bundle that was begun from."""
    known = torch.cat([one.quantities[~one.validation] for one in sets]).double()
    known = known[known.isfinite().all(1)]
    if not len(known) and start is not None:
        return start.manifest.quantities
    parts = []
    for place, name in enumerate(sets[0].about["quantities"]):
        low, usual_low, usual_high, high = (
            round(float(value), 1) for value in np.quantile(known[:, place].numpy(), (0.005, 0.05, 0.95, 0.995))
        )
        parts.append(
            SteeredQuantity(name, *TITLES[name], low=low, high=high, usual_low=usual_low, usual_high=usual_high)
        )
    return tuple(parts)
