"""How exactly samplers reproduce normal data under flow matching, and under a schedule that ends in noise alone.

Run: ``python Testing/benchmarks/flow_accuracy.py --steps 30``

The denoiser is exact: the standard deviation of the samples over that of the data, which is told, is the solver's own.

The last line is the most that Euler steps can reach, at whatever times they are taken. For normal data with sd s such a
step turns by the change of ``psi = atan(sigma / (alpha s))`` and shrinks the sample by the cosine of that change; from
noise alone to no noise psi falls from 90 degrees to 0, and the product of n cosines of angles with that sum is largest
where they are alike.
"""

from __future__ import annotations

import argparse
import math

import torch

from CardioDiTLib.diffusion import (
    DEFAULT_SPACING,
    SAMPLERS,
    AnySchedule,
    FlowSchedule,
    NoiseSchedule,
    noise_levels,
)

SCHEDULES: dict[str, AnySchedule] = {
    "flow matching": FlowSchedule(1000),
    "cosine 1000, ending in noise alone": NoiseSchedule("cosine", 1000, zero_terminal_snr=True),
}
WAYS = (("euler", "linear"), ("euler", DEFAULT_SPACING["euler"]), ("dpmpp_2m", DEFAULT_SPACING["dpmpp_2m"]))
SPREADS = (0.05, 0.2, 0.5, 1.0, 2.0)


def sd_ratio(schedule: AnySchedule, sampler: str, spacing: str, steps: int, sd: float) -> float:
    """Spread of the samples over that of normal data with this sd; samples are a multiple of the noise."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = (float(share) for share in schedule.alpha_sigma(t))
        return alpha * sd**2 / (alpha**2 * sd**2 + sigma**2) * x

    noise = torch.ones(1, 1, dtype=torch.float64)
    return float(SAMPLERS[sampler](denoise, noise, noise_levels(schedule, steps, spacing))) / sd


def best_of_first_order(steps: int) -> float:
    """The largest ratio that so many Euler (DDIM) steps reach for normal data of any sd, at whatever times."""
    return math.cos(math.pi / (2 * steps)) ** steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    print(
        "| | " + " | ".join(f"{sampler}, {spacing}" for sampler, spacing in WAYS) + " |\n| --- |" + " --- |" * len(WAYS)
    )
    for name, schedule in SCHEDULES.items():
        cells = []
        for sampler, spacing in WAYS:
            ratios = [sd_ratio(schedule, sampler, spacing, steps, sd) for sd in SPREADS]
            cells.append(f"{ratios[SPREADS.index(0.5)]:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    enough = next(count for count in range(1, 1000) if best_of_first_order(count) >= 0.98)
    print(
        f"\nThe most that {steps} Euler steps can reach, at whatever times: {best_of_first_order(steps):.4f}; "
        f"within 2 % from {enough} steps."
    )


if __name__ == "__main__":
    main()
