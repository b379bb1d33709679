"""The published landmark network as a stage of the training loop, its variants as settings.

Pictures are slices of the labelled cines of a pack, prepared, augmented and blurred as published; the points are the
ends of the septum of an expert's labels, where the published ones were marked by hand. Two things differ on purpose:
the learning rate follows the loop's schedule instead of falling where the training loss no longer does, and no
checkpoint is chosen by its training loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data.packing import PackedCines
from ..errors import CardioDiTError
from ..landmarks.published_grid import PublishedGrid, bright, stretched
from ..landmarks.published_network import PublishedNetwork, PublishedNetworkConfig
from ..landmarks.published_predict import predict_published
from ..landmarks.published_targets import NORMALISATIONS, VARIANTS, blobs, published_targets
from ..landmarks.slice_points import SlicePoints
from .distributed import average_gradients
from .landmark_references import PackReferences
from .landmark_validation import validation_scores
from .loop import StepContext, check_choice
from .published_augment import PublishedAugmentation, histogram_matched, published_augmented
from .published_loss import bce_minus_dice


@dataclass(frozen=True)
class PublishedStageConfig:
    """Settings of the stage.

    Attributes:
        network: The network.
        variant: `base`, `var1` (histogram matching), `var2` (Gauss 2 px) or `var3` (Gauss 4 px).
        normalisation: Of blurred targets: `channel`, or `joint` as published.
        blob_mm: Radius of the blob about a point.
        augmentation: What is drawn.
        batch: Pictures a step and rank.
        recorded_share: Share of pictures of end-diastole or end-systole; as published 1.
        lr: Adam.
    """

    network: PublishedNetworkConfig = field(default_factory=PublishedNetworkConfig)
    variant: str = "base"
    normalisation: str = "channel"
    blob_mm: float = 3.0
    augmentation: PublishedAugmentation = field(default_factory=PublishedAugmentation)
    batch: int = 16
    recorded_share: float = 1.0
    lr: float = 1e-4

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        if self.batch < 1:
            raise CardioDiTError(f"A batch of {self.batch} pictures is not possible.", "Give 1 or more.")
        if not self.blob_mm > 0:
            raise CardioDiTError(f"A blob of {self.blob_mm} mm is not possible.", "Give for instance 3.")


class PublishedLandmarkStage:
    """Trains a `PublishedNetwork` on the labelled cines of a pack; validates on those that the pack keeps aside.

    Args:
        config: Settings.
        data: The pack.

    Raises:
        CardioDiTError: The pack has no labels, or no cine to train on.
    """

    name = "landmarks"

    def __init__(self, config: PublishedStageConfig, data: PackedCines) -> None:
        if data.labels is None or not data.labels.any():
            raise CardioDiTError("The training pack has no labels.", "Make one of labelled cines.")
        self.config, self.data = config, data
        self.train_index = np.nonzero(~data.validation & data.slice_valid.any(axis=1))[0]
        self.validation_index = np.nonzero(data.validation & data.slice_valid.any(axis=1))[0]
        if not len(self.train_index):
            raise CardioDiTError("The training pack keeps all its cines aside.", "Make a pack with cines to train on.")
        self.references = PackReferences.of_pack(data)
        self.systole = (data.labels == 3).sum(axis=(2, 3, 4)).argmin(axis=1)
        shape = (data.images.shape[-2], data.images.shape[-1])
        network = config.network
        self.grid = PublishedGrid(shape, (data.spacing[0], data.spacing[1]), network.spacing_mm, network.size)
        self.model = PublishedNetwork(config.network)
        self.modules: dict[str, nn.Module] = {"landmarks": self.model}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "network": torch.optim.Adam(self.model.parameters(), config.lr)
        }

    def _slice(self, rng: np.random.Generator) -> tuple[int, int, int]:
        index = int(rng.choice(self.train_index))
        frame = int(rng.integers(self.data.images.shape[1]))
        if rng.random() < self.config.recorded_share:
            frame = int(rng.choice([0, self.systole[index]]))
        return index, frame, int(rng.choice(np.nonzero(self.data.slice_valid[index])[0]))

    def _picture(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(size, size) picture and (2, size, size) target."""
        config, variant = self.config, VARIANTS[self.config.variant]
        index, frame, z = self._slice(rng)
        picture = bright(self.grid.resample(self.data.images[index, frame, z]))
        if rng.random() < variant.histogram_share:
            picture = histogram_matched(picture, bright(self.grid.resample(self.data.images[self._slice(rng)])))
        places = self.grid.places_in_grid(self.references.points(index, frame, z)[0]) - self.grid.offset
        masks = blobs(places, self.grid.resampled, config.blob_mm / config.network.spacing_mm)
        picture, masks = published_augmented(picture, masks, config.augmentation, rng)
        target = published_targets(self.grid.fit(masks), variant.sigma_px, config.normalisation)
        return stretched(self.grid.fit(picture)), target

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        self.model.train()
        drawn = [self._picture(context.rng) for _ in range(self.config.batch)]
        pictures, targets = (torch.from_numpy(np.stack(part)).to(context.device) for part in zip(*drawn))
        with context.autocast():
            logits = self.model(pictures[:, None])
        loss = bce_minus_dice(logits.float().sigmoid(), targets)
        optimizer = self.optimizers["network"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model.parameters())
        optimizer.step()
        return {"loss": loss.detach()}

    def validate(self, context: StepContext) -> dict[str, float]:
        """See `landmark_validation.validation_scores`."""
        self.model.eval()
        spacing = (self.data.spacing[0], self.data.spacing[1])

        def predict(_: int, planes: NDArray[np.uint8]) -> SlicePoints:
            return predict_published(self.model, planes, spacing, device=context.device, batch=self.config.batch)

        return validation_scores(self.data, self.references, self.systole, self.validation_index.tolist(), predict)
