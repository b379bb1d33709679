"""Stage 1: the codec of single slices over one cycle.

Loss: L1, L1 of in-plane gradients, L1 of differences in time (a codec can reach 25 dB and lose all motion: nothing
else asks for it), commitment, and from a chosen step on adversarial (hinge-free least squares, MONAI) and feature
matching on the discriminator's own layers (pix2pixHD, arXiv 1711.11585). Optional: the Jukebox spectral loss (arXiv
2005.00341).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses.adversarial_loss import PatchAdversarialLoss
from monai.metrics.regression import SSIMMetric
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import nn

from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.axes import cine_to_model
from CardioDiTLib.models.vqgan import VQGAN
from CardioDiTLib.training.distributed import average_gradients
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.reconstruction import ReconstructionLoss
from CardioDiTLib.training.stage import follow


def heart_box(frames: torch.Tensor, share: float = 0.5) -> torch.Tensor:
    """Middle part of the image, where a heart-centred cine has its heart: (..., H, W, T) cut in H and W."""
    height, width = frames.shape[-3:-1]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return frames[..., top : height - top, left : width - left, :]


def motion(frames: torch.Tensor) -> float:
    """Mean |frame - frame 0| inside the heart box at the frame that differs most from frame 0 (end-systole)."""
    box = heart_box(frames)
    return float((box - box[..., :1]).abs().mean(dim=tuple(range(box.ndim - 1))).max())


def codec_scores(made: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """Scores of one cine.

    Args:
        made, real: (Z, 1, H, W, T) in [-1, 1].

    Returns:
        psnr (dB, peak-to-peak 2), ssim (2D planes), motion_share (motion of `made` over motion of `real`).
    """
    error = float((made - real).square().mean())
    planes = [x.permute(0, 4, 1, 2, 3).flatten(0, 1) for x in (made, real)]
    ssim = torch.as_tensor(SSIMMetric(spatial_dims=2, data_range=2.0)(planes[0][::2], planes[1][::2]))
    return {
        "psnr": 10 * float(torch.log10(torch.tensor(4.0 / max(error, 1e-12)))),
        "ssim": float(ssim.mean()),
        "motion_share": motion(made) / max(motion(real), 1e-6),
    }


@dataclass(frozen=True)
class VqganStageConfig:
    """Settings of stage 1.

    Attributes:
        model: Keyword arguments of `VQGAN`.
        batch: Crops a step and rank.
        crop: Rows and columns of a crop.
        crop_spread: Standard deviation of the crop's centre about the heart, pixels.
        lr, weight_decay, clip: AdamW and gradient clipping.
        gradient_weight: In-plane gradients.
        motion_weight, motion_lags: Differences in time.
        motion_energy_weight: Local mean of absolute differences in time: L1 alone prefers too little motion wherever
            it is not sure.
        ssim_weight: 1 - SSIM of planes (Wang et al., IEEE TIP 2004): local contrast, which L1 lets fade.
        adversarial_weight, feature_weight, adversarial_start: From this share of the run on.
        discriminator_lr, discriminator_channels, discriminator_layers: The critic.
        jukebox_weight: Spectral loss; 0 off.
        perceptual_weight, perceptual_network: MONAI's perceptual loss (LPIPS, arXiv 1801.03924); 0 off. It needs the
            packages lpips and torchvision and the weights of the network, none of which this library brings.
        decoder_only: Encoder and codebook stay as they are (latents made with them stay valid).
        latent_noise: With `decoder_only`, normal noise on the latents before they are rounded to codes, in units of
            their standard deviation, so that the decoder forgives a generator's small errors.
        average_decay: Moving average of the weights; the averaged ones are what is used.
    """

    model: dict[str, Any] = field(default_factory=dict)
    batch: int = 6
    crop: int = 64
    crop_spread: float = 18.0
    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    gradient_weight: float = 0.5
    motion_weight: float = 1.0
    motion_lags: tuple[int, ...] = (1, 4, 7)
    motion_energy_weight: float = 0.0
    ssim_weight: float = 0.0
    adversarial_weight: float = 0.02
    feature_weight: float = 0.05
    adversarial_start: float = 0.6
    discriminator_lr: float = 3e-4
    discriminator_channels: int = 32
    discriminator_layers: int = 2
    jukebox_weight: float = 0.0
    perceptual_weight: float = 0.0
    perceptual_network: str = "squeeze"
    decoder_only: bool = False
    latent_noise: float = 0.0
    average_decay: float = 0.995


def to_model_axes(frames: np.ndarray) -> torch.Tensor:
    """(T, Y, X) uint8 -> (1, H, W, T) float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(cine_to_model(frames[:, None]))).float().div(127.5).sub(1.0)


def _perceptual_loss(network: str) -> nn.Module:
    """MONAI's perceptual loss over the planes of (B, 1, H, W, T)."""
    from monai.losses.perceptual import PerceptualLoss

    try:
        return PerceptualLoss(spatial_dims=3, network_type=network, is_fake_3d=True, fake_3d_ratio=0.25).eval()
    except Exception as error:  # missing packages, missing weights and no network all look different
        raise CardioDiTError(
            f"The perceptual loss with '{network}' cannot be made: {error}.",
            "Install lpips and torchvision and bring the network's weights, or set perceptual_weight to 0.",
        ) from error


class VqganStage:
    """Trains a `VQGAN` on crops of a pack; validates on the middle `size` rows and columns.

    Raises:
        CardioDiTError: Crops or frames do not fit pack or codec, or the pack holds all its cines aside.
    """

    name = "vqgan"

    def __init__(self, config: VqganStageConfig, data: PackedCines, size: int = 128) -> None:
        self.size = size
        self.config, self.data = config, data
        self.model = VQGAN(**config.model)
        self.average = VQGAN(**config.model).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        self.modules: dict[str, nn.Module] = {"vqgan": self.model, "average": self.average}
        if config.decoder_only:
            self.model.encoder.requires_grad_(False)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": torch.optim.AdamW(trained, config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay)
        }
        self.discriminator: nn.Module | None = None
        if config.adversarial_weight > 0 and config.adversarial_start < 1:
            self.discriminator = PatchDiscriminator(
                spatial_dims=3,
                channels=config.discriminator_channels,
                in_channels=1,
                num_layers_d=config.discriminator_layers,
                kernel_size=3,
            )
            self.modules["discriminator"] = self.discriminator
            self.optimizers["discriminator"] = torch.optim.AdamW(
                self.discriminator.parameters(), config.discriminator_lr, betas=(0.5, 0.9)
            )
        self.adversarial = PatchAdversarialLoss(criterion="least_squares")
        self.reconstruction = ReconstructionLoss(
            gradient_weight=config.gradient_weight,
            motion_weight=config.motion_weight,
            motion_lags=config.motion_lags,
            motion_energy_weight=config.motion_energy_weight,
            ssim_weight=config.ssim_weight,
        )
        self.jukebox: nn.Module | None = None
        if config.jukebox_weight > 0:
            from monai.losses.spectral_loss import JukeboxLoss

            self.jukebox = JukeboxLoss(spatial_dims=3)
        self.perceptual = _perceptual_loss(config.perceptual_network) if config.perceptual_weight > 0 else None
        self.train_index = np.nonzero(~data.validation)[0]
        self.validation_index = np.nonzero(data.validation)[0]
        self._check()

    def _check(self) -> None:
        frames, width = self.data.images.shape[1], self.data.images.shape[-1]
        if not len(self.train_index):
            raise CardioDiTError("The pack keeps all its cines aside.", "Make a pack with cines to train on.")
        if self.config.crop > width:
            raise CardioDiTError(
                f"Crops of {self.config.crop} pixels do not fit in the pack's images of {width}.", "Set crop lower."
            )
        for name, side in (("crop", self.config.crop), ("size", min(self.size, width))):
            if self.model.decoded_size(side, side, frames) != (side, side, frames):
                shrinks = " x ".join(map(str, self.model.downsampling))
                raise CardioDiTError(
                    f"The codec does not give back {name} {side} with {frames} frames as large as they were: "
                    f"it shrinks them by {shrinks}.",
                    "Choose multiples of these factors.",
                )

    def _batch(self, context: StepContext) -> torch.Tensor:
        """(B, 1, crop, crop, T): one slice each, drawn around the heart, augmented once for all its frames."""
        rng, config = context.rng, self.config
        crops = []
        for _ in range(config.batch):
            index = int(rng.choice(self.train_index))
            z = int(rng.choice(np.nonzero(self.data.slice_valid[index])[0]))
            planes = self.data.images[index, :, z]
            half, size = config.crop // 2, planes.shape[-1]
            centre = np.clip(np.rint(size / 2 + rng.normal(0, config.crop_spread, 2)), half, size - half).astype(int)
            crop = planes[:, centre[0] - half : centre[0] + half, centre[1] - half : centre[1] + half]
            crop = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
            if rng.random() < 0.5:
                crop = crop[:, :, ::-1]
            crop = np.roll(crop, int(rng.integers(len(crop))), axis=0)
            share = to_model_axes(crop).add(1.0).div(2.0).clamp(0, 1) ** float(np.exp(rng.normal(0, 0.2)))
            crops.append(share * 2 - 1)
        return torch.stack(crops).to(context.device).contiguous(memory_format=torch.channels_last_3d)

    def _forward(self, real: torch.Tensor, context: StepContext) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not self.config.decoder_only:
            return self.model(real)
        with torch.no_grad():
            codes = self.model.encode(real).float()
            if self.config.latent_noise > 0:
                scale = codes.std(dim=(0, 2, 3, 4), keepdim=True) * self.config.latent_noise
                strength = torch.rand(len(codes), 1, 1, 1, 1, generator=context.generator).to(codes.device)
                noise = torch.randn(codes.shape, generator=context.generator).to(codes.device)
                codes = codes + scale * strength * noise
            # As in generation, what comes to the decoder is always a code.
            codes = self.model.nearest_codes(codes)
        return self.model.decode(codes), torch.zeros((), device=real.device), torch.zeros(1, dtype=torch.long)

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        config = self.config
        self.model.train()
        real = self._batch(context)
        with context.autocast():
            made, commitment, indices = self._forward(real, context)
        made = made.float()
        loss, numbers = self.reconstruction(made, real)
        loss = loss + commitment
        numbers["commitment"] = commitment.detach()
        if not config.decoder_only:
            numbers["codes"] = torch.tensor(float(len(indices.unique())))
        if self.jukebox is not None:
            loss = loss + config.jukebox_weight * self.jukebox(made, real)
        if self.perceptual is not None:
            loss = loss + config.perceptual_weight * self.perceptual.to(context.device)(made, real)
        critic = self.discriminator if context.progress >= config.adversarial_start else None
        if critic is not None:
            critic.requires_grad_(False)
            with context.autocast():
                seen, wanted = critic(made), critic(real)
            fool = self.adversarial(seen[-1].float(), target_is_real=True, for_discriminator=False)
            features = torch.stack(
                [F.l1_loss(a.float(), b.float().detach()) for a, b in zip(seen[:-1], wanted[:-1])]
            ).mean()
            loss = loss + config.adversarial_weight * fool + config.feature_weight * features
            numbers |= {"fool": fool.detach(), "features": features.detach()}
        generator = self.optimizers["generator"]
        generator.zero_grad(set_to_none=True)
        loss.backward()
        held = [p for p in self.model.parameters() if p.requires_grad]
        average_gradients(held)
        nn.utils.clip_grad_norm_(held, config.clip)
        generator.step()
        if critic is not None:
            numbers["critic"] = self._critic_step(critic, made.detach(), real, context)
        # The codebook, an average itself, is taken as it is.
        follow(self.average, self.model, context.step, config.average_decay, ("quantizer",))
        return {"loss": loss.detach(), **numbers}

    def _critic_step(
        self, critic: nn.Module, made: torch.Tensor, real: torch.Tensor, context: StepContext
    ) -> torch.Tensor:
        critic.requires_grad_(True)
        with context.autocast():
            on_made, on_real = critic(made)[-1], critic(real)[-1]
        loss = 0.5 * (
            self.adversarial(on_made.float(), target_is_real=False, for_discriminator=True)
            + self.adversarial(on_real.float(), target_is_real=True, for_discriminator=True)
        )
        optimizer = self.optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(critic.parameters())
        optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def validate(self, context: StepContext) -> dict[str, float]:
        """PSNR (dB, range 2), SSIM (2D, mean over slices and frames) and the share of motion that survives, on cines
        held out.
        """

        self.average.eval()
        size = min(self.size, self.data.images.shape[-1])
        edge = (self.data.images.shape[-1] - size) // 2
        rows = []
        for index in self.validation_index:
            frames = self.data.images[index][..., edge : edge + size, edge : edge + size]
            real = torch.stack([to_model_axes(frames[:, z]) for z in np.nonzero(self.data.slice_valid[index])[0]])
            with context.autocast():
                made = self.average(real.to(context.device).contiguous(memory_format=torch.channels_last_3d))[0]
            rows.append(codec_scores(made.float().cpu().clamp(-1, 1), real))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
