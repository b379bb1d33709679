"""Training the audit's encoder in a folder, and making a model's folder of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from CardioDiTLib.bundles.bundle import load_bundle
from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.contrastive_cine import CineEmbedding
from CardioDiTLib.privacy.encoder import EncoderManifest, write_encoder
from CardioDiTLib.training import distributed
from CardioDiTLib.training.config import StageSettings, check_keys, stage_settings
from CardioDiTLib.training.dar_encoder_stage import VolumeEncoderStage, VolumeEncoderStageConfig
from CardioDiTLib.training.encoder_decoded import decoded_pack
from CardioDiTLib.training.encoder_stage import EncoderStage, EncoderStageConfig, draws, read_whitening, write_whitening
from CardioDiTLib.training.loop import Stage, StepContext, Trainer
from CardioDiTLib.training.model_texts import last_validation, read_texts
from CardioDiTLib.training.run import averaged_weights, finished_steps
from CardioDiTLib.training.telling import deadline_after, opened_pack

_EXAMPLE = "Give a YAML file as Resources/Training/encoder.yaml."
_PLACE = "encoder"


@dataclass(frozen=True)
class EncoderTraining:
    """All settings of a file.

    Attributes:
        name: Name of the model.
        frames: Frames made of each ED/ES pair of a pack.
        published: The published network and pairs in place of ours.
        encoder: The loop's settings and `EncoderStageConfig`, or `VolumeEncoderStageConfig` if published.
    """

    name: str
    frames: int
    published: bool
    encoder: StageSettings


def read_encoder_config(path: str | Path) -> EncoderTraining:
    """Reads a YAML file.

    Raises:
        CardioDiTError: The file cannot be read, or holds an unknown key or a value that is not possible.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardioDiTError(f"The settings '{path.name}' cannot be read.", _EXAMPLE) from error
    if not isinstance(raw, Mapping) or not isinstance(raw.get("encoder"), Mapping):
        raise CardioDiTError(f"'{path.name}' has no section 'encoder'.", _EXAMPLE)
    check_keys(raw, {"name", "frames", "published", "encoder"}, path.name)
    frames, published = raw.get("frames", 16), raw.get("published", False)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 2 or not isinstance(published, bool):
        raise CardioDiTError(
            f"frames is '{frames}' and published '{published}'.", "Give a number from 2 on, and true or false."
        )
    kind = VolumeEncoderStageConfig if published else EncoderStageConfig
    return EncoderTraining(
        name=str(raw.get("name", path.stem)),
        frames=frames,
        published=published,
        encoder=stage_settings(raw["encoder"], kind, "encoder"),
    )


def train_encoder(config: EncoderTraining, data: str | Path, folder: str | Path, minutes: float | None = None) -> bool:
    """Trains in `folder/encoder`, going on from an earlier piece; True where all steps are done.

    Args:
        config: All settings.
        data: A pack.
        folder: Folder of the run.
        minutes: Stop, with a checkpoint, after this long; opening the pack and decoding count.

    Raises:
        CardioDiTError: The pack cannot be read or has fewer than two patients.
    """
    place, settings = Path(folder) / _PLACE, config.encoder
    if finished_steps(place) >= settings.loop.steps and not _lacks_whitening(config, place):
        return True
    deadline = deadline_after(minutes)
    distributed.start()
    if settings.loop.threads:
        torch.set_num_threads(settings.loop.threads)
    pack = opened_pack(data, config.frames, deadline)
    if pack is None:
        return False
    # The first weights are drawn here; from the first step on every draw has its own seed.
    torch.manual_seed(settings.loop.seed)
    stage: Stage
    if config.published:
        stage = VolumeEncoderStage(settings.stage, pack)
    else:
        decoded = None
        if settings.stage.codec is not None:
            decoded = _decoded(settings.stage, pack, place / "decoded", settings.loop.seed, deadline)
            if decoded is None:
                return False
        torch.manual_seed(settings.loop.seed)
        stage = EncoderStage(settings.stage, pack, decoded)
    trainer = Trainer(stage, settings.loop, place)
    trainer.run(deadline)
    if finished_steps(place) < settings.loop.steps:
        return False
    if isinstance(stage, EncoderStage) and _lacks_whitening(config, place) and distributed.rank() == 0:
        rng, generator = draws(settings.loop.seed)
        context = StepContext(settings.loop.steps, 1.0, 0.0, rng, generator, trainer.device, trainer.precision)
        mean, matrix = stage.whitened(context)
        write_whitening(place, mean, matrix, finished_steps(place))
    distributed.wait_for_all()
    return True


def _lacks_whitening(config: EncoderTraining, place: Path) -> bool:
    wanted = not config.published and config.encoder.stage.whitening > 0
    return wanted and read_whitening(place, finished_steps(place)) is None


def _decoded(
    stage: EncoderStageConfig, pack: PackedCines, place: Path, seed: int, deadline: float | None
) -> torch.Tensor | None:
    codec = load_bundle(str(stage.codec)).vqgan.eval()
    made = None
    if distributed.rank() == 0:
        made = _decoded_once(codec, stage, pack, place, seed, deadline)
    distributed.wait_for_all()
    if distributed.rank() != 0:
        made = _decoded_once(codec, stage, pack, place, seed, deadline)
    return made


def _decoded_once(
    codec: Any, stage: EncoderStageConfig, pack: PackedCines, place: Path, seed: int, deadline: float | None
) -> torch.Tensor | None:
    return decoded_pack(
        codec,
        pack,
        place,
        copies=stage.decoded_copies,
        frames=stage.frames,
        spacing_mm=stage.network.spacing_mm,
        seed=seed,
        deadline=deadline,
    )


def export_encoder(
    config: EncoderTraining,
    folder: str | Path,
    destination: str | Path,
    *,
    describe: str | Path | None = None,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes the averaged encoder of a run as a model's folder.

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
        CardioDiTError: The published network, nothing trained yet, a text is unknown, or the folder cannot be written.
    """
    if config.published:
        raise CardioDiTError(
            "The published encoder is for comparison and has no model folder.",
            "Write the checkpoint's weights yourself.",
        )
    place = Path(folder) / _PLACE
    network = CineEmbedding(config.encoder.stage.network)
    try:
        network.load_state_dict(averaged_weights(place))
    except RuntimeError as error:
        raise CardioDiTError(
            f"The weights in '{place.name}' were trained with another network than '{config.name}' describes.",
            "Use the settings of the run.",
        ) from error
    texts = read_texts(describe)
    step = finished_steps(place)
    quality = last_validation(place, step)
    if config.encoder.stage.whitening > 0:
        found = read_whitening(place, step)
        if found is None:
            raise CardioDiTError(
                "The encoder has not been trained to its end.", "Call 'cardiodit train encoder' again."
            )
        network.fold(*found)
        quality = {"before_whitening": quality} if quality else {}
    manifest = EncoderManifest(
        name=config.name,
        version=str(texts.get("version", "0.1.0")),
        network=network.config,
        grid=EncoderManifest.grid_of(network.config, frames=config.frames),
        licence=Licence.from_dict(texts.get("licence", {"name": "unknown", "conditions": "Ask who trained it."})),
        training_data=TrainingData.from_dict(texts.get("training_data", {"data_source": "unknown"})),
        quality={**quality, **texts.get("quality", {})},
        provenance={"steps": step, **texts.get("provenance", {})},
    )
    return write_encoder(destination, manifest, network, storage=storage, overwrite=overwrite)
