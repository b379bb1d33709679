"""A denoiser whose clean samples agree with what is known."""

from __future__ import annotations

from torch import Tensor

from CardioDiTLib.completion.known_latents import KnownLatents
from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.diffusion.samplers import Denoise


class AgreeingDenoiser:
    """Wraps ``denoise(x, t) -> x0``, so that any sampler leads to a sample that agrees with the known latents.

    Args:
        denoise: The denoiser.
        known: What is known.
        schedule: The noise schedule of the denoiser.
    """

    def __init__(self, denoise: Denoise, known: KnownLatents, schedule: AnySchedule) -> None:
        self._denoise, self._known, self._schedule = denoise, known, schedule

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """The clean samples in noisy ones, moved to agree with what is known."""
        alpha, sigma = (float(share) for share in self._schedule.alpha_sigma(t))
        return self._known.agree(self._denoise(x, t), alpha, sigma)
