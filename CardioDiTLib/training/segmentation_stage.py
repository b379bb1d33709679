"""The segmentation network as a stage of the training loop.

Pictures come from the labelled cines of a pack. Half of them are of end-diastole or end-systole: in a pack of ED/ES
pairs those are the recorded frames with an expert's labels, the others were made by motion between them. Loss:
cross-entropy and soft Dice over the batch, the background left out of the latter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..cine import LABEL_NAMES
from ..data.packing import PackedCines
from ..errors import CardioDiTError
from ..segmentation.manifest import IntensityRule
from ..segmentation.network import NetworkConfig, SegmentationNetwork
from ..segmentation.plane_sampler import PlaneSampler
from ..segmentation.predict import slice_probabilities, slices_seen
from ..segmentation.scores import dice_per_label
from ..segmentation.window import brightness
from .distributed import average_gradients
from .loop import StepContext
from .segmentation_augment import PictureAugmenter, SegmentationAugmentation


@dataclass(frozen=True)
class SegmentationStageConfig:
    """Settings of the stage.

    Attributes:
        network: The network.
        augmentation: What is drawn.
        batch: Pictures a step and rank.
        crop: Rows and columns of a picture, pixels at the network's spacing.
        recorded_share: Share of pictures of end-diastole or end-systole.
        lr, weight_decay, clip: AdamW and gradient clipping.
        dice_weight: Soft Dice beside cross-entropy.
        average_decay: Moving average of the weights; the averaged ones are what is used.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    augmentation: SegmentationAugmentation = field(default_factory=SegmentationAugmentation)
    batch: int = 12
    crop: int = 128
    recorded_share: float = 0.5
    lr: float = 3e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    dice_weight: float = 1.0
    average_decay: float = 0.998

    def __post_init__(self) -> None:
        if self.batch < 1 or self.crop < 16:
            raise CardioDiTError(
                f"A batch of {self.batch} pictures of {self.crop} pixels is not possible.",
                "Give 1 picture or more, of 16 pixels or more.",
            )


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor, dice_weight: float = 1.0) -> torch.Tensor:
    """Cross-entropy plus soft Dice.

    Args:
        logits: (N, 4, H, W).
        labels: (N, H, W) int64.
        dice_weight: Of the soft Dice.

    Returns:
        A number.
    """
    share = logits.softmax(1)[:, 1:]
    truth = F.one_hot(labels, len(LABEL_NAMES)).permute(0, 3, 1, 2)[:, 1:].to(share.dtype)
    overlap = (share * truth).sum((0, 2, 3))
    dice = (2 * overlap + 1) / (share.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return F.cross_entropy(logits, labels) + dice_weight * (1 - dice.mean())


class SegmentationStage:
    """Trains a `SegmentationNetwork` on the labelled cines of a pack; validates on those that the pack keeps aside.

    Args:
        config: Settings.
        data: The pack.
        intensity: How grey values are scaled, as later in use.

    Raises:
        CardioDiTError: The pack has no labels, or no cine to train on.
    """

    name = "segmentation"

    def __init__(
        self, config: SegmentationStageConfig, data: PackedCines, intensity: IntensityRule | None = None
    ) -> None:
        if data.labels is None or not data.labels.any():
            raise CardioDiTError("The training pack has no labels.", "Make one of labelled cines.")
        self.config, self.data, self.labels = config, data, data.labels
        self.train_index = np.nonzero(~data.validation & data.slice_valid.any(axis=1))[0]
        self.validation_index = np.nonzero(data.validation & data.slice_valid.any(axis=1))[0]
        if not len(self.train_index):
            raise CardioDiTError("The training pack keeps all its cines aside.", "Make a pack with cines to train on.")
        self.systole = (self.labels == 3).sum(axis=(2, 3, 4)).argmin(axis=1)
        rule = intensity or IntensityRule()
        self.ranges = [
            brightness(images[:, valid if valid.any() else ~valid], rule.low_percentile, rule.high_percentile)
            for images, valid in zip(data.images, data.slice_valid)
        ]
        self.augment = PictureAugmenter(
            config.augmentation, config.crop, config.network.spacing_mm, (data.spacing[0], data.spacing[1])
        )
        self.neighbour_step = config.network.neighbour_step(data.spacing[2])
        self.model = SegmentationNetwork(config.network)
        self.average = SegmentationNetwork(config.network).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        self.modules: dict[str, nn.Module] = {"segmentation": self.model, "average": self.average}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "network": torch.optim.AdamW(self.model.parameters(), config.lr, weight_decay=config.weight_decay)
        }

    def _batch(self, context: StepContext) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, crop, crop) pictures and (N, crop, crop) labels."""
        rng, config = context.rng, self.config
        pictures, labels = [], []
        for _ in range(config.batch):
            index = int(rng.choice(self.train_index))
            frame = int(rng.integers(self.data.images.shape[1]))
            if rng.random() < config.recorded_share:
                frame = int(rng.choice([0, self.systole[index]]))
            valid = self.data.slice_valid[index]
            z = int(rng.choice(np.nonzero(valid)[0]))
            seen = slices_seen(z, valid, config.network.neighbours, self.neighbour_step)
            if rng.random() < config.augmentation.drop_neighbours:
                seen = [z] * len(seen)
            if rng.random() < 0.5:  # base first or apex first: files have both
                seen = seen[::-1]
            pictures.append(self.ranges[index].scale(self.data.images[index, frame, seen]))
            labels.append(self.labels[index, frame, z])
        drawn, moved = self.augment(
            torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(labels)), context.generator
        )
        return drawn.to(context.device), moved.to(context.device)

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        self.model.train()
        pictures, labels = self._batch(context)
        with context.autocast():
            logits = self.model(pictures)
        loss = segmentation_loss(logits.float(), labels, self.config.dice_weight)
        optimizer = self.optimizers["network"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        optimizer.step()
        self._follow(context)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def _follow(self, context: StepContext) -> None:
        decay = min(self.config.average_decay, (1 + context.step) / (10 + context.step))
        own = self.model.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(own[name], 1 - decay)
            else:
                value.copy_(own[name])

    def validate(self, context: StepContext) -> dict[str, float]:
        """Dice of each label at end-diastole and end-systole, mean over the cines kept aside, nothing made plausible.

        Returns:
            "dice_ED_LV" and the like, 0 to 1, and "dice", their mean; empty where nothing is kept aside.
        """
        self.average.eval()
        sums: dict[str, list[float]] = {}
        spacing = self.data.spacing
        sampler = PlaneSampler(self.data.images.shape[-2:], (spacing[0], spacing[1]), self.config.network.spacing_mm)
        for index in self.validation_index:
            valid = np.nonzero(self.data.slice_valid[index])[0]
            for moment, frame in (("ED", 0), ("ES", int(self.systole[index]))):
                stack = self.ranges[index].scale(sampler.to_network(self.data.images[index, frame, valid]))
                shares = slice_probabilities(
                    self.average, stack, step=self.neighbour_step, device=context.device, batch=self.config.batch
                )
                found = sampler.to_source(shares).argmax(axis=1)
                for name, value in dice_per_label(found, self.labels[index, frame, valid]).items():
                    sums.setdefault(f"dice_{moment}_{name}", []).append(value)
        scores = {name: float(np.nanmean(values)) for name, values in sums.items() if not np.isnan(values).all()}
        return {"dice": float(np.mean(list(scores.values()))), **scores} if scores else {}
