"""How well a codec keeps a cine: PSNR, SSIM and motion."""

from __future__ import annotations

import torch
from monai.metrics.regression import SSIMMetric


def heart_box(frames: torch.Tensor, share: float = 0.5) -> torch.Tensor:
    """Middle part of the picture, where a heart-centred cine has its heart: (..., H, W, T) cut in H and W."""
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
