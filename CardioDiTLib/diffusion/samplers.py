"""Samplers: from noise to a sample, each a short function of (denoiser, noise, noise levels).

``denoise(x, t)`` gives the clean sample predicted from ``x`` at time t. Levels come from
:mod:`CardioDiTLib.diffusion.spacing`; any falling levels will do, since every step takes alpha and sigma from the
levels at its two ends. The last step goes to sigma 0 and returns the clean sample exactly. Tensors may have any rank.
The denoiser is given the dtype of the noise; between the steps the sample is kept in float64. A callback may raise
(:class:`~CardioDiTLib.errors.Cancelled`) to stop: nothing is caught here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.diffusion.noise import draw_noise
from CardioDiTLib.errors import CardioDiTError


@dataclass(frozen=True)
class StepInfo:
    """What a callback is told after each step.

    Args:
        step: Steps done, 1 ... ``of``.
        of: Steps in all.
        t: Time at which the step began.
        x0: (B, C, ...) the clean samples predicted in this step, for previews; not to be changed.
    """

    step: int
    of: int
    t: float
    x0: Tensor


Denoise = Callable[[Tensor, float], Tensor]
Callback = Callable[[StepInfo], None]


@torch.no_grad()
def ddim(
    denoise: Denoise,
    noise: Tensor,
    levels: NoiseLevels,
    *,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, arXiv:2010.02502, eq. 12 and 16).

    Args:
        denoise: ``denoise(x, t) -> x0``.
        noise: (B, C, ...) standard normal noise.
        levels: The noise levels.
        eta: 0 for no fresh noise, 1 for as much as in DDPM.
        generators: One a sample (:func:`~CardioDiTLib.diffusion.noise.sample_generators`); needed where eta is not 0.
        callback: Called after each step.

    Returns:
        (B, C, ...) samples.

    Raises:
        CardioDiTError: If eta is outside [0, 1], or fresh noise is needed and the generators do not fit the samples.
    """
    if not 0 <= eta <= 1:
        raise CardioDiTError(f"eta is {eta:g}.", "Give a value between 0 (no fresh noise) and 1 (DDPM).")
    if eta > 0 and (generators is None or len(generators) != len(noise)):
        raise CardioDiTError(
            "Fresh noise needs one random generator a sample.", "Make them with sample_generators(seed, count)."
        )
    x = _finest(noise)
    for i, (alpha, sigma, alpha_next, sigma_next) in enumerate(_steps(levels)):
        x0 = denoise(x.to(noise.dtype), float(levels.t[i]))
        fresh = eta * sigma_next / sigma * _between(alpha, sigma, alpha_next, sigma_next)
        # alpha_next * x0 + sqrt(sigma_next^2 - fresh^2) * (x - alpha * x0) / sigma, with as few roundings as can be
        keep = math.sqrt(sigma_next**2 - fresh**2) / sigma
        x = keep * x + (alpha_next - keep * alpha) * x0
        if generators is not None and fresh > 0:
            x = x + fresh * draw_noise(generators, x.shape[1:], x.device, x.dtype)
        _report(callback, levels, i, x0)
    return x.to(noise.dtype)


def ddpm(
    denoise: Denoise,
    noise: Tensor,
    levels: NoiseLevels,
    *,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7) between the levels really visited.

    The posterior's mean and variance are those of :func:`ddim` with eta 1, which is what runs. Arguments, result and
    errors are those of :func:`ddim`; ``generators`` are always needed.
    """
    return ddim(denoise, noise, levels, eta=1.0, generators=generators, callback=callback)


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoise,
    noise: Tensor,
    levels: NoiseLevels,
    *,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2): second order with one network call a step.

    The first step has no predecessor, and the last goes to sigma 0: both are of first order, as is the one that follows
    noise alone (alpha 0). Arguments and result are those of :func:`ddim`; ``generators`` are not used, as there is no
    fresh noise.
    """
    x, x0_before, h_before = _finest(noise), None, 0.0
    for i, (alpha, sigma, alpha_next, sigma_next) in enumerate(_steps(levels)):
        x0 = denoise(x.to(noise.dtype), float(levels.t[i]))
        # From noise alone (alpha 0) and to no noise (sigma 0) the step in log-SNR is infinite: first order, x0 alone.
        endless = sigma_next == 0 or alpha == 0
        h = math.inf if endless else math.log(alpha_next / sigma_next) - math.log(alpha / sigma)
        if x0_before is None or math.isinf(h):
            ahead = x0
        else:
            ahead = x0 + h / (2 * h_before) * (x0 - x0_before)
        x = sigma_next / sigma * x - alpha_next * math.expm1(-h) * ahead
        x0_before, h_before = x0, h
        _report(callback, levels, i, x0)
    return x.to(noise.dtype)


def euler(
    denoise: Denoise,
    noise: Tensor,
    levels: NoiseLevels,
    *,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Euler steps along the flow, the published sampling of flow matching (Liu et al. 2022, arXiv:2209.03003).

    ``x - (t - t_next) * v`` with ``v = (x - x0) / t`` is what :func:`ddim` with eta 0 gives at alpha 1 - t and sigma t,
    and that is what runs. Arguments and result are those of :func:`ddim`; ``generators`` are not used.
    """
    return ddim(denoise, noise, levels, callback=callback)


SAMPLERS: dict[str, Callable[..., Tensor]] = {"ddpm": ddpm, "ddim": ddim, "dpmpp_2m": dpmpp_2m, "euler": euler}
"""Samplers by name; all take (denoise, noise, levels, *, generators, callback)."""


def _finest(noise: Tensor) -> Tensor:
    """The running sample: float64 where the device has it, so that hundreds of steps add up no rounding errors."""
    return noise if noise.device.type == "mps" else noise.double()


def _steps(levels: NoiseLevels) -> list[tuple[float, float, float, float]]:
    """(alpha, sigma, next alpha, next sigma) of each step, as plain floats that leave a tensor's dtype alone."""
    alpha, sigma = levels.alpha.tolist(), levels.sigma.tolist()
    return list(zip(alpha[:-1], sigma[:-1], alpha[1:], sigma[1:]))


def _between(alpha: float, sigma: float, alpha_next: float, sigma_next: float) -> float:
    """sd of the noise that came in between two levels, the later as a share of the earlier."""
    if abs(alpha_next**2 + sigma_next**2 - 1) < 1e-9:  # variance-preserving
        return math.sqrt(1 - (alpha / alpha_next) ** 2)
    return math.sqrt(sigma**2 - (alpha / alpha_next * sigma_next) ** 2)


def _report(callback: Callback | None, levels: NoiseLevels, i: int, x0: Tensor) -> None:
    if callback is not None:
        callback(StepInfo(i + 1, len(levels), float(levels.t[i]), x0))
