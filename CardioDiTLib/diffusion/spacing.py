"""Spacings: which times a sampler visits when it has only so many steps.

==============  ===========================================================================  ==========================
name            steps are even in                                                            meant for
==============  ===========================================================================  ==========================
``linear``      time ("trailing": the last step is as long as the others)                    comparison
``log_snr``     log-SNR                                                                      comparison
``angle``       the angle psi with ``tan(psi) = (sigma / (alpha * DATA_SD)) ** (1 / 1.5)``   ``ddpm, ddim, euler``
``wide_angle``  the same with ``1 / 3`` in place of ``1 / 1.5``                              ``dpmpp_2m``
==============  ===========================================================================  ==========================

For flow matching ``linear`` is the published grid.

Why an angle: for data that are normal with sd s, a DDIM step is a turn by the change of ``atan(sigma / (alpha * s))``
and shrinks the sample by the cosine of that change, so for that s even angles are the best there is. Real latents hold
many s at once; the root widens the spacing on both sides, towards even log-SNR, which is its limit. First-order
samplers do best with a narrow one, the second-order one with a wide one (Testing/benchmarks/solver_accuracy.py).

All spacings begin at the model's noisiest level and end with the clean one. With as many steps as a discrete schedule
has times, all give every time, from N-1 to 0: the published sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.errors import CardioDiTError

DATA_SD = 0.4
"""Standard deviation that the angles are made for: normalised latents have 1 overall, but less in most directions."""

NOISY_ENOUGH = -8.0
"""Lowest log-SNR of steps after the first (not in `linear`): below, the image has less than 0.04 % of the variance."""

Spacing = Callable[[AnySchedule, int], np.ndarray]


def linear(schedule: AnySchedule, steps: int) -> np.ndarray:
    """Times evenly from the noisiest down, (steps,) float64; the clean end would be the next of them."""
    first, last = schedule.t_of_log_snr(np.array(schedule.log_snr_ends)).tolist()
    clean = schedule.clean_time
    return np.linspace(first, max((first - clean) / steps + clean, last), steps)


def log_snr(schedule: AnySchedule, steps: int) -> np.ndarray:
    """Times even in log-SNR between the model's ends, (steps,) float64."""
    noisiest, cleanest = _ends(schedule)
    return _times(schedule, np.linspace(noisiest, cleanest, steps))


def angle(schedule: AnySchedule, steps: int, width: float = 1.5) -> np.ndarray:
    """Times even in the angle ``psi = atan((sigma / (alpha * DATA_SD)) ** (1 / width))``, (steps,) float64.

    Args:
        schedule: The noise schedule.
        steps: Number of steps, at least 1.
        width: 1 is the best for normal data of one sd; the larger, the nearer to even log-SNR.
    """
    noisiest, cleanest = _ends(schedule)
    centre = -2.0 * math.log(DATA_SD)
    first, last = (math.atan(math.exp((centre - end) / (2.0 * width))) for end in (noisiest, cleanest))
    # psi is 0 at the clean end: the last step is as long as the others unless the model ends earlier
    psi = np.linspace(first, max(first / steps, last), steps)
    return _times(schedule, centre - 2.0 * width * np.log(np.tan(psi)))


def wide_angle(schedule: AnySchedule, steps: int) -> np.ndarray:
    """:func:`angle` with width 3, (steps,) float64."""
    return angle(schedule, steps, width=3.0)


SPACINGS: dict[str, Spacing] = {"linear": linear, "log_snr": log_snr, "angle": angle, "wide_angle": wide_angle}


def noise_levels(schedule: AnySchedule, steps: int, spacing: str = "angle") -> NoiseLevels:
    """The noise levels for a number of steps.

    Args:
        schedule: The noise schedule. Unless it is continuous, the times are whole numbers, each used once.
        steps: How often the network is asked: 1 ... N, and any number for a continuous schedule.
        spacing: A name from :data:`SPACINGS`; `sampler_names.DEFAULT_SPACING` says which one suits a sampler.

    Returns:
        ``steps + 1`` falling levels, from the model's noisiest to the clean one.

    Raises:
        CardioDiTError: If the number of steps or the name cannot be.

    Examples:
        >>> noise_levels(NoiseSchedule("cosine", 300), 4, "linear").t
        array([299., 224., 149.,  74.,  -1.])
    """
    if spacing not in SPACINGS:
        raise CardioDiTError(f"The step spacing {spacing!r} is not known.", f"Choose one of {', '.join(SPACINGS)}.")
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise CardioDiTError(f"{steps} steps are not possible.", "Give a whole number of at least 1.")
    steps = int(steps)
    if schedule.continuous:
        return NoiseLevels.at(schedule, SPACINGS[spacing](schedule, steps))
    first, last = _whole_ends(schedule)
    if steps > first - last + 1:
        raise CardioDiTError(
            f"{steps} steps are more than the model's {first - last + 1} noise levels.", "Ask for fewer steps."
        )
    return NoiseLevels.at(schedule, _whole_times(SPACINGS[spacing](schedule, steps), first, last))


def _ends(schedule: AnySchedule) -> tuple[float, float]:
    noisiest, cleanest = schedule.log_snr_ends
    return max(noisiest, min(NOISY_ENOUGH, cleanest - 1.0)), cleanest


def _times(schedule: AnySchedule, values: np.ndarray) -> np.ndarray:
    noisiest, cleanest = schedule.log_snr_ends
    values[0] = noisiest  # a sampler starts from pure noise, so the network is given that time
    # the way there and back through logarithms may overshoot the ends by a rounding error
    return schedule.t_of_log_snr(np.clip(values, noisiest, cleanest)).numpy()


def _whole_ends(schedule: AnySchedule) -> tuple[int, int]:
    first, last = schedule.t_of_log_snr(np.array(schedule.log_snr_ends)).tolist()
    # a range that begins between two times keeps to the times inside it
    return math.floor(first + 1e-9), math.ceil(last - 1e-9)


def _whole_times(times: np.ndarray, first: int, last: int) -> np.ndarray:
    """Round falling times to whole ones within [last, first], none of them twice."""
    steps = len(times)
    below = first - np.arange(steps)  # the i-th can be at most this, as those before it are larger
    above = last + np.arange(steps)[::-1]
    rank = np.arange(steps)
    # falling strictly is the same as not rising after adding the rank
    whole = np.minimum.accumulate(np.minimum(np.rint(times), below) + rank) - rank
    return np.maximum.accumulate((np.maximum(whole, above) + rank)[::-1])[::-1] - rank
