"""The published landmark network as a stage of the training loop, its variants as settings.

Images are slices of the labelled cines of a pack, prepared, augmented and blurred as published; the points are the
ends of the septum of an expert's labels, where the published ones were marked by hand. Two things differ on purpose:
the learning rate follows the loop's schedule instead of falling where the training loss no longer does, and no
checkpoint is chosen by its training loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.rvip_detector import (
    NORMALISATIONS,
    VARIANTS,
    RvipGrid,
    blobs,
    bright,
    predict_rvip,
    rvip_targets,
    stretched,
)
from CardioDiTLib.landmarks.slice_points import SlicePoints
from CardioDiTLib.models.rvip_network import RvipNetwork, RvipNetworkConfig
from CardioDiTLib.training.landmark_stage import PackReferences, validation_scores
from CardioDiTLib.training.loop import StepContext, check_choice
from CardioDiTLib.training.stage import LabelledPack, NetworkStage

_CLIP = 1e-7

_SMOOTH = 1.0


def bce_minus_dice(
    probabilities: torch.Tensor, targets: torch.Tensor, bce_weight: float = 1.0, dice_weight: float = 1.0
) -> torch.Tensor:
    """Binary cross-entropy, mean over everything, less one soft Dice over the whole batch and both channels.

    It is about -1 where everything is right. The published code hands the map of the cross-entropy to its optimizer
    unreduced, which is the same up to a factor that Adam does not see.

    Args:
        probabilities: (N, 2, H, W), clipped to 1e-7 from 0 and 1.
        targets: The same shape, 0 to 1.
        bce_weight: Of the cross-entropy.
        dice_weight: Of the Dice.

    Returns:
        A number.
    """
    likely = probabilities.clamp(_CLIP, 1 - _CLIP)
    # The published code clips and then adds the same number once more inside the logarithms.
    entropy = -(targets * (likely + _CLIP).log() + (1 - targets) * (1 - likely + _CLIP).log()).mean()
    overlap = (probabilities * targets).sum()
    dice = (2 * overlap + _SMOOTH) / (probabilities.sum() + targets.sum() + _SMOOTH)
    return bce_weight * entropy - dice_weight * dice


@dataclass(frozen=True)
class RvipAugmentation:
    """Shares and sizes; the defaults are the published ones.

    Args:
        chain_share: Share of images that anything at all happens to.
        turn_share: Share of those that are turned by 0 to 3 quarters.
        shift_share: Share of those that are shifted.
        shift: Largest shift, as a share of the image's side.
        distort_share: Share of those that are distorted.
        distort: Largest change of a cell's width, as a share.
        cells: Cells of the distorted grid along a side.

    Raises:
        CardioDiTError: A value is not possible.
    """

    chain_share: float = 0.8
    turn_share: float = 0.2
    shift_share: float = 0.8
    shift: float = 0.025
    distort_share: float = 0.8
    distort: float = 0.3
    cells: int = 5

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= 1 and item.name != "cells":
                raise CardioDiTError(f"The augmentation '{item.name}' is {value}, not 0 to 1.", "Give a share.")
        if self.cells < 1:
            raise CardioDiTError(f"A grid of {self.cells} cells is not possible.", "Give 1 or more.")


def rvip_augmented(
    image: NDArray[np.float32], masks: NDArray[np.bool_], ranges: RvipAugmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One draw.

    Args:
        image: (Y, X).
        masks: (2, Y, X) blobs; they move along, nearest neighbour.
        ranges: What may happen.
        rng: Where the randomness comes from.

    Returns:
        The same shapes, but that a quarter turn exchanges rows and columns.
    """
    if rng.random() >= ranges.chain_share:
        return image, masks
    if rng.random() < ranges.turn_share:
        turns = int(rng.integers(4))
        image, masks = np.rot90(image, turns), np.rot90(masks, turns, axes=(1, 2))
    rows, columns = (np.arange(size, dtype=np.float64) for size in image.shape)
    if rng.random() < ranges.shift_share:
        shift = rng.uniform(-ranges.shift, ranges.shift, 2)
        rows, columns = rows - shift[0] * len(rows), columns - shift[1] * len(columns)
    if rng.random() < ranges.distort_share:
        rows, columns = (_distorted(axis, ranges, rng) for axis in (rows, columns))
    place = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    moved = ndimage.map_coordinates(np.asarray(image, np.float32), place, order=1, mode="mirror")
    blobs = [ndimage.map_coordinates(mask.astype(np.uint8), place, order=0, mode="mirror") for mask in masks]
    return np.asarray(moved, np.float32), np.stack(blobs).astype(bool)


def _distorted(axis: NDArray[np.float64], ranges: RvipAugmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """Places along an axis, the cells between them made wider or narrower by turns."""
    size = len(axis)
    widths = size / ranges.cells * (1 + rng.uniform(-ranges.distort, ranges.distort, ranges.cells))
    ends = np.concatenate([[0.0], np.cumsum(widths)])
    even = np.linspace(0, size, ranges.cells + 1)
    beyond = np.where(axis < 0, axis, np.where(axis > size, axis - size, 0.0))
    return np.interp(axis, even, ends) + beyond


def histogram_matched(image: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image with the grey values of another, rank by rank (exact matching of the distributions).

    Args:
        image: Any shape.
        other: Any shape.
    """
    _, inverse, counts = np.unique(image.ravel(), return_inverse=True, return_counts=True)
    wanted, wanted_counts = np.unique(other.ravel(), return_counts=True)
    ranks = np.cumsum(counts) / image.size
    matched = np.interp(ranks, np.cumsum(wanted_counts) / other.size, wanted)
    return np.asarray(matched[inverse.ravel()].reshape(image.shape), np.float32)


@dataclass(frozen=True)
class RvipStageConfig:
    """Settings of the stage.

    Attributes:
        network: The network.
        variant: `base`, `var1` (histogram matching), `var2` (Gauss 2 px) or `var3` (Gauss 4 px).
        normalisation: Of blurred targets: `channel`, or `joint` as published.
        blob_mm: Radius of the blob about a point.
        augmentation: What is drawn.
        batch: Images a step and rank.
        first_share: What the network takes for the chance of every pixel before it has learned anything; as published
            a half. Points are few: from far less, the hundreds of steps are saved in which that alone is learned.
        recorded_share: Share of images of end-diastole or end-systole; as published 1.
        lr: Adam.
    """

    network: RvipNetworkConfig = field(default_factory=RvipNetworkConfig)
    variant: str = "base"
    normalisation: str = "channel"
    blob_mm: float = 3.0
    augmentation: RvipAugmentation = field(default_factory=RvipAugmentation)
    batch: int = 16
    first_share: float = 0.5
    recorded_share: float = 1.0
    lr: float = 1e-4

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        if self.batch < 1:
            raise CardioDiTError(f"A batch of {self.batch} images is not possible.", "Give 1 or more.")
        if not 0 < self.first_share < 1:
            raise CardioDiTError(f"A first_share of {self.first_share} is not possible.", "Give 0.5, or less.")
        if not self.blob_mm > 0:
            raise CardioDiTError(f"A blob of {self.blob_mm} mm is not possible.", "Give for instance 3.")


class RvipLandmarkStage(NetworkStage[RvipNetwork]):
    """Trains a `RvipNetwork` on the labelled cines of a pack; validates on those that the pack holds out.

    Args:
        config: Settings.
        data: The pack.

    Raises:
        CardioDiTError: The pack has no labels, or no cine to train on.
    """

    def __init__(self, config: RvipStageConfig, data: PackedCines) -> None:
        self.config, self.pack = config, LabelledPack(data)
        self.references = PackReferences.of_pack(data)
        shape = (data.images.shape[-2], data.images.shape[-1])
        network = config.network
        self.grid = RvipGrid(shape, self.pack.spacing_xy, network.spacing_mm, network.size)
        # channels last is about 1.5 times as fast in bfloat16 on a CPU, and no slower elsewhere
        model = RvipNetwork(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.first_share != 0.5 and model.last.bias is not None:
            nn.init.constant_(model.last.bias, math.log(config.first_share / (1 - config.first_share)))
        super().__init__("landmarks", model, torch.optim.Adam(model.parameters(), config.lr))

    def _slice(self, rng: np.random.Generator) -> tuple[int, int, int]:
        index, frame = self.pack.draw_frame(rng, self.config.recorded_share)
        return index, frame, int(rng.choice(np.nonzero(self.pack.data.slice_valid[index])[0]))

    def _image(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(size, size) image and (2, size, size) target."""
        config, variant = self.config, VARIANTS[self.config.variant]
        index, frame, z = self._slice(rng)
        image = bright(self.grid.resample(self.pack.data.images[index, frame, z]))
        if rng.random() < variant.histogram_share:
            image = histogram_matched(image, bright(self.grid.resample(self.pack.data.images[self._slice(rng)])))
        places = self.grid.places_in_grid(self.references.points(index, frame, z)[0]) - self.grid.offset
        masks = blobs(places, self.grid.resampled, config.blob_mm / config.network.spacing_mm)
        image, masks = rvip_augmented(image, masks, config.augmentation, rng)
        target = rvip_targets(self.grid.fit(masks), variant.sigma_px, config.normalisation)
        return stretched(self.grid.fit(image)), target

    def loss(self, context: StepContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        drawn = [self._image(context.rng) for _ in range(self.config.batch)]
        images, targets = (torch.from_numpy(np.stack(part)).to(context.device) for part in zip(*drawn))
        with context.autocast():
            logits = self.model(images[:, None])
        return bce_minus_dice(logits.float().sigmoid(), targets), {}

    def validate(self, context: StepContext) -> dict[str, float]:
        """See `landmark_stage.validation_scores`."""
        self.model.eval()
        spacing = self.pack.spacing_xy

        def predict(_: int, planes: NDArray[np.uint8]) -> SlicePoints:
            return predict_rvip(self.model, planes, spacing, device=context.device, batch=self.config.batch)

        return validation_scores(self.pack, self.references, predict)
