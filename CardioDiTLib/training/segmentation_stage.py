"""The segmentation network as a stage of the training loop.

Images come from the labelled cines of a pack. Half of them are of end-diastole or end-systole: in a pack of ED/ES
pairs those are the recorded frames with an expert's labels, the others were made by motion between them. Beside the
pack, stacks as recorded can be given, and slices in which only the left cavity was drawn (`labelled_stacks`).

Loss: cross-entropy and soft Dice over the batch, the background left out of the latter; and, slice by slice, whether a
ventricle is there at all. Where a basal slice no longer belongs to the right ventricle, a network is unsure in every
pixel of it, and a loss by pixel lets it be: half the slice is named and counts in no direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.intensity import IntensityRange
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.data.slice_inference import SPREAD_SCALE, beat_channels, slices_seen
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LABEL_NAMES, LV
from CardioDiTLib.models.slice_unet import NetworkConfig, SegmentationNetwork
from CardioDiTLib.segmentation.model import IntensityRule
from CardioDiTLib.segmentation.postprocess import dice_per_label
from CardioDiTLib.segmentation.segment import slice_probabilities
from CardioDiTLib.training.labelled_stacks import GRID_MM, NOT_CAVITY, LabelledStack, basal_slices
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.slice_augment import ImageAugmenter
from CardioDiTLib.training.stage import AveragedStage, LabelledPack, SliceStageConfig, neighbours_drawn


@dataclass(frozen=True)
class SegmentationStageConfig(SliceStageConfig):
    """Settings of the stage, beside those of `SliceStageConfig`.

    Attributes:
        network: The network.
        dice_weight: Soft Dice beside cross-entropy.
        presence_weight: Of the question whether a label is in the slice.
        basal_share: Share of the ED/ES images that show the hard slices at the base at ES (`basal_slices`).
        stack_share: Share of images from stacks as recorded, where there are any.
        cavity_share: Share of images with a drawn cavity alone, where there are any.
        still_share: Share of images of which only one frame is known, for a network that sees motion.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    dice_weight: float = 1.0
    presence_weight: float = 0.0
    basal_share: float = 0.0
    stack_share: float = 0.5
    cavity_share: float = 0.12
    still_share: float = 0.1


BEAT_FRAMES = 4
"""Frames of which mean and spread over the beat are taken in training; in use it is all of them."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """(C, Y, X) images within [-1, 1], (Y, X) labels, and whether only the one frame is known."""

    images: NDArray[np.float32]
    labels: NDArray[np.uint8]
    still: bool


def _with_beat(images: torch.Tensor, slices: int, middle: int, still: torch.Tensor) -> torch.Tensor:
    """Slices and frames (N, slices + BEAT_FRAMES, H, W) -> slices, mean and spread (N, slices + 2, H, W)."""
    frames = images[:, slices:]
    alone = still[:, None, None]
    mean = torch.where(alone, images[:, middle], frames.mean(1))
    spread = (SPREAD_SCALE * frames.std(1, correction=0)).clamp(max=1.0).masked_fill(alone, 0.0)
    return torch.cat([images[:, :slices], mean[:, None], spread[:, None]], 1)


def segmentation_loss(
    logits: torch.Tensor, labels: torch.Tensor, dice_weight: float = 1.0, presence_weight: float = 0.0
) -> torch.Tensor:
    """Cross-entropy plus soft Dice.

    Args:
        logits: (N, 4, H, W).
        labels: (N, H, W) int64; `NOT_CAVITY` where only that is known.
        dice_weight: Of the soft Dice.
        presence_weight: Of the slices' question. A label's sureness in a slice is the mean of its probability,
            weighted by itself: near 1 wherever it is surely seen, however small.

    Returns:
        A number.
    """
    unknown = labels == NOT_CAVITY
    partly = unknown.flatten(1).any(1)
    every = torch.log_softmax(logits, 1)
    named = labels.masked_fill(unknown, 0)
    loss = -every.gather(1, named[:, None])[:, 0]
    if partly.any():
        loss = torch.where(unknown, -torch.logsumexp(every[:, :LV], 1), loss)
    share = every.exp()[:, 1:]
    truth = F.one_hot(named, len(LABEL_NAMES)).permute(0, 3, 1, 2)[:, 1:].to(share.dtype)
    # An image with its cavity alone counts for the cavity alone.
    counts = torch.ones_like(share[:, :, :1, :1])
    counts[partly, : LV - 1] = 0
    overlap = (counts * share * truth).sum((0, 2, 3))
    dice = (2 * overlap + 1) / ((counts * share).sum((0, 2, 3)) + (counts * truth).sum((0, 2, 3)) + 1)
    total = loss.mean() + dice_weight * (1 - dice.mean())
    if presence_weight:
        sure = (share**2).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-6)
        there = truth.flatten(2).any(2).to(share.dtype)
        asked = F.binary_cross_entropy(sure.clamp(1e-4, 1 - 1e-4), there, reduction="none")
        total = total + presence_weight * (counts[:, :, 0, 0] * asked).sum() / counts.sum().clamp_min(1)
    return total


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


class SegmentationStage(AveragedStage[SegmentationNetwork]):
    """Trains a `SegmentationNetwork` on the labelled cines of a pack; validates on those that the pack holds out.

    Args:
        config: Settings.
        data: The pack.
        intensity: How grey values are scaled, as later in use.
        stacks: Stacks as recorded, of patients that the pack does not hold out.
        cavities: Slices in which only the left cavity was drawn.

    Raises:
        CardioDiTError: The pack has no labels, or no cine to train on.
    """

    def __init__(
        self,
        config: SegmentationStageConfig,
        data: PackedCines,
        intensity: IntensityRule | None = None,
        *,
        stacks: Sequence[LabelledStack] = (),
        cavities: Sequence[LabelledStack] = (),
    ) -> None:
        self.config, self.pack = config, LabelledPack(data)
        rule = intensity or IntensityRule()
        self.ranges = self.pack.intensity_ranges(rule.low_percentile, rule.high_percentile)
        network = config.network
        self.augment = ImageAugmenter(config.augmentation, config.crop, network.spacing_mm, self.pack.spacing_xy)
        self.augment_stack = ImageAugmenter(config.augmentation, config.crop, network.spacing_mm, (GRID_MM, GRID_MM))
        self.stacks, self.cavities = list(stacks), list(cavities)
        self.basal = {
            int(index): basal_slices(self.pack.labels[index], int(self.pack.systole[index]), data.slice_valid[index])
            for index in self.pack.train_index
        }
        self.neighbour_step = network.neighbour_step(data.spacing[2])
        super().__init__("segmentation", SegmentationNetwork(network), config)

    def _batch(self, context: StepContext) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, crop, crop) images and (N, crop, crop) labels."""
        rng, config = context.rng, self.config
        kinds: dict[str, list[_Drawn]] = {"pack": [], "stack": []}
        for _ in range(config.batch):
            lot = rng.random()
            if self.cavities and lot < config.cavity_share:
                kinds["stack"].append(self._of_stack(self.cavities[int(rng.integers(len(self.cavities)))], rng))
            elif self.stacks and lot < config.cavity_share + config.stack_share:
                kinds["stack"].append(self._of_stack(self.stacks[int(rng.integers(len(self.stacks)))], rng))
            else:
                kinds["pack"].append(self._of_pack(rng))
        slices = 2 * config.network.neighbours + 1
        own = [config.network.neighbours, *range(slices, slices + (BEAT_FRAMES if config.network.motion else 0))]
        images, labels = [], []
        for kind, augment in (("pack", self.augment), ("stack", self.augment_stack)):
            if not kinds[kind]:
                continue
            seen = torch.from_numpy(np.stack([drawn.images for drawn in kinds[kind]]))
            truth = torch.from_numpy(np.stack([drawn.labels for drawn in kinds[kind]]))
            changed, moved = augment(seen, truth, context.generator, own)
            if config.network.motion:
                still = torch.tensor([drawn.still for drawn in kinds[kind]])
                changed = _with_beat(changed, slices, config.network.neighbours, still)
            images.append(changed)
            labels.append(moved)
        return torch.cat(images).to(context.device), torch.cat(labels).to(context.device)

    def _of_pack(self, rng: np.random.Generator) -> _Drawn:
        config, data = self.config, self.pack.data
        index = int(rng.choice(self.pack.train_index))
        systole = int(self.pack.systole[index])
        valid = data.slice_valid[index]
        frame = self.pack.any_frame(index, rng)
        z = int(rng.choice(np.nonzero(valid)[0]))
        if rng.random() < config.recorded_share:
            frame = self.pack.end_frame(index, rng)
            if self.basal[index] and rng.random() < config.basal_share:
                frame, z = systole, int(rng.choice(self.basal[index]))
        frames = data.images[index]
        beat = [0, systole, 0, systole]
        if rng.random() < 0.5:
            beat = [(frame + k * len(frames) // BEAT_FRAMES) % len(frames) for k in range(BEAT_FRAMES)]
        step = self.neighbour_step
        return self._drawn(frames, self.pack.labels[index], frame, z, valid, step, self.ranges[index], beat, rng)

    def _of_stack(self, stack: LabelledStack, rng: np.random.Generator) -> _Drawn:
        frame, z = int(rng.integers(len(stack.images))), int(rng.integers(stack.images.shape[1]))
        if stack.basal and rng.random() < self.config.basal_share:
            frame, z = stack.systole, int(rng.choice(stack.basal))
        beat = [k % len(stack.images) for k in range(BEAT_FRAMES)]
        step = self.config.network.neighbour_step(stack.slice_mm)
        valid = np.ones(stack.images.shape[1], bool)
        return self._drawn(stack.images, stack.labels, frame, z, valid, step, stack.range, beat, rng)

    def _drawn(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        frame: int,
        z: int,
        valid: NDArray[np.bool_],
        step: int,
        scale: IntensityRange,
        beat: list[int],
        rng: np.random.Generator,
    ) -> _Drawn:
        """One slice of a frame with what is seen beside it."""
        config = self.config
        seen = slices_seen(z, valid, config.network.neighbours, step)
        seen = neighbours_drawn(seen, z, config.augmentation.drop_neighbours, rng)
        still = bool(rng.random() < config.still_share)
        shown = [images[frame, seen]]
        if config.network.motion:
            shown.append(images[beat, z])
        return _Drawn(scale.scale(np.concatenate(shown)), labels[frame, z], still)

    def loss(self, context: StepContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        images, labels = self._batch(context)
        with context.autocast():
            logits = self.model(images)
        return segmentation_loss(logits.float(), labels, self.config.dice_weight, self.config.presence_weight), {}

    def validate(self, context: StepContext) -> dict[str, float]:
        """Dice of each label at end-diastole and end-systole, mean over the cines held out, without postprocessing.

        Returns:
            "dice_ED_LV" and the like, 0 to 1, and "dice", their mean; empty where nothing is held out.
        """
        self.average.eval()
        sums: dict[str, list[float]] = {}
        pack, data = self.pack, self.pack.data
        sampler = PlaneSampler(data.images.shape[-2:], pack.spacing_xy, self.config.network.spacing_mm)
        for index in pack.validation_index:
            valid = np.nonzero(data.slice_valid[index])[0]
            beat = None
            if self.config.network.motion:
                frames = [data.images[index, t, valid] for t in (0, int(pack.systole[index]))]
                beat = beat_channels(self.ranges[index].scale(sampler.to_network(np.stack(frames))))
            for moment, frame in (("ED", 0), ("ES", int(pack.systole[index]))):
                stack = self.ranges[index].scale(sampler.to_network(data.images[index, frame, valid]))
                probabilities = slice_probabilities(
                    self.average,
                    stack,
                    beat=beat,
                    step=self.neighbour_step,
                    device=context.device,
                    batch=self.config.batch,
                )
                found = sampler.to_source(probabilities).argmax(axis=1)
                for name, value in dice_per_label(found, pack.labels[index, frame, valid]).items():
                    sums.setdefault(f"dice_{moment}_{name}", []).append(value)
        scores = {name: float(np.nanmean(values)) for name, values in sums.items() if not np.isnan(values).all()}
        return {"dice": float(np.mean(list(scores.values()))), **scores} if scores else {}
