"""What an image has to agree in with the real one: pixels, edges, motion, local contrast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses.ssim_loss import SSIMLoss


def _energy_gap(made: torch.Tensor, real: torch.Tensor, lag: int, size: int = 8) -> torch.Tensor:
    """How far the local amount of change between frames `lag` apart is from the real one."""
    amounts = [
        F.avg_pool3d((x.roll(lag, -1) - x).abs(), (size, size, 1), stride=(size // 2, size // 2, 1))
        for x in (made, real)
    ]
    return (amounts[0] - amounts[1]).abs().mean()


class ReconstructionLoss:
    """L1 of pixels, in-plane gradients and differences in time, local energy of motion, SSIM of planes.

    Args:
        gradient_weight, motion_weight, motion_lags, motion_energy_weight, ssim_weight: See `VqganStageConfig`.
    """

    def __init__(
        self,
        *,
        gradient_weight: float = 0.5,
        motion_weight: float = 1.0,
        motion_lags: Sequence[int] = (1, 4, 7),
        motion_energy_weight: float = 0.0,
        ssim_weight: float = 0.0,
    ) -> None:
        self.gradient_weight, self.motion_weight = gradient_weight, motion_weight
        self.motion_lags, self.motion_energy_weight = tuple(motion_lags), motion_energy_weight
        self.ssim_weight = ssim_weight
        self.ssim = SSIMLoss(spatial_dims=2, data_range=2.0) if ssim_weight > 0 else None

    def __call__(self, made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss and its parts; both images (B, 1, H, W, T) in [-1, 1]."""
        error = made - real
        l1 = error.abs().mean()
        gradient = (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2
        motion = torch.stack([(error.roll(lag, -1) - error).abs().mean() for lag in self.motion_lags]).mean()
        total = l1 + 2 * self.gradient_weight * gradient + self.motion_weight * motion
        if self.motion_energy_weight > 0:
            energy = torch.stack([_energy_gap(made, real, lag) for lag in self.motion_lags]).mean()
            total = total + self.motion_energy_weight * energy
        if self.ssim is not None:
            # Every second frame: neighbours say the same.
            planes = [x[..., ::2].permute(0, 4, 1, 2, 3).flatten(0, 1) for x in (made, real)]
            total = total + self.ssim_weight * self.ssim(planes[0], planes[1])
        return total, {"l1": l1.detach(), "gradient": gradient.detach(), "motion": motion.detach()}
