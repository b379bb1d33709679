"""Training the segmentation network in a folder, and making a model's folder of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.slice_unet import SegmentationNetwork
from CardioDiTLib.segmentation.model import IntensityRule, SegmentationManifest, load_model, write_model
from CardioDiTLib.training import distributed
from CardioDiTLib.training.config import StageSettings, build_settings, check_keys, stage_settings
from CardioDiTLib.training.labelled_stacks import GRID_MM, read_cavities, read_recorded
from CardioDiTLib.training.loop import Trainer
from CardioDiTLib.training.model_texts import last_validation, read_texts
from CardioDiTLib.training.run import averaged_weights, finished_steps
from CardioDiTLib.training.segmentation_stage import SegmentationStage, SegmentationStageConfig
from CardioDiTLib.training.telling import deadline_after, opened_pack

_EXAMPLE = "Give a YAML file as Resources/Training/segmentation.yaml."


@dataclass(frozen=True)
class SegmentationTraining:
    """All settings of a file.

    Attributes:
        name: Name of the model.
        frames: Frames made of each ED/ES pair of a pack.
        field_mm: Side of the square about the heart that the pack shows; later the network looks at as much.
        intensity: How grey values are scaled.
        segmentation: The loop's settings and `SegmentationStageConfig`.
    """

    name: str
    frames: int
    field_mm: float
    intensity: IntensityRule
    segmentation: StageSettings


def read_segmentation_config(path: str | Path) -> SegmentationTraining:
    """Reads a YAML file.

    Raises:
        CardioDiTError: The file cannot be read, or holds an unknown key or a value that is not possible.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardioDiTError(f"The settings '{path.name}' cannot be read.", _EXAMPLE) from error
    if not isinstance(raw, Mapping) or "segmentation" not in raw:
        raise CardioDiTError(f"'{path.name}' has no section 'segmentation'.", _EXAMPLE)
    check_keys(raw, {"name", "frames", "field_mm", "intensity", "segmentation"}, path.name)
    numbers = {"frames": raw.get("frames", 16), "field_mm": raw.get("field_mm", 228.0)}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise CardioDiTError(f"{name} is '{value}', not a positive number.", "Correct the settings.")
    return SegmentationTraining(
        name=str(raw.get("name", path.stem)),
        frames=int(numbers["frames"]),
        field_mm=float(numbers["field_mm"]),
        intensity=build_settings(IntensityRule, raw.get("intensity") or {}, "intensity"),
        segmentation=stage_settings(raw["segmentation"], SegmentationStageConfig, "segmentation"),
    )


def train_segmentation(
    config: SegmentationTraining,
    data: str | Path,
    folder: str | Path,
    minutes: float | None = None,
    *,
    start_from: str | Path | None = None,
    recorded: str | Path | None = None,
    cavities: str | Path | None = None,
) -> bool:
    """Trains in `folder/segmentation`, going on from an earlier piece; True where all steps are done.

    Args:
        config: All settings.
        data: A pack with labels.
        folder: Folder of the run.
        minutes: Stop, with a checkpoint, after this long; opening the pack counts.
        start_from: Folder of a segmentation model whose weights are where it begins: the same channels, and no more
            neighbours than here; what is new to it begins at 0.
        recorded: Folder of ACDC, to train on its volumes as recorded beside the pack.
        cavities: Folder of slices in which only the left cavity was drawn.

    Raises:
        CardioDiTError: The pack cannot be read or has no labels, or the model to begin with is another one.
    """
    place, settings = Path(folder) / "segmentation", config.segmentation
    if finished_steps(place) >= settings.loop.steps:
        return True
    deadline = deadline_after(minutes)
    distributed.start()
    pack = opened_pack(data, config.frames, deadline)
    if pack is None:
        return False
    # The first weights are drawn here; from the first step on every draw has its own seed.
    torch.manual_seed(settings.loop.seed)
    size = round(config.field_mm / GRID_MM)
    stage = SegmentationStage(
        settings.stage,
        pack,
        config.intensity,
        stacks=[] if recorded is None else read_recorded(recorded, size, config.intensity),
        cavities=[] if cavities is None else read_cavities(cavities, size, config.intensity),
    )
    if start_from is not None and not finished_steps(place):
        begin_from(stage.model, load_model(start_from).network)
        stage.average.load_state_dict(stage.model.state_dict())
    Trainer(stage, settings.loop, place).run(deadline)
    return finished_steps(place) >= settings.loop.steps


def begin_from(network: SegmentationNetwork, known: SegmentationNetwork) -> None:
    """Takes the weights of a network that sees the same or less; new channels begin without any influence.

    Raises:
        CardioDiTError: The networks differ in more than what they see.
    """
    own, more = network.config, network.config.neighbours - known.config.neighbours
    seen = [more + place for place in range(2 * known.config.neighbours + 1)]
    if known.config.motion:
        seen += [own.in_channels - 2, own.in_channels - 1]
    alike = replace(known.config, neighbours=own.neighbours, motion=own.motion) == own
    if not alike or more < 0 or (known.config.motion and not own.motion):
        raise CardioDiTError(
            "The model to begin with has another network than the settings describe.",
            "Give the same channels, units and spacing, and no fewer neighbours.",
        )
    weights = network.state_dict()
    for name, value in known.state_dict().items():
        if weights[name].shape == value.shape:
            weights[name] = value
        else:
            wider = torch.zeros_like(weights[name])
            wider[:, seen] = value
            weights[name] = wider
    network.load_state_dict(weights)


def export_segmentation(
    config: SegmentationTraining,
    folder: str | Path,
    destination: str | Path,
    *,
    describe: str | Path | None = None,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes the averaged network of a run as a model's folder.

    Args:
        config: The run's settings.
        folder: The run's folder.
        destination: Folder of the model.
        describe: JSON with the texts that only a person knows: version, licence, training_data, and quality and
            provenance, which are added to what the run measured.
        storage: Weights at rest: fp32, fp16 or int8.
        overwrite: Replace a model that lies there.

    Returns:
        The model's folder.

    Raises:
        CardioDiTError: Nothing was trained yet, a text is unknown, or the folder cannot be written.
    """
    place = Path(folder) / "segmentation"
    network = SegmentationNetwork(config.segmentation.stage.network)
    try:
        network.load_state_dict(averaged_weights(place))
    except RuntimeError as error:
        raise CardioDiTError(
            f"The weights in '{place.name}' were trained with another network than '{config.name}' describes.",
            "Use the settings of the run.",
        ) from error
    texts = read_texts(describe)
    step = finished_steps(place)
    manifest = SegmentationManifest(
        name=config.name,
        version=str(texts.get("version", "0.1.0")),
        network=network.config,
        licence=Licence.from_dict(texts.get("licence", {"name": "unknown", "conditions": "Ask who trained it."})),
        training_data=TrainingData.from_dict(texts.get("training_data", {"data_source": "unknown"})),
        intensity=config.intensity,
        field_mm=config.field_mm,
        quality={**last_validation(place, step), **texts.get("quality", {})},
        provenance={"steps": step, **texts.get("provenance", {})},
    )
    return write_model(destination, manifest, network, storage=storage, overwrite=overwrite)
