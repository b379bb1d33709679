"""Noise levels that begin part of the way, by the strength with which a sampler changes what it starts from."""

from __future__ import annotations

import numpy as np

from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.diffusion.spacing import NOISY_ENOUGH, noise_levels
from CardioDiTLib.errors import CardioDiTError


def levels_from(schedule: AnySchedule, steps: int, spacing: str, strength: float) -> NoiseLevels:
    """The part of a sampler's noise levels that begins at a strength.

    Strength counts evenly in log-SNR from the model's cleanest level (0) to its noisiest (1; not below -8, where the
    image makes up less than 0.04 % of the variance). The levels from there on keep the spacing of the whole, so that
    they are a share of its steps.

    Args:
        schedule: The noise schedule.
        steps: Steps of the whole way.
        spacing: Their spacing.
        strength: 0 to 1.

    Raises:
        CardioDiTError: The strength is not from 0 to 1.

    Examples:
        >>> schedule = NoiseSchedule("cosine", 300, continuous=True, log_snr_range=(-12.0, 8.0))
        >>> round(float(schedule.log_snr(levels_from(schedule, 30, "wide_angle", 0.5).t[0])), 3)
        0.0
    """
    check_strength(strength)
    whole = noise_levels(schedule, steps, spacing)
    if strength == 1:
        return whole
    noisiest, cleanest = schedule.log_snr_ends
    noisiest = max(noisiest, min(NOISY_ENOUGH, cleanest - 1.0))
    first = float(schedule.t_of_log_snr(np.array(cleanest + strength * (noisiest - cleanest))))
    if not schedule.continuous:
        first = float(round(first))
    times = whole.t[:-1]
    return NoiseLevels.at(schedule, np.concatenate([[first], times[times < first - 1e-6]]))


def check_strength(strength: float) -> None:
    """See that a strength is one.

    Raises:
        CardioDiTError: It is not from 0 to 1.
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
        raise CardioDiTError(
            f"The strength is {strength!r}.", "Give a number from 0 (as it is) to 1 (nothing of it is kept)."
        )
