"""The audit's encoder as a stage of the training loop: two views of a cine attract, other patients' repel.

Images of one patient are never told apart (`patients_of` finds those that a data set holds twice). Validation plants
copies: how many views of the cines held out are recognised at a threshold that one in twenty strangers passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from CardioDiTLib.data.packing import PackedCines, patients_of
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.labels import LV
from CardioDiTLib.models.contrastive_cine import (
    TEMPERATURE,
    CineEmbedding,
    CineEmbeddingConfig,
    at_working_size,
    nt_xent,
)
from CardioDiTLib.privacy.cine_canvas import frame_brightness
from CardioDiTLib.privacy.encoder import CineEncoder, load_encoder
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM
from CardioDiTLib.training.encoder_views import ViewMaker, ViewRanges
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.stage import AveragedStage

FILE_NAME = "whitening.safetensors"
EMBEDDED = "embedded"


def moments(frames: torch.Tensor, systole: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Moments and single frames of cines, their frames as bright as each other (see `frame_brightness`).

    Args:
        frames: (N, T, Z, Y, X) uint8, at even intervals over one cycle, end-diastole first.
        systole: (N,) frame of end-systole.

    Returns:
        (N, 3, Z, Y, X) mean, cosine and sine part, and (N, 4, Z, Y, X) end-diastole, end-systole and the frames half
        the way to and from it; float16, 1 for 255.
    """
    count = frames.shape[1]
    angle = 2 * np.pi * np.arange(count) / count
    basis = torch.from_numpy(
        np.stack([np.ones(count), 2 * np.cos(angle), 2 * np.sin(angle)]).astype(np.float32) / count
    )
    weights = np.full(count, 1 / count)
    kept, singles = [], []
    for cine, end in zip(frames, systole.tolist()):
        gains, offsets = (torch.from_numpy(one)[..., None, None] for one in frame_brightness(cine.numpy(), weights))
        level = (cine.float() - offsets) / gains / 255
        kept.append(torch.einsum("kt,tzyx->kzyx", basis, level).half())
        singles.append(level[[0, end, end // 2, (end + count) // 2]].half())
    return torch.stack(kept), torch.stack(singles)


def whitening(embeddings: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and matrix; ``(embedding - mean) @ matrix`` has nearly the same variance in every direction.

    Args:
        embeddings: (N, D) of views of training cines.
        floor: Added to the variance of each direction, as a share of their mean; directions that hold next to nothing
            are not blown up to full size.

    Returns:
        (D,) and (D, D), symmetric.
    """
    values = embeddings.double()
    mean = values.mean(0)
    variance, directions = torch.linalg.eigh(torch.cov(values.T))
    variance = variance.clamp_min(0)
    scale = (variance + floor * variance.mean()).clamp_min(1e-12).rsqrt()
    return mean.float(), (directions * scale @ directions.T).float()


def write_whitening(place: Path, mean: torch.Tensor, matrix: torch.Tensor, step: int) -> None:
    """Keeps it in a run's folder, with the step whose weights it belongs to."""
    with atomic_path(place / FILE_NAME) as partial:
        save_file({"mean": mean.contiguous(), "matrix": matrix.contiguous()}, partial, metadata={"step": str(step)})


def read_whitening(place: Path, step: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean and matrix of a step; None where there are none."""
    path = place / FILE_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as stream:
            if (stream.metadata() or {}).get("step") != str(step):
                return None
            return stream.get_tensor("mean"), stream.get_tensor("matrix")
    except (OSError, SafetensorError):
        return None


def draws(seed: int) -> tuple[np.random.Generator, torch.Generator]:
    """Generators of the views that are whitened on; the same for every run with this seed."""
    return np.random.default_rng([seed, 0xC0FFEE]), torch.Generator().manual_seed(seed + 1)


@dataclass(frozen=True)
class EncoderStageConfig:
    """Settings of the stage.

    Attributes:
        network: The network.
        views: What is drawn.
        ramp: Share of the run over which views grow from a third of the ranges to all of them.
        batch: Patients a step and rank; two views of each.
        frames: Frames of a view, evenly from the pack's.
        temperature: Of the loss.
        same_patient: Cines of a pack that correlate by this much are taken as of one patient.
        lr, weight_decay, clip: AdamW and gradient clipping.
        average_decay: Moving average of the weights; the averaged ones are what is used.
        start: Folder of an encoder whose weights training begins with, "embedded" for the one that comes with the
            software; None for chance.
        codec: Bundle whose codec gives decoded views; None for none.
        decoded_copies: Decoded versions of each cine: the first as it comes, further ones from noisy latents.
        validation_views: Views a cine that are planted in validation.
        whitening: Floor of the whitening at the end (see `whitening`); 0 for none.
        whitening_views: Views of each training cine that it is made of.
    """

    network: CineEmbeddingConfig = field(default_factory=CineEmbeddingConfig)
    views: ViewRanges = field(default_factory=ViewRanges)
    ramp: float = 0.3
    batch: int = 24
    frames: int = 8
    temperature: float = TEMPERATURE
    same_patient: float = 0.9
    lr: float = 1e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    average_decay: float = 0.995
    start: str | None = None
    codec: str | None = None
    decoded_copies: int = 2
    validation_views: int = 8
    whitening: float = 0.003
    whitening_views: int = 16

    def __post_init__(self) -> None:
        if self.whitening < 0 or self.whitening_views < 1:
            raise CardioDiTError(f"A whitening of {self.whitening:g} is not possible.", "Give 0 or more.")
        if self.batch < 2 or self.frames < 2 or self.validation_views < 1 or self.decoded_copies < 1:
            raise CardioDiTError(
                f"A batch of {self.batch} patients with {self.frames} frames cannot be told apart.",
                "Give two patients and two frames or more.",
            )


def working_frames(images: NDArray[np.uint8], frames: int, spacing_mm: float, target_mm: float) -> torch.Tensor:
    """Cines (N, T, Z, Y, X) uint8 at the encoder's pixel spacing and with fewer frames, uint8, whole image kept."""
    steps = np.rint(np.arange(frames) * len(images[0]) / frames).astype(int) % len(images[0])
    size = [round(n * spacing_mm / target_mm) for n in images.shape[-2:]]
    parts = []
    for cine in images:
        planes = torch.from_numpy(np.ascontiguousarray(cine[steps])).float()
        small = at_working_size(planes, (size[0], size[1]))
        parts.append(small.round().clamp(0, 255).to(torch.uint8))
    return torch.stack(parts)


def recognised(
    queries: torch.Tensor, own: NDArray[np.int64], references: torch.Tensor, people: NDArray[np.int64]
) -> dict[str, float]:
    """How well views are recognised among references.

    The threshold is passed by one in twenty views whose patient is taken out of the references (strangers); a view is
    found if its nearest reference is of its own patient and above the threshold.

    Args:
        queries: (Q, D).
        own: (Q,) patient of each query.
        references: (R, D), every query's patient among them.
        people: (R,) patient of each reference.

    Returns:
        sensitivity (share found), first (share whose nearest reference is right), threshold, margin (mean difference
        between a view's correlation to itself and to the nearest stranger).
    """
    a, b = (F.normalize(x.float() - x.float().mean(1, keepdim=True), dim=1) for x in (queries, references))
    found = (a @ b.T).numpy()
    same = own[:, None] == people[None, :]
    right, wrong = np.where(same, found, -2).max(1), np.where(same, -2, found).max(1)
    threshold = float(np.quantile(wrong, 1 - FALSE_ALARM))
    return {
        "sensitivity": float(((right > threshold) & (right > wrong)).mean()),
        "first": float((right > wrong).mean()),
        "threshold": threshold,
        "margin": float((right - wrong).mean()),
    }


class EncoderStage(AveragedStage[CineEmbedding]):
    """Trains a `CineEmbedding` on a pack.

    Args:
        config: Settings.
        data: The pack.
        decoded: (K, N, T, Z, Y, X) uint8, the pack's cines as a codec shows them, on the pack's grid; or None.

    Raises:
        CardioDiTError: Fewer than two patients to train on.
    """

    def __init__(self, config: EncoderStageConfig, data: PackedCines, decoded: torch.Tensor | None = None) -> None:
        self.config = config
        network = config.network
        self.patients = patients_of(data.images, config.same_patient)
        held_out = set(self.patients[data.validation].tolist())
        # A patient that is held out under one name is not learned under another.
        self.train_index = np.array([i for i, p in enumerate(self.patients) if p not in held_out], np.int64)
        self.validation_index = np.nonzero(data.validation)[0]
        self.people = np.unique(self.patients[self.train_index])
        if len(self.people) < 2:
            raise CardioDiTError("The pack has fewer than two patients to train on.", "Make a pack of more cines.")
        small = working_frames(data.images, config.frames, data.spacing[0], network.spacing_mm)
        if min(small.shape[-2:]) < network.size // 2:
            raise CardioDiTError(
                f"The pack's images become {tuple(small.shape[-2:])} pixels, the encoder wants {network.size}.",
                "Make the pack and the settings to match.",
            )
        if data.labels is not None and data.labels.any():
            cavity = (data.labels == LV).sum(axis=(2, 3, 4))
            systole = np.where(cavity > 0, cavity, cavity.max() + 1).argmin(axis=1)  # 0: not labelled
        else:
            systole = np.full(len(data.images), data.images.shape[1] // 3)
        systole = np.rint(systole * config.frames / data.images.shape[1]).astype(np.int64) % config.frames
        self.valid = torch.from_numpy(np.asarray(data.slice_valid, bool))
        versions = [small] if decoded is None else [small, *decoded]
        made = [moments(one, systole) for one in versions]
        self.moments = torch.stack([one for one, _ in made])
        self.frames = torch.stack([one for _, one in made])
        model = CineEmbedding(network)
        if config.start is not None:
            self._begin_with(model, load_encoder(None if config.start == EMBEDDED else config.start))
        super().__init__("encoder", model, config)

    def _begin_with(self, model: CineEmbedding, encoder: CineEncoder) -> None:
        if replace(encoder.network.config, dropout=self.config.network.dropout) != self.config.network:
            raise CardioDiTError(
                f"The encoder '{encoder.manifest.name}' has another network than the settings describe.",
                "Give its settings, or begin without it.",
            )
        model.load_state_dict(encoder.network.state_dict())

    def _views(
        self,
        indices: NDArray[np.int64],
        pool: NDArray[np.int64],
        rng: np.random.Generator,
        generator: torch.Generator,
        ease: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One view of each cine, as `ViewMaker` gives them; `pool` gives what they are mixed with."""
        versions = len(self.moments)
        which = np.where(
            (rng.random(len(indices)) < self.config.views.decoded) & (versions > 1),
            rng.integers(1, max(versions, 2), len(indices)),
            0,
        )
        chosen = torch.from_numpy(which), torch.from_numpy(indices)
        others = self.moments[0, torch.from_numpy(rng.choice(pool, len(indices)))].float()
        network = self.config.network
        make = ViewMaker(self.config.views.eased(ease), network.size, network.spacing_mm)
        # Slices that a stack did not have are black in all it gives.
        shown = self.valid[chosen[1]][:, None, :, None, None]
        return make(self.moments[chosen].float() * shown, others, self.frames[chosen].float() * shown, generator)

    def loss(self, context: StepContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rng = context.rng
        count = min(self.config.batch, len(self.train_index))
        indices = rng.choice(self.train_index, count, replace=False)
        ease = 1.0 if self.config.ramp <= 0 else min(1.0, 1 / 3 + 2 / 3 * context.progress / self.config.ramp)
        views = [self._views(indices, self.train_index, rng, context.generator, ease) for _ in range(2)]
        with context.autocast():
            seen = self.model.planes_of(*(torch.cat(part).to(context.device) for part in zip(*views)))
            found = self.model.embed_planes(*seen, mirrored=False)
        first, second = found.float().chunk(2)
        patients = torch.from_numpy(self.patients[indices]).to(context.device)
        return nt_xent(first, second, self.config.temperature, patients), {}

    @torch.no_grad()
    def _embedded(self, views: tuple[torch.Tensor, torch.Tensor], context: StepContext) -> torch.Tensor:
        self.average.eval()
        parts = zip(*(one.to(context.device).split(16) for one in views))
        return torch.cat([self.average.embed_planes(*self.average.planes_of(*part)).float().cpu() for part in parts])

    def whitened(self, context: StepContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and matrix of the whitening, from views of the training cines as training draws them."""
        rows = [
            self._embedded(self._views(part, self.train_index, context.rng, context.generator), context)
            for _ in range(self.config.whitening_views)
            for part in np.array_split(self.train_index, len(self.train_index) // 16 + 1)
        ]
        return whitening(torch.cat(rows), self.config.whitening)

    def _plain(self, indices: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cines as they are, all of their slices, the middle of the image."""
        network = self.config.network
        count = self.moments.shape[3]
        make = ViewMaker(replace(ViewRanges().eased(0.0), mirror=0.0, slices=count), network.size, network.spacing_mm)
        chosen = torch.from_numpy(indices)
        shown = self.valid[chosen][:, None, :, None, None]
        cines, frames = self.moments[0, chosen].float() * shown, self.frames[0, chosen].float() * shown
        return make(cines, cines, frames, torch.Generator())

    def validate(self, context: StepContext) -> dict[str, float]:
        """Planted copies of the cines held out, and of as many training cines ("seen_...")."""
        if not len(self.validation_index):
            return {}
        everyone = np.arange(len(self.patients))
        # A few at a time: a pack of whole cines may be large.
        parts = np.array_split(everyone, len(everyone) // 16 + 1)
        references = torch.cat([self._embedded(self._plain(part), context) for part in parts])
        scores: dict[str, float] = {}
        some = self.train_index[:: max(1, len(self.train_index) // len(self.validation_index))]
        for prefix, indices in (("", self.validation_index), ("seen_", some)):
            queries = [
                self._embedded(self._views(indices, self.train_index, context.rng, context.generator), context)
                for _ in range(self.config.validation_views)
            ]
            own = np.tile(self.patients[indices], self.config.validation_views)
            found = recognised(torch.cat(queries), own, references, self.patients)
            scores |= {f"{prefix}{name}": value for name, value in found.items()}
        return scores


def middle(frames: torch.Tensor, size: int) -> torch.Tensor:
    """(..., Y, X) -> (..., size, size): the middle, what lies beyond the image repeated from its rim."""
    for axis in (-2, -1):
        surplus = frames.shape[axis] - size
        if surplus >= 0:
            frames = frames.narrow(axis, surplus // 2, size)
        else:
            places = (torch.arange(size) + surplus // 2).clamp(0, frames.shape[axis] - 1)
            frames = frames.index_select(axis, places)
    return frames
