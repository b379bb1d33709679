"""From a training run to a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..bundles.bundle import Bundle
from ..bundles.manifest import BundleManifest
from ..bundles.manifest_parts import BundleGrid, LatentSpec, Licence, NetworkSpec, Preset, TrainingData
from ..bundles.writer import write_bundle
from ..diffusion.schedule import NoiseSchedule
from ..errors import CardioDiTError
from ..models.dit import DiT4D
from ..models.latent_scale import LatentScale
from .config import TrainingConfig
from .latents import read_latents
from .run import TrainingRun, averaged_weights, finished_steps


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
        describe: JSON with the texts and numbers that only a person knows: version, title, description, licence,
            training_data, spacing_mm, cycle_s, presets, class_titles, references, eval_metrics, audit, authors,
            copyright.
        card: Markdown of the model card; `{duration}` and the like are not filled in.
        storage: Weights at rest: fp32, fp16 or int8 (a scale for each output channel).
        overwrite: Replace a bundle that lies there.
        start_from: The bundle that the run started from, if it did. Where only its decoder went on, everything else
            of it, what it is described by included, is taken over.

    Returns:
        The bundle's folder.
    """
    folder = Path(folder)
    run = TrainingRun(config, folder / "none", folder, start_from)
    texts = _read_texts(describe)
    if run.start is not None and finished_steps(folder / "decoder") and not finished_steps(folder / "dit"):
        return _with_new_decoder(run.start, run, texts, card, Path(destination), storage, overwrite)
    latents = read_latents(folder / "latents")
    settings = config.dit.stage
    dit = DiT4D(**settings.model)
    dit.load_state_dict(averaged_weights(folder / "dit"))
    statistics = averaged_weights(folder / "dit", "scale")
    patch = settings.patch if settings.coordinates else None
    scale = LatentScale(
        statistics["mean"],
        statistics["std"],
        settings.modes,
        basis=statistics.get("basis"),
        patch=patch or (1, 1, 1, 1),
    )
    manifest = BundleManifest(
        name=config.name,
        version=texts.pop("version", "0.1.0"),
        title=texts.pop("title", config.name),
        description=texts.pop("description", "A generator of synthetic short-axis cine cardiac MRI."),
        licence=Licence(
            **texts.pop("licence", {"name": "unknown", "conditions": "Ask who trained it.", "needs_acceptance": True})
        ),
        training_data=TrainingData(**texts.pop("training_data", {"data_source": "unknown"})),
        grid=BundleGrid(
            slices=config.grid.slices,
            height=config.grid.size,
            width=config.grid.size,
            frames=config.grid.frames,
            spacing_mm=_agreed(texts, "spacing_mm", latents.about["spacing_mm"]),
            cycle_s=_agreed(texts, "cycle_s", latents.about["cycle_s"]),
        ),
        codec=NetworkSpec("VQGAN", dict(config.vqgan.stage.model), "codec.safetensors"),
        dit=NetworkSpec("DiT4D", dict(settings.model), "dit.safetensors"),
        # Codes are taken before decoding whether or not the transformer learned rounded latents: the decoder knows
        # nothing else.
        latents=LatentSpec(
            channels=run.codec().embedding_dim,
            quantised=True,
            modes=settings.modes,
            file="latents.safetensors",
            patch=patch,
        ),
        schedule=NoiseSchedule.from_config(settings.schedule).to_config(),
        class_names=tuple(latents.about.get("group_names", ())) if settings.model.get("num_classes", 0) else (),
        presets={name: Preset(**values) for name, values in texts.pop("presets", {}).items()} or _presets(),
        provenance={
            "codec_steps": finished_steps(run.codec_folder()),
            "dit_steps": finished_steps(folder / "dit"),
            **texts.pop("provenance", {}),
        },
        **texts,
    )
    text = Path(card).read_text(encoding="utf-8") if card else f"# {manifest.title}\n\n{manifest.description}\n"
    bundle: Bundle = write_bundle(
        destination, manifest, run.codec(), dit, scale, model_card=text, storage=storage, overwrite=overwrite
    )
    return bundle.folder


def _with_new_decoder(
    start: Bundle,
    run: TrainingRun,
    texts: dict[str, Any],
    card: str | Path | None,
    destination: Path,
    storage: str,
    overwrite: bool,
) -> Path:
    """The bundle that a run started from, with the decoder that the run trained on."""
    about = start.manifest.to_dict()
    steps = {"decoder_steps_more": finished_steps(run.folder / "decoder")}
    about["provenance"] = {**about["provenance"], **steps, **texts.pop("provenance", {})}
    for name in ("spacing_mm", "cycle_s"):
        _agreed(texts, name, about["grid"][name])
    about |= texts
    text = Path(card).read_text(encoding="utf-8") if card else start.model_card
    bundle = write_bundle(
        destination,
        BundleManifest.from_dict(about),
        run.codec(),
        start.dit,
        start.latent_scale,
        model_card=text,
        storage=storage,
        overwrite=overwrite,
    )
    return bundle.folder


def _agreed(texts: dict[str, Any], name: str, measured: Any) -> Any:
    """What the pack says; a text that says otherwise is a mistake that would cost millimetres."""
    said = texts.pop(name, measured)
    if not np.allclose(said, measured, rtol=1e-3):
        raise CardioDiTError(f"The description says {name} {said}, the pack has {measured}.", "Correct it.")
    return measured


def _presets() -> dict[str, Preset]:
    return {"draft": Preset(12), "standard": Preset(30), "high": Preset(60)}


def _read_texts(path: str | Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        texts = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardioDiTError(f"'{path}' cannot be read as JSON.", "See Resources/Training/acdc-mini.json.") from error
    if not isinstance(texts, dict):
        raise CardioDiTError(f"'{path}' is no JSON object.", "See Resources/Training/acdc-mini.json.")
    return texts
