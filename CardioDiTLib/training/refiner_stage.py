"""Stage 3: the refiner, on what the slice decoder makes of latents as encoded and as the transformer draws them.

Loss: agreement with the real image (`ReconstructionLoss`; less of it where latents are redrawn, since there the
texture is another), a critic of planes with their neighbours in time (hinge; Lim and Ye 2017, arXiv 1705.02894) with
feature matching, cross-entropy and Dice of the tissues.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import nn

from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.training.distributed import average_gradients
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.reconstruction import ReconstructionLoss
from CardioDiTLib.training.refiner_data import RedrawSettings, RefinerSet
from CardioDiTLib.training.stage import follow
from CardioDiTLib.training.vqgan_stage import codec_scores


@dataclass(frozen=True)
class RefinerStageConfig:
    """Settings of the refiner.

    Attributes:
        model: Keyword arguments of `CineRefiner`.
        data: How examples are made.
        slices: Neighbouring slices a step.
        lr, weight_decay, clip: AdamW and gradient clipping.
        gradient_weight, motion_weight, motion_energy_weight, ssim_weight: See `VqganStageConfig`.
        redrawn_share: Share of steps with redrawn latents.
        redrawn_weight: Weight of the agreement there.
        label_weight: Cross-entropy plus Dice loss of the tissues.
        adversarial_weight, feature_weight, adversarial_start: The critic's, from this share of the run on.
        critic_lr, critic_channels, critic_frames: The critic, and frames that it is shown each step.
        average_decay: Moving average of the weights; the averaged ones are what is used.
    """

    model: dict[str, Any] = field(default_factory=dict)
    data: RedrawSettings = field(default_factory=RedrawSettings)
    slices: int = 4
    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    gradient_weight: float = 0.5
    motion_weight: float = 1.0
    motion_energy_weight: float = 6.0
    ssim_weight: float = 0.3
    redrawn_share: float = 0.5
    redrawn_weight: float = 0.4
    label_weight: float = 0.1
    adversarial_weight: float = 0.01
    feature_weight: float = 0.05
    adversarial_start: float = 0.15
    critic_lr: float = 4e-4
    critic_channels: int = 32
    critic_frames: int = 5
    average_decay: float = 0.998


class RefinerStage:
    """Trains a `CineRefiner` on a `RefinerSet`."""

    name = "refiner"

    def __init__(self, config: RefinerStageConfig, data: RefinerSet) -> None:
        self.config, self.data = config, data
        self.model = CineRefiner(**config.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.critic = PatchDiscriminator(
            spatial_dims=2,
            channels=config.critic_channels,
            in_channels=3,
            num_layers_d=3,
            kernel_size=4,
            norm="INSTANCE",
        )
        self.modules: dict[str, nn.Module] = {"refiner": self.model, "average": self.average, "critic": self.critic}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "refiner": torch.optim.AdamW(
                self.model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay
            ),
            "critic": torch.optim.AdamW(self.critic.parameters(), config.critic_lr, betas=(0.5, 0.95)),
        }
        self.reconstruction = ReconstructionLoss(
            gradient_weight=config.gradient_weight,
            motion_weight=config.motion_weight,
            motion_energy_weight=config.motion_energy_weight,
            ssim_weight=config.ssim_weight,
        )
        self.train_index = torch.nonzero(~data.validation).flatten().numpy()
        self.validation_index = torch.nonzero(data.validation).flatten().numpy()

    def _example(self, index: int, version: int, slices: slice, roll: int) -> tuple[torch.Tensor, ...]:
        """Base, latents, image and labels of neighbouring slices, the beat begun elsewhere."""
        data = self.data
        step = self.model.frames_a_latent
        base = data.base[index, version, slices].roll(roll * step, -1).float().div(127.5).sub(1)
        image = data.images[index, slices].roll(roll * step, -1).float().div(127.5).sub(1)
        labels = data.labels[index, slices].roll(roll * step, -1)
        latents = data.latents[index, version, :, slices].roll(roll, -1).float()
        return base[None], latents[None], image[None], labels[None]

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        config, rng, device = self.config, context.rng, context.device
        self.model.train()
        index = int(rng.choice(self.train_index))
        valid = np.nonzero(self.data.slice_valid[index].numpy())[0]
        last = max(int(valid[-1]) + 1 - config.slices, 0)
        first = int(rng.integers(min(int(valid[0]), last), last + 1))
        version = int(rng.random() < config.redrawn_share)
        roll = int(rng.integers(self.data.latents.shape[-1]))
        parts = self._example(index, version, slice(first, first + config.slices), roll)
        base, latents, image, labels = (part.to(device) for part in parts)
        with context.autocast():
            made, logits = self.model(base, latents, first)
        agreement, numbers = self.reconstruction(made.transpose(0, 1), image.transpose(0, 1))
        loss = agreement * (config.redrawn_weight if version else 1.0)
        names = ("redrawn",) if version else ("encoded",)
        numbers = {f"{names[0]}_{key}": value for key, value in numbers.items() if key == "l1"}
        if logits is not None and config.label_weight > 0:
            tissue = label_loss(logits, labels)
            loss = loss + config.label_weight * tissue
            numbers["tissue"] = tissue.detach()
        critic = context.progress >= config.adversarial_start
        shown = self._shown(rng, made.shape[1] * made.shape[-1])
        if critic:
            self.critic.requires_grad_(False)
            with context.autocast():
                seen, wanted = self.critic(triples(made)[shown]), self.critic(triples(image)[shown])
            fool = -seen[-1].float().mean()
            features = torch.stack(
                [F.l1_loss(a.float(), b.float().detach()) for a, b in zip(seen[:-1], wanted[:-1])]
            ).mean()
            loss = loss + config.adversarial_weight * fool + config.feature_weight * features
            numbers |= {"fool": fool.detach(), "features": features.detach()}
        optimizer = self.optimizers["refiner"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        held = list(self.model.parameters())
        average_gradients(held)
        nn.utils.clip_grad_norm_(held, config.clip)
        optimizer.step()
        if critic or context.progress >= 0.6 * config.adversarial_start:
            numbers["critic"] = self._critic_step(made.detach(), image, shown, context)
        follow(self.average, self.model, context.step, config.average_decay)
        return {"loss": loss.detach(), **numbers}

    def _shown(self, rng: np.random.Generator, planes: int) -> torch.Tensor:
        return torch.from_numpy(rng.choice(planes, min(4 * self.config.critic_frames, planes), replace=False))

    def _critic_step(
        self, made: torch.Tensor, real: torch.Tensor, shown: torch.Tensor, context: StepContext
    ) -> torch.Tensor:
        self.critic.requires_grad_(True)
        with context.autocast():
            on_made, on_real = self.critic(triples(made)[shown])[-1], self.critic(triples(real)[shown])[-1]
        loss = 0.5 * (F.relu(1 + on_made.float()).mean() + F.relu(1 - on_real.float()).mean())
        optimizer = self.optimizers["critic"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.critic.parameters())
        optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def validate(self, context: StepContext) -> dict[str, float]:
        """Of cines held out: PSNR, SSIM, motion and sharpness from encoded latents, before and after; Dice of the
        tissues at ED and in all frames; the same from redrawn latents.
        """
        rows = []
        for index in self.validation_index:
            row: dict[str, float] = {}
            keep = self.data.slice_valid[index]
            for version, name in enumerate(("", "redrawn_")):
                base, latents, image, labels = self._example(int(index), version, slice(None), 0)
                with context.autocast():
                    made, logits = self.average(base.to(context.device), latents.to(context.device))
                made = made.float().cpu().clamp(-1, 1)
                images = [x[0][keep][:, None] for x in (made, image, base)]
                row |= {f"{name}{key}": value for key, value in codec_scores(images[0], images[1]).items()}
                row[f"{name}sharpness"] = sharpness(made[0][keep]) / sharpness(image[0][keep])
                if not version:
                    row["base_psnr"] = codec_scores(images[2], images[1])["psnr"]
                    row["base_sharpness"] = sharpness(base[0][keep]) / sharpness(image[0][keep])
                if logits is not None:
                    found = logits.argmax(1).cpu()[0][keep]
                    for label, tissue in ((1, "rv"), (2, "myo"), (3, "lv")):
                        row[f"{name}dice_{tissue}"] = _dice(found == label, labels[0][keep] == label)
            rows.append(row)
        return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def triples(image: torch.Tensor) -> torch.Tensor:
    """(1, Z, H, W, T) -> (Z T, 3, H, W): every plane between the frames before and behind."""
    planes = image[0].permute(0, 3, 1, 2)
    return torch.stack([planes.roll(1, 1), planes, planes.roll(-1, 1)], dim=2).flatten(0, 1)


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice loss of the tissues; logits (B, K, Z, H, W, T), labels (B, Z, H, W, T)."""
    wanted = labels.long()
    entropy = F.cross_entropy(logits, wanted)
    shares = logits.softmax(1)
    true = F.one_hot(wanted, logits.shape[1]).movedim(-1, 1).float()
    axes = (0, 2, 3, 4, 5)
    both, sums = (shares * true).sum(axes), (shares + true).sum(axes)
    return entropy + 1 - ((2 * both + 1) / (sums + 1))[1:].mean()


def sharpness(planes: torch.Tensor) -> float:
    """Mean size of the in-plane Laplacian: what blurring takes away first; (..., H, W, T)."""
    inner = planes[..., 1:-1, 1:-1, :]
    around = planes[..., :-2, 1:-1, :] + planes[..., 2:, 1:-1, :] + planes[..., 1:-1, :-2, :] + planes[..., 1:-1, 2:, :]
    return float((4 * inner - around).abs().mean())


def _dice(found: torch.Tensor, wanted: torch.Tensor) -> float:
    both = float((found & wanted).sum())
    size = float(found.sum() + wanted.sum())
    return 2 * both / size if size else float("nan")
