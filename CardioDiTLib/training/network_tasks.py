"""What the small networks have of their own in training: segmentation, landmarks, the audit's encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from CardioDiTLib.bundles.bundle import load_bundle
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.landmarks import model as landmark_model
from CardioDiTLib.landmarks.model import LandmarkManifest, LandmarkModel, PointRule
from CardioDiTLib.models.contrastive_cine import CineEmbedding
from CardioDiTLib.models.slice_unet import SegmentationNetwork
from CardioDiTLib.privacy.encoder import EncoderManifest, write_encoder
from CardioDiTLib.segmentation import model as segmentation_model
from CardioDiTLib.segmentation.model import WEIGHTS_NAME, IntensityRule, SegmentationManifest, SegmentationModel
from CardioDiTLib.training import distributed
from CardioDiTLib.training.checkpoint import finished_steps
from CardioDiTLib.training.config import build_settings
from CardioDiTLib.training.dar_encoder_stage import VolumeEncoderStage, VolumeEncoderStageConfig
from CardioDiTLib.training.encoder_decoded import decoded_pack
from CardioDiTLib.training.encoder_stage import EncoderStage, EncoderStageConfig, draws, read_whitening, write_whitening
from CardioDiTLib.training.labelled_stacks import GRID_MM, read_cavities, read_recorded
from CardioDiTLib.training.landmark_stage import LandmarkStage, LandmarkStageConfig
from CardioDiTLib.training.loop import Stage, StepContext, Trainer
from CardioDiTLib.training.network_run import NetworkRun, TrainingInputs, positive
from CardioDiTLib.training.rvip_stage import RvipLandmarkStage, RvipStageConfig
from CardioDiTLib.training.segmentation_stage import SegmentationStage, SegmentationStageConfig, begin_from

_START = "start.json"


class SliceNetworkRun(NetworkRun):
    """What networks on slices have in common.

    Attributes:
        roi_mm: Side of the square about the heart that the pack shows; later the network looks at as much.
        intensity: How grey values are scaled.
    """

    keys = frozenset({"field_mm", "intensity"})

    def read(self, raw: Mapping[str, Any]) -> None:
        self.roi_mm = float(positive(raw, "field_mm", 228.0))
        self.intensity = build_settings(IntensityRule, raw.get("intensity") or {}, "intensity")


class SegmentationRun(SliceNetworkRun):
    """Training of the segmentation network on a pack with labels."""

    task = "segmentation"
    sections = MappingProxyType({"segmentation": SegmentationStageConfig})

    def make_stage(self, pack: PackedCines, place: Path, inputs: TrainingInputs, deadline: float | None) -> Stage:
        size, rule = round(self.roi_mm / GRID_MM), self.intensity
        stage = SegmentationStage(
            self.settings.stage,
            pack,
            rule,
            stacks=[] if inputs.recorded is None else read_recorded(inputs.recorded, size, rule),
            cavities=[] if inputs.cavities is None else read_cavities(inputs.cavities, size, rule),
        )
        if inputs.start_from is not None and not finished_steps(place):
            begin_from(stage.model, segmentation_model.load_model(inputs.start_from).network)
            stage.load(stage.model.state_dict())
        return stage

    def make_network(self) -> SegmentationNetwork:
        return SegmentationNetwork(self.settings.stage.network)

    def write(self, destination: str | Path, network: Any, about: dict[str, Any], **how: Any) -> Path:
        manifest = SegmentationManifest(**about, intensity=self.intensity, field_mm=self.roi_mm)
        return segmentation_model.write_model(destination, manifest, network, **how)


class LandmarkRun(SliceNetworkRun):
    """Training of a landmark network on a pack with labels: ours, or the published one (section `published`).

    Attributes:
        rule: When an answer counts as a point; written into the model.
    """

    task = "landmarks"
    sections = MappingProxyType({"landmarks": LandmarkStageConfig, "published": RvipStageConfig})
    keys = SliceNetworkRun.keys | {"rule"}

    def read(self, raw: Mapping[str, Any]) -> None:
        super().read(raw)
        self.rule = build_settings(PointRule, raw.get("rule") or {}, "rule")

    @property
    def rvip(self) -> bool:
        """Whether the published network is trained."""
        return self.section == "published"

    def make_stage(self, pack: PackedCines, place: Path, inputs: TrainingInputs, deadline: float | None) -> Stage:
        if self.rvip:
            if inputs.start_from is not None:
                raise CardioDiTError("The published network cannot start from another one.", "Leave --start-from out.")
            return RvipLandmarkStage(self.settings.stage, pack)
        stage = LandmarkStage(self.settings.stage, pack, self.intensity)
        if inputs.start_from is not None and not finished_steps(place):
            _begin_landmarks(stage, Path(inputs.start_from), place)
        return stage

    def make_network(self) -> Any:
        return landmark_model.make_network(self.settings.stage.network)

    def weights_module(self) -> str:
        return "landmarks" if self.rvip else "average"

    def provenance(self, place: Path) -> dict[str, Any]:
        try:
            return {"started_from": dict(json.loads((place / _START).read_text(encoding="utf-8")))}
        except (OSError, ValueError):
            return {}

    def write(self, destination: str | Path, network: Any, about: dict[str, Any], **how: Any) -> Path:
        manifest = LandmarkManifest(**about, intensity=self.intensity, field_mm=self.roi_mm, rule=self.rule)
        return landmark_model.write_model(destination, manifest, network, **how)


def _begin_landmarks(stage: LandmarkStage, folder: Path, place: Path) -> None:
    """Begins with a segmentation model, which knows hearts already, or with a landmark model; notes which one."""
    model: SegmentationModel | LandmarkModel
    if (folder / landmark_model.MANIFEST_NAME).is_file():
        model = landmark_model.load_model(folder)
        weights, fits = model.network.state_dict(), model.network.config == stage.config.network
        if fits:
            stage.load(weights)
        taken = sum(value.numel() for value in weights.values())
    else:
        model = segmentation_model.load_model(folder)
        weights = model.network.state_dict()
        taken = stage.start_with(weights)
        fits = taken == sum(value.numel() for value in weights.values())
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


class EncoderRun(NetworkRun):
    """Training of the audit's encoder, or of the published one (`published: true`), which has no model's folder.

    Attributes:
        dar: The published network and pairs in place of ours (Dar et al.).
    """

    task = "encoder"
    sections = MappingProxyType({"encoder": EncoderStageConfig})
    keys = frozenset({"published"})

    def read(self, raw: Mapping[str, Any]) -> None:
        self.dar = raw.get("published", False)
        if not isinstance(raw.get("frames", 16), int) or self.frames < 2 or not isinstance(self.dar, bool):
            raise CardioDiTError(
                f"frames is '{raw.get('frames', 16)}' and published '{self.dar}'.",
                "Give a number from 2 on, and true or false.",
            )

    def stage_config(self) -> type:
        return VolumeEncoderStageConfig if self.dar else EncoderStageConfig

    def make_stage(
        self, pack: PackedCines, place: Path, inputs: TrainingInputs, deadline: float | None
    ) -> Stage | None:
        config, seed = self.settings.stage, self.settings.loop.seed
        if self.dar:
            return VolumeEncoderStage(config, pack)
        decoded = None
        if config.codec is not None:
            decoded = _decoded(config, pack, place / "decoded", seed, deadline)
            if decoded is None:
                return None
        torch.manual_seed(seed)
        return EncoderStage(config, pack, decoded)

    def is_done(self, place: Path) -> bool:
        return super().is_done(place) and not self._lacks_whitening(place)

    def finish(self, trainer: Trainer, place: Path) -> None:
        stage, loop = trainer.stage, self.settings.loop
        if isinstance(stage, EncoderStage) and self._lacks_whitening(place) and distributed.rank() == 0:
            context = StepContext(loop.steps, 1.0, 0.0, *draws(loop.seed), trainer.device, trainer.precision)
            write_whitening(place, *stage.whitened(context), finished_steps(place))
        super().finish(trainer, place)

    def _lacks_whitening(self, place: Path) -> bool:
        wanted = not self.dar and self.settings.stage.whitening > 0
        return wanted and read_whitening(place, finished_steps(place)) is None

    def make_network(self) -> CineEmbedding:
        if self.dar:
            raise CardioDiTError(
                "The published encoder is for comparison and has no model folder.",
                "Write the checkpoint's weights yourself.",
            )
        return CineEmbedding(self.settings.stage.network)

    def before_export(self, network: Any, place: Path, quality: dict[str, Any]) -> dict[str, Any]:
        if self.settings.stage.whitening <= 0:
            return quality
        found = read_whitening(place, finished_steps(place))
        if found is None:
            raise CardioDiTError(
                "The encoder has not been trained to its end.", "Call 'cardiodit train encoder' again."
            )
        network.fold(*found)
        return {"before_whitening": quality} if quality else {}

    def write(self, destination: str | Path, network: Any, about: dict[str, Any], **how: Any) -> Path:
        grid = EncoderManifest.grid_of(network.config, frames=self.frames)
        return write_encoder(destination, EncoderManifest(**about, grid=grid), network, **how)


def _decoded(
    config: EncoderStageConfig, pack: PackedCines, place: Path, seed: int, deadline: float | None
) -> torch.Tensor | None:
    """The pack's cines as a codec shows them; rank 0 makes them, the others read what it wrote."""
    codec = load_bundle(str(config.codec)).vqgan.eval()
    if distributed.rank() != 0:
        distributed.wait_for_all()
    made = decoded_pack(
        codec,
        pack,
        place,
        copies=config.decoded_copies,
        frames=config.frames,
        spacing_mm=config.network.spacing_mm,
        seed=seed,
        deadline=deadline,
    )
    if distributed.rank() == 0:
        distributed.wait_for_all()
    return made


TASKS: dict[str, type[NetworkRun]] = {run.task: run for run in (SegmentationRun, LandmarkRun, EncoderRun)}
"""Runs by the name of their task."""
