"""What stages of one network share: the averaged weights, the optimizer's step, and slices of a labelled pack."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from CardioDiTLib.data.heart_roi import intensity_range
from CardioDiTLib.data.intensity import IntensityRange
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LV
from CardioDiTLib.training.distributed import average_gradients
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.slice_augment import SegmentationAugmentation

Network = TypeVar("Network", bound=nn.Module)


class LearningSettings(Protocol):
    """What settings of a stage say about the optimizer and the averaged weights."""

    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def average_decay(self) -> float: ...


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int, decay: float, taken_as_is: tuple[str, ...] = ()) -> None:
    """Moves averaged weights towards those of a network; in the first steps they follow faster.

    Args:
        average: Network of averaged weights.
        model: The network that learns.
        step: Index of the step.
        decay: Share of the averaged weights that stays, late in the run.
        taken_as_is: Tensors whose names begin so are not averaged; nor are whole numbers.
    """
    decay = min(decay, (1 + step) / (10 + step))
    own = model.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point and not name.startswith(taken_as_is):
            value.lerp_(own[name], 1 - decay)
        else:
            value.copy_(own[name])


class NetworkStage(ABC, Generic[Network]):
    """A stage of one network, one loss and one optimizer; subclasses say what is drawn and what it costs.

    Args:
        name: Of the stage; also the module's name in checkpoints.
        model: The network.
        optimizer: Of its parameters.

    Attributes:
        model: The network.
    """

    average_decay: float | None = None
    """See `follow`; None where no averaged weights are kept."""
    clip: float | None = None
    """Largest norm of the gradients; None for any."""

    def __init__(self, name: str, model: Network, optimizer: torch.optim.Optimizer) -> None:
        self.name, self.model = name, model
        self.modules: dict[str, nn.Module] = {name: model}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"network": optimizer}

    @abstractmethod
    def loss(self, context: StepContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of a batch, and its parts for the log."""

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        model, optimizer = self.model, self.optimizers["network"]
        model.train()
        loss, parts = self.loss(context)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model.parameters())
        if self.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip)
        optimizer.step()
        if self.average_decay is not None:
            follow(self.modules["average"], model, context.step, self.average_decay)
        return {"loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Begins with these weights, in the network and its average."""
        for module in self.modules.values():
            module.load_state_dict(weights)


class AveragedStage(NetworkStage[Network]):
    """The same with AdamW; the averaged weights are what is used.

    Args:
        name: Of the stage.
        model: The network, with the weights to begin with.
        config: The stage's settings.

    Attributes:
        average: The network with averaged weights.
    """

    def __init__(self, name: str, model: Network, config: LearningSettings) -> None:
        super().__init__(
            name, model, torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
        )
        self.average_decay, self.clip = config.average_decay, config.clip
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.modules["average"] = self.average


@dataclass(frozen=True)
class SliceStageConfig:
    """Settings of a stage that learns from augmented slices.

    Attributes:
        augmentation: What is drawn.
        batch: Images a step and rank.
        crop: Rows and columns of an image, pixels at the network's spacing.
        recorded_share: Share of images of end-diastole or end-systole.
        lr, weight_decay, clip: AdamW and gradient clipping.
        average_decay: Moving average of the weights; the averaged ones are what is used.
    """

    augmentation: SegmentationAugmentation = field(default_factory=SegmentationAugmentation)
    batch: int = 12
    crop: int = 128
    recorded_share: float = 0.5
    lr: float = 3e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    average_decay: float = 0.998

    def __post_init__(self) -> None:
        if self.batch < 1 or self.crop < 16:
            raise CardioDiTError(
                f"A batch of {self.batch} images of {self.crop} pixels is not possible.",
                "Give 1 image or more, of 16 pixels or more.",
            )


class LabelledPack:
    """Cines of a pack with labels, those to train on and those held out.

    Args:
        data: The pack. Frames without any label count as not labelled (often only end-diastole and end-systole are).

    Attributes:
        labels: (N, T, Z, Y, X).
        labelled: (N, T) frames that have labels.
        train_index, validation_index: Cines with a slice and a labelled frame at least.
        systole: (N,) labelled frame with least cavity.

    Raises:
        CardioDiTError: The pack has no labels, or no cine to train on.
    """

    def __init__(self, data: PackedCines) -> None:
        if data.labels is None or not data.labels.any():
            raise CardioDiTError("The training pack has no labels.", "Make one of labelled cines.")
        self.data, self.labels = data, data.labels
        self.labelled: NDArray[np.bool_] = np.asarray(self.labels.any(axis=(2, 3, 4)))
        shown = data.slice_valid.any(axis=1) & self.labelled.any(axis=1)
        self.train_index = np.nonzero(~data.validation & shown)[0]
        self.validation_index = np.nonzero(data.validation & shown)[0]
        if not len(self.train_index):
            raise CardioDiTError("The training pack holds all its cines out.", "Make a pack with cines to train on.")
        cavity = (self.labels == LV).sum(axis=(2, 3, 4))
        self.systole: NDArray[np.int64] = np.where(self.labelled, cavity, cavity.max() + 1).argmin(axis=1)

    @property
    def spacing_xy(self) -> tuple[float, float]:
        """(x, y) mm."""
        return self.data.spacing[0], self.data.spacing[1]

    def intensity_ranges(self, low_percentile: float, high_percentile: float) -> list[IntensityRange]:
        """Of each cine, the slices that a stack did not have left out."""
        return [
            intensity_range(images[:, valid if valid.any() else ~valid], low_percentile, high_percentile)
            for images, valid in zip(self.data.images, self.data.slice_valid)
        ]

    def draw_frame(self, rng: np.random.Generator, recorded_share: float) -> tuple[int, int]:
        """A cine to train on and a frame of it; by `recorded_share` end-diastole or end-systole."""
        index = int(rng.choice(self.train_index))
        frame = self.any_frame(index, rng)
        if rng.random() < recorded_share:
            frame = self.end_frame(index, rng)
        return index, frame

    def any_frame(self, index: int, rng: np.random.Generator) -> int:
        """A labelled frame of a cine."""
        frame = int(rng.integers(self.data.images.shape[1]))
        return frame if self.labelled[index, frame] else int(rng.choice(np.flatnonzero(self.labelled[index])))

    def end_frame(self, index: int, rng: np.random.Generator) -> int:
        """End-diastole or end-systole of a cine."""
        frame = int(rng.choice([0, self.systole[index]]))
        return frame if self.labelled[index, frame] else int(self.systole[index])


def neighbours_drawn(seen: list[int], z: int, drop_share: float, rng: np.random.Generator) -> list[int]:
    """Slices seen beside a slice, by `drop_share` none, and in either order: files begin at the base or at the apex."""
    if rng.random() < drop_share:
        seen = [z] * len(seen)
    return seen[::-1] if rng.random() < 0.5 else seen
