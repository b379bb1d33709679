"""Training a landmark network in a folder, and making a model's folder of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.landmarks.model import (
    MANIFEST_NAME,
    LandmarkManifest,
    LandmarkModel,
    PointRule,
    make_network,
    write_model,
)
from CardioDiTLib.landmarks.model import load_model as load_landmark_model
from CardioDiTLib.segmentation.model import WEIGHTS_NAME, IntensityRule, SegmentationModel
from CardioDiTLib.segmentation.model import load_model as load_segmentation_model
from CardioDiTLib.training import distributed
from CardioDiTLib.training.config import StageSettings, build_settings, check_keys, stage_settings
from CardioDiTLib.training.landmark_stage import LandmarkStage, LandmarkStageConfig
from CardioDiTLib.training.loop import Trainer
from CardioDiTLib.training.model_texts import last_validation, read_texts
from CardioDiTLib.training.run import averaged_weights, finished_steps
from CardioDiTLib.training.rvip_stage import PublishedLandmarkStage, PublishedStageConfig
from CardioDiTLib.training.telling import deadline_after, opened_pack

_EXAMPLE = "Give a YAML file as Resources/Training/landmarks.yaml."
_START = "start.json"


@dataclass(frozen=True)
class LandmarkTraining:
    """All settings of a file.

    Attributes:
        name: Name of the model.
        frames: Frames made of each ED/ES pair of a pack.
        field_mm: Side of the square about the heart that the pack shows; later the network looks at as much.
        intensity: How grey values are scaled (our network).
        rule: When an answer counts as a point; written into the model.
        landmarks: The loop's settings and `LandmarkStageConfig`, or `PublishedStageConfig` for the published network.
    """

    name: str
    frames: int
    field_mm: float
    intensity: IntensityRule
    rule: PointRule
    landmarks: StageSettings

    @property
    def published(self) -> bool:
        """Whether the published network is trained."""
        return isinstance(self.landmarks.stage, PublishedStageConfig)


def read_landmark_config(path: str | Path) -> LandmarkTraining:
    """Reads a YAML file with a section `landmarks`, our network, or `published`, the published one.

    Raises:
        CardioDiTError: The file cannot be read, or holds an unknown key or a value that is not possible.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardioDiTError(f"The settings '{path.name}' cannot be read.", _EXAMPLE) from error
    if not isinstance(raw, Mapping) or ("landmarks" in raw) == ("published" in raw):
        raise CardioDiTError(f"'{path.name}' does not have one section 'landmarks' or 'published'.", _EXAMPLE)
    check_keys(raw, {"name", "frames", "field_mm", "intensity", "rule", "landmarks", "published"}, path.name)
    numbers = {"frames": raw.get("frames", 16), "field_mm": raw.get("field_mm", 228.0)}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise CardioDiTError(f"{name} is '{value}', not a positive number.", "Correct the settings.")
    if "published" in raw:
        stage = stage_settings(raw["published"], PublishedStageConfig, "published")
    else:
        stage = stage_settings(raw["landmarks"], LandmarkStageConfig, "landmarks")
    return LandmarkTraining(
        name=str(raw.get("name", path.stem)),
        frames=int(numbers["frames"]),
        field_mm=float(numbers["field_mm"]),
        intensity=build_settings(IntensityRule, raw.get("intensity") or {}, "intensity"),
        rule=build_settings(PointRule, raw.get("rule") or {}, "rule"),
        landmarks=stage,
    )


def train_landmarks(
    config: LandmarkTraining,
    data: str | Path,
    folder: str | Path,
    minutes: float | None = None,
    start_from: str | Path | None = None,
) -> bool:
    """Trains in `folder/landmarks`, going on from an earlier piece; True where all steps are done.

    Args:
        config: All settings.
        data: A pack with labels.
        folder: Folder of the run.
        minutes: Stop, with a checkpoint, after this long; opening the pack counts.
        start_from: Folder of a segmentation model, which knows hearts already, or of a landmark model to go on from. A
            run that is continued goes on from its own weights.

    Raises:
        CardioDiTError: The pack cannot be read or has no labels, or the model to start from does not fit.
    """
    place, settings = Path(folder) / "landmarks", config.landmarks
    if finished_steps(place) >= settings.loop.steps:
        return True
    deadline = deadline_after(minutes)
    distributed.start()
    pack = opened_pack(data, config.frames, deadline)
    if pack is None:
        return False
    # The first weights are drawn here; from the first step on every draw has its own seed.
    torch.manual_seed(settings.loop.seed)
    stage: LandmarkStage | PublishedLandmarkStage
    if config.published:
        if start_from is not None:
            raise CardioDiTError("The published network cannot start from another one.", "Leave --start-from out.")
        stage = PublishedLandmarkStage(settings.stage, pack)
    else:
        stage = LandmarkStage(settings.stage, pack, config.intensity)
        if start_from is not None and not finished_steps(place):
            _start(stage, Path(start_from), place)
    Trainer(stage, settings.loop, place).run(deadline)
    return finished_steps(place) >= settings.loop.steps


def _start(stage: LandmarkStage, model_folder: Path, place: Path) -> None:
    model: SegmentationModel | LandmarkModel
    if (model_folder / MANIFEST_NAME).is_file():
        model = load_landmark_model(model_folder)
        fits = model.network.config == stage.config.network
        taken = stage.go_on_from(model.network.state_dict()) if fits else 0
    else:
        model = load_segmentation_model(model_folder)
        taken = stage.start_with(model.network.state_dict())
        fits = taken == sum(value.numel() for value in model.network.state_dict().values())
    if not fits:
        raise CardioDiTError(
            f"The weights of '{model.manifest.name}' do not fit the landmark network.",
            "Start from a model with the same channels, or leave --start-from out.",
        )
    about = {
        "name": model.manifest.name,
        "version": model.manifest.version,
        "sha256": model.manifest.files[WEIGHTS_NAME].sha256,
        "provenance": model.manifest.provenance,
        "weights_taken": taken,
    }
    with atomic_path(place / _START) as partial:
        partial.write_text(json.dumps(about), encoding="utf-8")


def started_from(folder: str | Path) -> dict[str, Any]:
    """What a run began with, by name and hash; empty where it began from nothing."""
    try:
        return dict(json.loads((Path(folder) / "landmarks" / _START).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def export_landmarks(
    config: LandmarkTraining,
    folder: str | Path,
    destination: str | Path,
    *,
    describe: str | Path | None = None,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes the network of a run as a model's folder: the averaged one, or the published one as it is.

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
    place = Path(folder) / "landmarks"
    network = make_network(config.landmarks.stage.network)
    try:
        network.load_state_dict(averaged_weights(place, "landmarks" if config.published else "average"))
    except RuntimeError as error:
        raise CardioDiTError(
            f"The weights in '{place.name}' were trained with another network than '{config.name}' describes.",
            "Use the settings of the run.",
        ) from error
    texts = read_texts(describe)
    step = finished_steps(place)
    start = started_from(folder)
    manifest = LandmarkManifest(
        name=config.name,
        version=str(texts.get("version", "0.1.0")),
        network=network.config,
        licence=Licence.from_dict(texts.get("licence", {"name": "unknown", "conditions": "Ask who trained it."})),
        training_data=TrainingData.from_dict(texts.get("training_data", {"data_source": "unknown"})),
        intensity=config.intensity,
        field_mm=config.field_mm,
        rule=config.rule,
        quality={**last_validation(place, step), **texts.get("quality", {})},
        provenance={"steps": step, **({"started_from": start} if start else {}), **texts.get("provenance", {})},
    )
    return write_model(destination, manifest, network.eval(), storage=storage, overwrite=overwrite)
