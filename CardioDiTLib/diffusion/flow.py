"""Flow matching: samples move along straight lines from noise to image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from CardioDiTLib.diffusion.mixing import as_array, mixable_times
from CardioDiTLib.errors import CardioDiTError

FLOW_MATCHING = "flow_matching"

SAMPLE_METHODS = ("logit_normal", "uniform")

Time = float | int | Tensor | np.ndarray


@dataclass(frozen=True)
class FlowSchedule:
    """Rectified flow: ``x_t = (1 - s) * x0 + s * noise`` with ``s = t / N``; the network predicts ``noise - x0``.

    It has the methods of :class:`~CardioDiTLib.diffusion.schedule.NoiseSchedule`, so samplers, spacings and guidance
    work with it unchanged. Times t are what the network is given, 0 (clean) to N (noise alone), whole or not.

    Sources: Liu et al. 2022 (arXiv:2209.03003), Lipman et al. 2022 (arXiv:2210.02747); times of training after Esser et
    al. 2024 (arXiv:2403.03206), section 3.1.

    Args:
        num_train_timesteps: N, the factor between s and what the network is given; no number of steps.
        sample_method: how training draws s: ``logit_normal`` (a normal draw through the logistic function) or
            ``uniform``.
        logit_mean: mean of that normal distribution.
        logit_std: its standard deviation.

    Raises:
        CardioDiTError: If a value is out of range or a name is not known.

    Examples:
        >>> flow = FlowSchedule()
        >>> latents, noise = torch.zeros(1, 8, 6, 16, 16, 8), torch.ones(1, 8, 6, 16, 16, 8)
        >>> flow.add_noise(latents, noise, torch.tensor([250.0])).unique().item()
        0.25
    """

    num_train_timesteps: int = 1000
    sample_method: str = "logit_normal"
    logit_mean: float = 0.0
    logit_std: float = 1.0

    def __post_init__(self) -> None:
        steps = self.num_train_timesteps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
            raise CardioDiTError(f"num_train_timesteps is {steps!r}.", "Give a whole number from 2 on.")
        if self.sample_method not in SAMPLE_METHODS:
            raise CardioDiTError(
                f"The sample_method {self.sample_method!r} is not known.", f"Choose one of {', '.join(SAMPLE_METHODS)}."
            )
        for name in ("logit_mean", "logit_std"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or (name == "logit_std" and value <= 0):
                raise CardioDiTError(f"{name} of the flow is {value!r}.", "Give a number, the deviation above 0.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FlowSchedule:
        """Make a flow from plain values; ``name`` or ``schedule`` is "flow_matching".

        Raises:
            CardioDiTError: If a key is not known, so that no setting is dropped silently.
        """
        values = {key: value for key, value in config.items() if key not in ("name", "schedule")}
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise CardioDiTError(
                f"Flow matching has no setting called {', '.join(map(repr, unknown))}.",
                f"Known are {', '.join(known)}.",
            )
        return cls(**values)

    def to_config(self) -> dict[str, Any]:
        """The plain values from which the same flow can be made; they can be written as JSON."""
        return {"name": FLOW_MATCHING, **{item.name: getattr(self, item.name) for item in fields(self)}}

    @property
    def prediction_type(self) -> str:
        """What the network predicts: noise minus image."""
        return FLOW_MATCHING

    @property
    def continuous(self) -> bool:
        """Times lie anywhere."""
        return True

    @property
    def clean_time(self) -> float:
        """The time without noise."""
        return 0.0

    @property
    def log_snr_ends(self) -> tuple[float, float]:
        """The (noisiest, cleanest) log-SNR at which the network may be asked: noise alone, and s = 1 / N."""
        return -math.inf, 2.0 * math.log(self.num_train_timesteps - 1.0)

    def alpha_sigma(self, t: Time) -> tuple[Tensor, Tensor]:
        """Share of image and of noise at times in [0, N]: float64 on the CPU, of the shape of ``t``.

        Raises:
            CardioDiTError: If a time lies outside [0, N].
        """
        sigma = torch.from_numpy(self._times(t)) / self.num_train_timesteps
        return 1.0 - sigma, sigma

    def log_snr(self, t: Time) -> Tensor:
        """``log(alpha^2 / sigma^2)``: float64 on the CPU; infinite at both ends.

        Raises:
            CardioDiTError: If a time lies outside [0, N].
        """
        alpha, sigma = self.alpha_sigma(t)
        return 2.0 * (alpha.log() - sigma.log())

    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        """The time at which the log-SNR has this value, float64 on the CPU: the inverse of :meth:`log_snr`."""
        return torch.sigmoid(-0.5 * torch.from_numpy(as_array(log_snr))) * self.num_train_timesteps

    def drawn_times(self, places: Tensor) -> Tensor:
        """Times of training for uniform draws in (0, 1), float64 of the same shape."""
        if self.sample_method == "uniform":
            return places.double() * self.num_train_timesteps
        normal = torch.special.ndtri(places.double())
        return torch.sigmoid(normal * self.logit_std + self.logit_mean) * self.num_train_timesteps

    def add_noise(self, x0: Tensor, noise: Tensor, t: Time) -> Tensor:
        """``(1 - s) * x0 + s * noise``, times in [0, N]; arguments, result and errors as `NoiseSchedule.add_noise`."""
        work, share = self._share(x0, noise, t)
        return ((1.0 - share) * x0.to(work) + share * noise.to(work)).to(x0.dtype)

    def velocity(self, x0: Tensor, noise: Tensor, t: Time) -> Tensor:
        """``noise - x0``, the target of training, the same at all times; arguments as in :meth:`add_noise`."""
        self._share(x0, noise, t)
        return noise - x0

    def x0_from_velocity(self, x: Tensor, v: Tensor, t: Time) -> Tensor:
        """``x0 = x - s * v`` from noisy ``x`` and velocity ``v``; arguments as in :meth:`add_noise`."""
        work, share = self._share(x, v, t)
        return (x.to(work) - share * v.to(work)).to(x.dtype)

    def x0_from_prediction(self, x: Tensor, prediction: Tensor, t: float) -> Tensor:
        """The clean samples that a prediction about noisy ``x`` (B, ...) means, at one time."""
        return x - float(self.alpha_sigma(t)[1]) * prediction

    def _times(self, t: Time) -> np.ndarray:
        times = as_array(t)
        # "not (inside)" rather than "outside", so that NaN is refused too
        if not np.all((times >= 0.0) & (times <= self.num_train_timesteps)):
            raise CardioDiTError(
                f"A time of the flow lies outside [0, {self.num_train_timesteps}].", "Times count from 0 (no noise)."
            )
        return times

    def _share(self, first: Tensor, second: Tensor, t: Time) -> tuple[torch.dtype, Tensor]:
        """Type to compute in, and share of noise, broadcast against the samples."""
        times = mixable_times(first, second, t)
        work = torch.promote_types(first.dtype, torch.float32)
        share = self.alpha_sigma(times)[1].to(work).to(first.device)
        return work, share.reshape(-1, *[1] * (first.ndim - 1)) if share.ndim else share
