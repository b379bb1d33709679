"""How exact are the samplers at so many steps, and which spacing of the steps suits which sampler?

Run: ``python Testing/benchmarks/solver_accuracy.py``. Takes about a minute; needs no model.

The denoiser is exact, so all error is the sampler's. Three measures for every sampler, spacing and number of steps:

1. normal data of sd 0.5: sd of the samples (0.5 is right);
2. normal data of sd 0.05, 0.1, 0.2, 0.5, 1 and 2, as the directions of a latent space: the worst error of the sd, in
   percent;
3. a mixture of five normals in 64 dimensions: median relative distance to the exact end point from the same noise
   (not for ``ddpm``, which draws fresh noise).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch

from CardioDiTLib.diffusion import (
    DEFAULT_SPACING,
    SAMPLERS,
    SPACINGS,
    NoiseLevels,
    NoiseSchedule,
    ddpm,
    dpmpp_2m,
    draw_noise,
    noise_levels,
    sample_generators,
)

SCHEDULE = NoiseSchedule("cosine", 300)
STEPS = (5, 10, 15, 20, 25, 30, 37, 50, 77, 100, 150, 200, 299, 300)


def gaussian(sd: float) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """The exact denoiser of normal data with mean 0 and this sd."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = (float(c) for c in SCHEDULE.alpha_sigma(t))
        return alpha * sd**2 / (alpha**2 * sd**2 + sigma**2) * x

    return denoise


def mixture(means: torch.Tensor, sd: float) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """The exact denoiser of an even mixture of normals with this sd around means (modes, D)."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = (float(c) for c in SCHEDULE.alpha_sigma(t))
        variance = alpha**2 * sd**2 + sigma**2
        weight = torch.softmax(-(torch.cdist(x, alpha * means) ** 2) / (2 * variance), 1)
        centre = weight @ means
        return centre + alpha * sd**2 / variance * (x - alpha * centre)

    return denoise


def sample_sd(sampler: str, levels: NoiseLevels, sd: float, draws: int) -> float:
    """sd of the samples; without fresh noise they are a multiple of the noise, and one number tells it."""
    if sampler != "ddpm":
        return float(SAMPLERS[sampler](gaussian(sd), torch.ones(1, 1, dtype=torch.float64), levels))
    generators = sample_generators(0, 1)
    return float(ddpm(gaussian(sd), draw_noise(generators, (draws,)), levels, generators=generators).std())


def print_table(title: str, value: Callable[[str, str, int], str], samplers: list[str]) -> None:
    """One row a number of steps, one column a sampler and spacing; the sampler's default spacing is starred."""
    columns = [(sampler, spacing) for sampler in samplers for spacing in SPACINGS]
    print(f"\n{title}\n")
    starred = [f"{a} {b}{'*' if DEFAULT_SPACING[a] == b else ''}" for a, b in columns]
    print("| steps | " + " | ".join(starred) + " |")
    print("| ---: " * (len(columns) + 1) + "|")
    for steps in STEPS:
        print(f"| {steps} | " + " | ".join(value(*column, steps) for column in columns) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of the samplers with exact denoisers.")
    parser.add_argument(
        "--draws", type=int, default=200_000, help="samples of ddpm (the error of its sd falls with them)"
    )
    draws = parser.parse_args().draws

    def spread(sampler: str, spacing: str, steps: int) -> str:
        return f"{sample_sd(sampler, noise_levels(SCHEDULE, steps, spacing), 0.5, draws):.4f}"

    def worst(sampler: str, spacing: str, steps: int) -> str:
        levels = noise_levels(SCHEDULE, steps, spacing)
        ratios = [sample_sd(sampler, levels, sd, draws // 20) / sd for sd in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)]
        return f"{100 * max(math.exp(abs(math.log(ratio))) - 1 for ratio in ratios):.1f}"

    generator = torch.Generator().manual_seed(0)
    means = 0.7 * torch.randn(5, 64, generator=generator, dtype=torch.float64)
    noise = torch.randn(400, 64, generator=generator, dtype=torch.float64)
    fine = SCHEDULE.t_of_log_snr(np.linspace(*SCHEDULE.log_snr_ends, 3000)).numpy()
    exact = dpmpp_2m(mixture(means, 0.25), noise, NoiseLevels.at(SCHEDULE, fine))

    def end_point(sampler: str, spacing: str, steps: int) -> str:
        out = SAMPLERS[sampler](mixture(means, 0.25), noise, noise_levels(SCHEDULE, steps, spacing))
        return f"{float(((out - exact).norm(dim=1) / exact.norm(dim=1)).median()):.4f}"

    every = list(SAMPLERS)
    print_table("sd of the samples, normal data of sd 0.5 (* = default spacing)", spread, every)
    print_table("worst error of the sd in percent, normal data of sd 0.05 ... 2", worst, every)
    print_table("median relative error of the end point, mixture in 64 dimensions", end_point, ["ddim", "dpmpp_2m"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
