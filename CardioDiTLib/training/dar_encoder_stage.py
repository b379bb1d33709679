"""The published encoder and its pairs, for comparison: a volume as it is, and turned or mirrored by chance.

Source: facts on the published audit's training. The volume is end-diastole of a cine. Every volume counts as another
patient, also where a data set holds one twice; the last weights are used, not their average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from CardioDiTLib.data.packing import PackedCines, patients_of
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.contrastive_cine import TEMPERATURE, nt_xent
from CardioDiTLib.models.dar_encoder import VolumeEmbedding
from CardioDiTLib.training.encoder_stage import middle, recognised, working_frames
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.stage import NetworkStage


@dataclass(frozen=True)
class VolumeEncoderStageConfig:
    """Settings of the stage.

    Attributes:
        downsample: Of the network; slices and pixels have to come out as 4.
        hidden, dimension: Channels of the first layer, numbers of the embedding.
        size: Rows and columns of the volume.
        spacing_mm: Their pixel spacing.
        batch: Volumes a step and rank.
        turn_deg: Largest turn about each of the three axes.
        turned, mirrored: Shares of pairs whose first volume is turned, and mirrored.
        temperature: Of the loss.
        lr: Of Adam; the loop's `final_lr_share` says where the cosine ends (0.5 as published).
        validation_views: Views a volume that are planted in validation.
    """

    downsample: tuple[int, ...] = (2, 16, 16)
    hidden: int = 16
    dimension: int = 32
    size: int = 64
    spacing_mm: float = 3.0
    batch: int = 10
    turn_deg: float = 5.0
    turned: float = 0.5
    mirrored: float = 0.5
    temperature: float = TEMPERATURE
    lr: float = 1e-4
    validation_views: int = 8

    def __post_init__(self) -> None:
        if len(self.downsample) != 3 or any(self.size != 4 * factor for factor in self.downsample[1:]):
            raise CardioDiTError(
                f"Volumes of {self.size} pixels do not become 4 by the factors {tuple(self.downsample)}.",
                "Choose the factors as a quarter of the size.",
            )
        if self.batch < 2 or self.validation_views < 1:
            raise CardioDiTError(f"A batch of {self.batch} volumes is not possible.", "Give two or more.")


class VolumeEncoderStage(NetworkStage[VolumeEmbedding]):
    """Trains a `VolumeEmbedding` on the end-diastolic volumes of a pack.

    Args:
        config: Settings.
        data: The pack.

    Raises:
        CardioDiTError: Fewer than two volumes to train on, or another number of slices than the network takes.
    """

    def __init__(self, config: VolumeEncoderStageConfig, data: PackedCines) -> None:
        self.config = config
        slices = data.images.shape[2]
        if slices != 4 * config.downsample[0]:
            raise CardioDiTError(
                f"The pack has {slices} slices, the network takes {4 * config.downsample[0]}.",
                "Choose downsample as a quarter of the slices.",
            )
        self.train_index = np.nonzero(~data.validation)[0]
        self.validation_index = np.nonzero(data.validation)[0]
        if len(self.train_index) < 2:
            raise CardioDiTError("The pack has fewer than two cines to train on.", "Make a pack of more cines.")
        self.patients = patients_of(data.images)
        small = working_frames(data.images[:, :1], 1, data.spacing[0], config.spacing_mm)[:, 0].float()
        low, high = small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True)
        self.volumes = middle((small - low) / (high - low + 1e-4) * 2 - 1, config.size)
        extent = torch.tensor([config.size * config.spacing_mm] * 2 + [slices * data.spacing[2]])
        self.half_mm = extent / 2
        model = VolumeEmbedding(config.downsample, config.hidden, 1, config.dimension)
        super().__init__("encoder", model, torch.optim.Adam(model.parameters(), config.lr))

    def _views(self, volumes: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """(B, Z, Y, X) in [-1, 1], each turned, mirrored, both or neither."""
        views = []
        for volume in volumes:
            if rng.random() < self.config.turned:
                volume = self._turned(volume, np.deg2rad(rng.uniform(-self.config.turn_deg, self.config.turn_deg, 3)))
            views.append(volume.flip(-1) if rng.random() < self.config.mirrored else volume)
        return torch.stack(views)

    def _turned(self, volume: torch.Tensor, angles: np.ndarray) -> torch.Tensor:
        matrix = np.eye(3)
        for axis, angle in enumerate(angles):
            turn = np.eye(3)
            a, b = [other for other in range(3) if other != axis]
            turn[a, a] = turn[b, b] = np.cos(angle)
            turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ turn
        # Rigid in mm, while places are given in halves of the volume.
        theta = torch.from_numpy(matrix).float() * self.half_mm[None, :] / self.half_mm[:, None]
        grid = F.affine_grid(F.pad(theta, (0, 1))[None], [1, 1, *volume.shape], align_corners=False)
        return F.grid_sample(volume[None, None] + 1, grid, "bilinear", "zeros", align_corners=False)[0, 0] - 1

    def loss(self, context: StepContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        count = min(self.config.batch, len(self.train_index))
        plain = self.volumes[torch.from_numpy(context.rng.choice(self.train_index, count, replace=False))]
        both = torch.cat([self._views(plain, context.rng), plain])[:, None].to(context.device)
        with context.autocast():
            found = self.model(both)
        first, second = found.float().chunk(2)
        return nt_xent(first, second, self.config.temperature), {}

    @torch.no_grad()
    def _embedded(self, volumes: torch.Tensor, context: StepContext) -> torch.Tensor:
        self.model.eval()
        return torch.cat([self.model(part[:, None].to(context.device)).float().cpu() for part in volumes.split(16)])

    def validate(self, context: StepContext) -> dict[str, float]:
        """Planted copies of the volumes held out; views are drawn as in training."""
        if not len(self.validation_index):
            return {}
        own = self.volumes[torch.from_numpy(self.validation_index)]
        queries = [self._embedded(self._views(own, context.rng), context) for _ in range(self.config.validation_views)]
        people = np.tile(self.patients[self.validation_index], self.config.validation_views)
        return recognised(torch.cat(queries), people, self._embedded(self.volumes, context), self.patients)
