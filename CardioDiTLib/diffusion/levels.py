"""The noise levels through which a sampler goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.errors import CardioDiTError


@dataclass(frozen=True)
class NoiseLevels:
    """Where each step of a sampler begins and ends: step i goes from level i to level i + 1.

    Args:
        t: (steps + 1,) float64 times, strictly falling; the last is the clean end (-1; 0 for flow matching).
        alpha: (steps + 1,) float64 share of image; the last is 1.
        sigma: (steps + 1,) float64 share of noise, strictly falling; the last is 0.

    Raises:
        CardioDiTError: If the levels do not fall or do not end clean.
    """

    t: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray

    def __post_init__(self) -> None:
        if len(self.t) < 2:
            raise CardioDiTError("There is no step between the noise levels.", "Give at least one time.")
        if not len(self.t) == len(self.alpha) == len(self.sigma):
            raise CardioDiTError(
                "Times, alpha and sigma of the noise levels differ in length.", "Give one of each a level."
            )
        if not (np.all(np.diff(self.t) < 0) and np.all(np.diff(self.sigma) < 0)):
            raise CardioDiTError(
                "The noise levels do not fall from step to step.", "Sort the times downwards, each once."
            )
        if self.sigma[-1] != 0:
            raise CardioDiTError("The noise levels do not end without noise.", "Let the last time be the clean end.")

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.t) - 1

    @classmethod
    def at(cls, schedule: AnySchedule, t: Sequence[float] | np.ndarray) -> NoiseLevels:
        """The levels of a schedule at falling times, the clean end added.

        Args:
            schedule: The noise schedule.
            t: (steps,) times at which the network may be asked, strictly falling.

        Raises:
            CardioDiTError: If the times do not fall or lie outside the schedule.
        """
        times = np.append(np.asarray(t, dtype=np.float64), schedule.clean_time)
        alpha, sigma = schedule.alpha_sigma(times)
        return cls(times, alpha.numpy(), sigma.numpy())

    def beyond(self, log_snr: float) -> NoiseLevels:
        """The levels from the first one that is at least so clean, or the last step alone.

        Args:
            log_snr: Logarithm of the ratio of the variances of image and noise.
        """
        clean = self.alpha[:-1] ** 2 >= math.exp(log_snr) * self.sigma[:-1] ** 2
        first = int(np.argmax(clean)) if clean.any() else len(self) - 1
        return NoiseLevels(self.t[first:], self.alpha[first:], self.sigma[first:])
