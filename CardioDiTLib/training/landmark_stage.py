"""The landmark network as a stage of the training loop.

Images and labels come from the labelled cines of a pack, as for the segmentation network; the points are the ends of
the septum of these labels (`PackReferences`). Loss of an image:

* cross-entropy between the heatmap and a Gaussian about the point, weighted by the contour's confidence, and the
  distance of the heatmap's mean from the point; points that are not in the image take no part,
* binary cross-entropy of the presence of each point,
* cross-entropy and soft Dice of the labels, the task that teaches the network what a ventricle is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.data.slice_inference import slices_seen
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.heatmap import predict_points
from CardioDiTLib.landmarks.metrics import septum_angle_differences
from CardioDiTLib.landmarks.septal_contour import trace_septal_contour
from CardioDiTLib.landmarks.slice_points import SlicePoints
from CardioDiTLib.models.slice_unet import (
    POINTS,
    LandmarkNetwork,
    LandmarkNetworkConfig,
    heatmap_logits,
    label_logits,
    presence_logits,
)
from CardioDiTLib.segmentation.model import IntensityRule
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.segmentation_stage import segmentation_loss
from CardioDiTLib.training.slice_augment import ImageAugmenter
from CardioDiTLib.training.stage import AveragedStage, LabelledPack, SliceStageConfig, neighbours_drawn

HIT_MM = 15.0
PRESENCE = 0.5

Predict = Callable[[int, NDArray[np.uint8]], SlicePoints]
"""(index of the cine, planes (Z, Y, X)) -> points in pixels of these planes."""


def moved_points(points_mm: torch.Tensor, places: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """Where points of the image that went in lie in the one that came out.

    Args:
        points_mm: (N, 2, 2): first and second point, (x, y) in mm from the middle of the image that went in; NaN
            where there is none.
        places: (N, 2, S, S): where each pixel was taken from, (x, y) mm, as `ImageAugmenter.with_places` gives them.
        spacing_mm: Pixel spacing of the image that came out.

    Returns:
        (N, 2, 2) pixels (x, y) of the image that came out; NaN for points outside it. Where the image was mirrored,
        first and second change places: a walk around the left ventricle meets them in the other order.
    """
    size = places.shape[-1]
    moved = torch.full_like(points_mm, float("nan"))
    for number, (points, place) in enumerate(zip(points_mm, places)):
        mirrored = False
        for kind, point in enumerate(points):
            if torch.isnan(point).any():
                continue
            nearest = int(((place - point[:, None, None]) ** 2).sum(0).argmin())
            y, x = divmod(nearest, size)
            # One Newton step with the slopes of the mapping there.
            inner_y, inner_x = min(max(y, 1), size - 2), min(max(x, 1), size - 2)
            slopes = torch.stack(
                [
                    (place[:, inner_y, inner_x + 1] - place[:, inner_y, inner_x - 1]) / 2,
                    (place[:, inner_y + 1, inner_x] - place[:, inner_y - 1, inner_x]) / 2,
                ],
                dim=1,
            )
            mirrored = bool(torch.linalg.det(slopes) < 0)
            step = torch.linalg.solve(slopes, point - place[:, y, x])
            if bool((step.abs() <= 1).all()):  # farther than a pixel from every pixel: outside
                moved[number, kind] = torch.tensor([x, y], dtype=moved.dtype) + step
        if mirrored:
            moved[number] = moved[number].flip(0)
    return moved


def validation_scores(pack: LabelledPack, references: PackReferences, predict: Predict) -> dict[str, float]:
    """Distances, recall and precision at end-diastole and end-systole, pooled over the cines held out.

    A point is given where its presence is at least one half. The first point of the walk is the anterior one in an
    image seen from the apex.

    Args:
        pack: The pack.
        references: Its points.
        predict: The network.

    Returns:
        What `point_scores` gives; empty where there is no cine.
    """
    found, truth = [], []
    data = pack.data
    scale = np.asarray(data.spacing[:2])
    for index in pack.validation_index.tolist():
        valid = np.nonzero(data.slice_valid[index])[0]
        for frame in (0, int(pack.systole[index])):
            seen = predict(index, data.images[index, frame, valid])
            found.append(np.where(seen.presence[..., None] >= PRESENCE, seen.places * scale, np.nan))
            truth.append(np.stack([references.points(index, frame, int(z))[0] for z in valid]) * scale)
    return point_scores(np.concatenate(found), np.concatenate(truth)) if found else {}


def point_scores(found: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """How well points agree.

    Args:
        found: (S, 2, 2) mm, first and second point of each slice, NaN where there is none.
        truth: The same.

    Returns:
        "first_mm" and "second_mm" (medians where point and reference are), "recall" and "precision" at 15 mm, and
        "angle_deg" (median); NaN where nothing is to be counted.
    """
    distance = np.linalg.norm(found - truth, axis=-1)
    both = np.isfinite(distance)
    hits = float((distance <= HIT_MM).sum())
    labelled, given = float(np.isfinite(truth[..., 0]).sum()), float(np.isfinite(found[..., 0]).sum())
    predicted, true = (np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1) for points in (found, truth))
    angles = septum_angle_differences(predicted, true)
    return {
        "first_mm": _median(distance[both[:, 0], 0]),
        "second_mm": _median(distance[both[:, 1], 1]),
        "recall": hits / labelled if labelled else float("nan"),
        "precision": hits / given if given else float("nan"),
        "angle_deg": _median(angles[np.isfinite(angles)]),
    }


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


class PackReferences:
    """Points by cine, frame and slice, from `trace_septal_contour` on the labels, each made once.

    In a pack of ED/ES pairs the labels of other frames were carried there by the motion, and so are their points.

    Args:
        labels: (N, T, Z, Y, X).
        spacing_mm: (x, y, z) mm.
    """

    def __init__(self, labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> None:
        self._labels, self._spacing = labels, (spacing_mm[1], spacing_mm[0])
        self._known: dict[tuple[int, int, int], tuple[NDArray[np.float64], float]] = {}

    @classmethod
    def of_pack(cls, data: PackedCines) -> PackReferences:
        """Those of a pack with labels."""
        assert data.labels is not None
        return cls(data.labels, data.spacing)

    def points(self, index: int, frame: int, level: int) -> tuple[NDArray[np.float64], float]:
        """The points of one slice.

        Returns:
            (2, 2) pixels (x, y), first and second of the walk, NaN where the slice has no septum; and the walk's
            confidence, 0 there.
        """
        place = (index, frame, level)
        if place not in self._known:
            walk = trace_septal_contour(self._labels[place], self._spacing)
            if walk is None:
                self._known[place] = np.full((2, 2), np.nan), 0.0
            else:
                self._known[place] = np.array([walk.first[::-1], walk.second[::-1]]), walk.confidence
        return self._known[place]


@dataclass(frozen=True)
class LandmarkStageConfig(SliceStageConfig):
    """Settings of the stage, beside those of `SliceStageConfig`; in mirrored images the two points change places.

    Attributes:
        network: The network.
        ends_share: Share of images of the two first and two last slices of a stack, where points come and go.
        sigma_mm: Standard deviation of the Gaussian about a point.
        distance_weight: Of the distance of the heatmap's mean, in units of 10 mm.
        presence_weight: Of the presence.
        label_weight: Of the labels.
    """

    network: LandmarkNetworkConfig = field(default_factory=LandmarkNetworkConfig)
    ends_share: float = 0.25
    sigma_mm: float = 3.0
    distance_weight: float = 0.5
    presence_weight: float = 1.0
    label_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sigma_mm > 0:
            raise CardioDiTError(f"A Gaussian with sigma {self.sigma_mm} mm is not possible.", "Give for instance 3.")


def heatmap_loss(
    logits: torch.Tensor, points: torch.Tensor, weights: torch.Tensor, sigma_px: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the heatmap is from a Gaussian about each point, and its mean from the point.

    Args:
        logits: (N, 2, H, W).
        points: (N, 2, 2) pixels (x, y); NaN for points that take no part.
        weights: (N, 2).
        sigma_px: Standard deviation of the Gaussian.

    Returns:
        Weighted means of the cross-entropy less the Gaussian's own (0 where they agree) and of the distance in pixels;
        0 where there is no point.
    """
    height, width = logits.shape[-2:]
    there = ~torch.isnan(points).any(-1)
    weight = weights * there
    total = weight.sum().clamp_min(1e-6)
    x, y = torch.nan_to_num(points).unbind(-1)
    columns, rows = torch.arange(width, device=logits.device), torch.arange(height, device=logits.device)
    across = torch.exp(-0.5 * ((columns - x[..., None]) / sigma_px) ** 2)
    down = torch.exp(-0.5 * ((rows - y[..., None]) / sigma_px) ** 2)
    truth = down[..., :, None] * across[..., None, :]
    truth = (truth / truth.sum((-2, -1), keepdim=True).clamp_min(1e-6)).flatten(2)
    logs = logits.flatten(2).log_softmax(-1)
    difference = (truth * (truth.clamp_min(1e-12).log() - logs)).sum(-1)
    share = logs.exp().view_as(logits)
    mean = torch.stack([(share.sum(-2) * columns).sum(-1), (share.sum(-1) * rows).sum(-1)], -1)
    distance = (mean - torch.nan_to_num(points)).square().sum(-1).add(1e-6).sqrt()
    return (weight * difference).sum() / total, (weight * distance).sum() / total


class LandmarkStage(AveragedStage[LandmarkNetwork]):
    """Trains a `LandmarkNetwork` on the labelled cines of a pack; validates on those that the pack holds out.

    Args:
        config: Settings.
        data: The pack.
        intensity: How grey values are scaled, as later in use.

    Raises:
        CardioDiTError: The pack has no labels, or no cine to train on.
    """

    def __init__(self, config: LandmarkStageConfig, data: PackedCines, intensity: IntensityRule | None = None) -> None:
        self.config, self.pack = config, LabelledPack(data)
        self.references = PackReferences.of_pack(data)
        rule = intensity or IntensityRule()
        self.ranges = self.pack.intensity_ranges(rule.low_percentile, rule.high_percentile)
        network = config.network
        self.augment = ImageAugmenter(config.augmentation, config.crop, network.spacing_mm, self.pack.spacing_xy)
        self.neighbour_step = network.neighbour_step(data.spacing[2])
        super().__init__("landmarks", LandmarkNetwork(network), config)

    def start_with(self, weights: dict[str, torch.Tensor]) -> int:
        """Takes over the weights of a segmentation network with the same channels.

        Its labels are the last channels of this network, which is then as good at them from the first step; heatmaps
        and presence are drawn anew.

        Returns:
            How many numbers were taken over.
        """
        own = {name: value.clone() for name, value in self.model.state_dict().items()}
        taken = 0
        for name, value in weights.items():
            target = own.get(name)
            if target is None or target.ndim != value.ndim:
                continue
            extra = [mine - theirs for mine, theirs in zip(target.shape, value.shape)]
            if any(size not in (0, 2 * POINTS) for size in extra):
                continue
            if any(extra):
                last = [slice(2 * POINTS, None) if size else slice(None) for size in extra]
                if value.ndim > 1 and extra[0] and extra[1]:
                    target[last[0]] = 0.0  # labels come from labels alone
                target[tuple(last)] = value
            else:
                target.copy_(value)
            taken += value.numel()
        self.load(own)
        return taken

    def _level(self, valid: NDArray[np.bool_], rng: np.random.Generator) -> int:
        levels = np.nonzero(valid)[0]
        if rng.random() < self.config.ends_share:
            levels = np.unique(np.concatenate([levels[:2], levels[-2:]]))
        return int(rng.choice(levels))

    def _batch(self, context: StepContext) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images (N, C, crop, crop), labels (N, crop, crop), points (N, 2, 2) pixels (x, y), weights (N, 2)."""
        rng, config, data = context.rng, self.config, self.pack.data
        images, labels, points, confidences = [], [], [], []
        height, width = self.pack.labels.shape[-2:]
        for _ in range(config.batch):
            index, frame = self.pack.draw_frame(rng, config.recorded_share)
            valid = data.slice_valid[index]
            z = self._level(valid, rng)
            seen = slices_seen(z, valid, config.network.neighbours, self.neighbour_step)
            seen = neighbours_drawn(seen, z, config.augmentation.drop_neighbours, rng)
            images.append(self.ranges[index].scale(data.images[index, frame, seen]))
            labels.append(self.pack.labels[index, frame, z])
            pixels, confidence = self.references.points(index, frame, z)
            points.append((pixels - [(width - 1) / 2, (height - 1) / 2]) * data.spacing[:2])
            confidences.append([confidence, confidence])
        drawn, moved, places = self.augment.with_places(
            torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)), context.generator
        )
        there = moved_points(torch.from_numpy(np.stack(points)).float(), places, config.network.spacing_mm)
        device = context.device
        return drawn.to(device), moved.to(device), there.to(device), torch.tensor(confidences).to(device)

    def loss(self, context: StepContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        images, labels, points, confidences = self._batch(context)
        with context.autocast():
            numbers = self.model(images)
        numbers = numbers.float()
        config = self.config
        spacing = config.network.spacing_mm
        place, distance = heatmap_loss(heatmap_logits(numbers), points, confidences, config.sigma_mm / spacing)
        there = (~torch.isnan(points).any(-1)).float()
        presence = F.binary_cross_entropy_with_logits(presence_logits(numbers), there)
        named = segmentation_loss(label_logits(numbers), labels)
        loss = (
            place
            + config.distance_weight * distance * spacing / 10
            + config.presence_weight * presence
            + config.label_weight * named
        )
        return loss, {"place": place, "mm": distance * spacing, "presence": presence, "labels": named}

    def validate(self, context: StepContext) -> dict[str, float]:
        """See `validation_scores`."""
        self.average.eval()
        pack = self.pack
        sampler = PlaneSampler(pack.data.images.shape[-2:], pack.spacing_xy, self.config.network.spacing_mm)

        def predict(index: int, planes: NDArray[np.uint8]) -> SlicePoints:
            stack = self.ranges[index].scale(sampler.to_network(planes))
            seen = predict_points(
                self.average, stack, step=self.neighbour_step, device=context.device, batch=self.config.batch
            )
            return SlicePoints(sampler.places_in_source(seen.places), seen.presence, seen.certainty)

        return validation_scores(pack, self.references, predict)
