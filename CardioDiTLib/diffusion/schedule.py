"""The noise schedule: how much image and how much noise there is at every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from CardioDiTLib.diffusion.mixing import as_array, mixable_times
from CardioDiTLib.errors import CardioDiTError

CLEAN = -1.0
"""The time without noise: one step before time 0, where alpha is 1 and sigma 0."""

PREDICTION_TYPES = ("v_prediction", "epsilon", "sample")
"""What a network may predict, under the names of MONAI's and diffusers' configurations."""

Time = float | int | Tensor | np.ndarray


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving diffusion: ``x_t = alpha(t) * x0 + sigma(t) * noise`` with ``alpha^2 + sigma^2 = 1``.

    The schedule is a table of ``alpha^2`` (``alphas_cumprod``) at the times 0 ... N-1, in float64, that no input can
    change. Between the table's times the log-SNR ``log(alpha^2 / sigma^2)`` is linear, so times may be any
    float, and :meth:`t_of_log_snr` undoes :meth:`log_snr`. At whole times ``alpha^2`` is the table's own, bit for bit.

    ============  =============================================================================
    time ``t``    what is there
    ============  =============================================================================
    N - 1         the noisiest level; sampling starts here
    0 ... N - 1   what a network may be given, as it is (whole numbers unless ``continuous``)
    (-1, 0)       ``alpha^2`` runs linearly to 1; for training targets only, samplers never stop here
    -1            clean (:data:`CLEAN`): the level before time 0, where sampling ends
    ============  =============================================================================

    Args:
        name: ``cosine`` (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17:
            ``alpha^2(x) = cos^2((x/N + s) / (1 + s) * pi/2)``, betas of neighbouring times clipped at ``max_beta``),
            ``linear_beta`` or ``scaled_linear_beta`` (betas, or their square roots, evenly from ``beta_start`` to
            ``beta_end``).
        num_train_timesteps: N, the length of the table.
        prediction_type: what the network predicts: ``v_prediction`` (Salimans and Ho 2022, arXiv:2202.00512),
            ``epsilon`` or ``sample``.
        continuous: whether the network was trained on times between the whole numbers. If not, step spacings keep to
            whole times.
        log_snr_range: the (noisiest, cleanest) log-SNR at which the network was trained and may be asked; None for the
            whole table.
        cosine_offset: s of the cosine schedule.
        max_beta: upper limit of the cosine schedule's betas.
        beta_start: first beta of the two linear schedules.
        beta_end: last beta of the two linear schedules.
        zero_terminal_snr: whether ``alpha`` is shifted and stretched to end at exactly 0, so that time N - 1 is noise
            alone, ``alpha`` at time 0 staying as it is (Lin et al. 2024, arXiv:2305.08891, algorithm 1). Between the
            last two times ``alpha`` is linear. Not with a prediction of noise: it does not give x0 there.

    Raises:
        CardioDiTError: If a value is out of range or a name is not known.

    Examples:
        >>> schedule = NoiseSchedule("cosine", 300)
        >>> latents, noise = torch.randn(2, 8, 6, 16, 16, 8), torch.randn(2, 8, 6, 16, 16, 8)
        >>> t = torch.tensor([10, 250])
        >>> schedule.add_noise(latents, noise, t).shape
        torch.Size([2, 8, 6, 16, 16, 8])
    """

    name: str = "cosine"
    num_train_timesteps: int = 300
    prediction_type: str = "v_prediction"
    continuous: bool = False
    log_snr_range: tuple[float, float] | None = None
    cosine_offset: float = 0.008
    max_beta: float = 0.9999
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    zero_terminal_snr: bool = False
    _alpha_squared: np.ndarray = field(init=False, repr=False, compare=False)
    _log_snr: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.num_train_timesteps, bool) or int(self.num_train_timesteps) != self.num_train_timesteps:
            raise CardioDiTError(
                f"num_train_timesteps is {self.num_train_timesteps!r}.", "Give a whole number of times."
            )
        if self.num_train_timesteps < 2:
            raise CardioDiTError(
                f"A noise schedule of {self.num_train_timesteps} times is too short.", "Give at least 2."
            )
        if self.prediction_type not in PREDICTION_TYPES:
            raise CardioDiTError(
                f"The prediction type {self.prediction_type!r} is not known.",
                f"Choose one of {', '.join(PREDICTION_TYPES)}.",
            )
        alpha_squared = np.cumprod(1.0 - self._betas())
        if self.zero_terminal_snr:
            alpha_squared = self._ending_in_noise(alpha_squared)
        with np.errstate(divide="ignore"):
            log_snr = np.log(alpha_squared) - np.log1p(-alpha_squared)
        for table in (alpha_squared, log_snr):
            table.setflags(write=False)
        object.__setattr__(self, "_alpha_squared", alpha_squared)
        object.__setattr__(self, "_log_snr", log_snr)
        if self.log_snr_range is not None:
            lowest, highest = (float(end) for end in self.log_snr_range)
            if not log_snr[-1] <= lowest < highest <= log_snr[0]:
                raise CardioDiTError(
                    f"The log-SNR range ({lowest:g}, {highest:g}) does not lie inside the schedule's own "
                    f"({log_snr[-1]:.3g}, {log_snr[0]:.3g}).",
                    "Give (noisiest, cleanest) within it.",
                )
            object.__setattr__(self, "log_snr_range", (lowest, highest))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """Make a schedule from plain values, such as a bundle's JSON.

        Args:
            config: The constructor's arguments by name; ``schedule`` is taken for ``name``.

        Raises:
            CardioDiTError: If a key is not known, so that no setting is dropped silently.
        """
        values = dict(config)
        if "schedule" in values:
            values.setdefault("name", values.pop("schedule"))
        known = [item.name for item in fields(cls) if item.init]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise CardioDiTError(
                f"The noise schedule has no setting called {', '.join(map(repr, unknown))}.",
                f"Known are {', '.join(known)}.",
            )
        if values.get("log_snr_range") is not None:
            values["log_snr_range"] = tuple(values["log_snr_range"])
        return cls(**values)

    def to_config(self) -> dict[str, Any]:
        """The plain values from which :meth:`from_config` makes the same schedule; they can be written as JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        if self.log_snr_range is not None:
            values["log_snr_range"] = list(self.log_snr_range)
        if not self.zero_terminal_snr:  # software that does not know the setting reads schedules without it
            del values["zero_terminal_snr"]
        return values

    @property
    def clean_time(self) -> float:
        """The time without noise."""
        return CLEAN

    @property
    def alphas_cumprod(self) -> Tensor:
        """A copy of the table: ``alpha^2`` at the times 0 ... N-1, (N,) float64 on the CPU."""
        return torch.from_numpy(self._alpha_squared.copy())

    @property
    def log_snr_ends(self) -> tuple[float, float]:
        """The (noisiest, cleanest) log-SNR at which the network may be asked."""
        return self.log_snr_range or (float(self._log_snr[-1]), float(self._log_snr[0]))

    def alpha_sigma(self, t: Time) -> tuple[Tensor, Tensor]:
        """Share of image and of noise at a time.

        Args:
            t: Time or times in [-1, N-1], whole or not, of any shape.

        Returns:
            alpha and sigma, float64 on the CPU, of the shape of ``t``.

        Raises:
            CardioDiTError: If a time lies outside [-1, N-1].
        """
        alpha_squared = torch.from_numpy(self._alpha_squared_at(self._times(t)))
        return alpha_squared.sqrt(), (1.0 - alpha_squared).sqrt()

    def log_snr(self, t: Time) -> Tensor:
        """``log(alpha^2 / sigma^2)`` at a time: float64 on the CPU, of the shape of ``t``; infinite at time -1.

        Raises:
            CardioDiTError: If a time lies outside [-1, N-1].
        """
        times = self._times(t)
        alpha_squared = self._alpha_squared_at(np.minimum(times, 0.0))
        with np.errstate(divide="ignore"):
            before_zero = np.log(alpha_squared) - np.log1p(-alpha_squared)
        inside = self._log_snr_inside(times)
        return torch.from_numpy(np.where(times < 0, before_zero, inside))

    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        """The time at which the log-SNR has this value: the inverse of :meth:`log_snr`.

        Args:
            log_snr: Values of any shape. Below the table's noisiest value the answer is N - 1.

        Returns:
            Times in [-1, N-1], float64 on the CPU, of the shape of ``log_snr``.
        """
        value = as_array(log_snr)
        times = np.arange(self.num_train_timesteps, dtype=np.float64)
        if self.zero_terminal_snr:
            inside = np.interp(-value, -self._log_snr[:-1], times[:-1])
            with np.errstate(over="ignore"):
                alpha = 1.0 / np.sqrt(1.0 + np.exp(-value))
            late = times[-1] - alpha / np.sqrt(self._alpha_squared[-2])
            inside = np.where(value < self._log_snr[-2], late, inside)
        else:
            inside = np.interp(-value, -self._log_snr, times)
        with np.errstate(over="ignore"):
            sigma_squared = 1.0 / (1.0 + np.exp(value))
        before_zero = sigma_squared / (1.0 - self._alpha_squared[0]) - 1.0
        return torch.from_numpy(np.where(value > self._log_snr[0], before_zero, inside))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Time) -> Tensor:
        """``alpha * x0 + sigma * noise``.

        Args:
            x0: Clean samples, (B, ...) of any rank, floating point.
            noise: Standard normal noise of the same shape.
            t: One time, or B of them.

        Returns:
            Noisy samples in the dtype and on the device of ``x0``; half precision is mixed in float32.

        Raises:
            CardioDiTError: If shapes do not match, ``x0`` holds whole numbers, or a time lies outside [-1, N-1].
        """
        return self._mix(x0, noise, t, lambda alpha, sigma, x, eps: alpha * x + sigma * eps)

    def velocity(self, x0: Tensor, noise: Tensor, t: Time) -> Tensor:
        """``v = alpha * noise - sigma * x0``, the target of v-prediction; arguments as in :meth:`add_noise`."""
        return self._mix(x0, noise, t, lambda alpha, sigma, x, eps: alpha * eps - sigma * x)

    def x0_from_velocity(self, x: Tensor, v: Tensor, t: Time) -> Tensor:
        """``x0 = alpha * x - sigma * v`` from noisy ``x`` and velocity ``v``; arguments as in :meth:`add_noise`."""
        return self._mix(x, v, t, lambda alpha, sigma, x, v: alpha * x - sigma * v)

    def x0_from_prediction(self, x: Tensor, prediction: Tensor, t: float) -> Tensor:
        """The clean samples that a prediction of ``prediction_type`` about noisy ``x`` (B, ...) means, at one time."""
        alpha, sigma = (float(c) for c in self.alpha_sigma(t))
        if self.prediction_type == "v_prediction":
            return alpha * x - sigma * prediction
        if self.prediction_type == "epsilon":
            return (x - sigma * prediction) / alpha
        return prediction

    def _ending_in_noise(self, alpha_squared: np.ndarray) -> np.ndarray:
        if self.prediction_type == "epsilon":
            raise CardioDiTError(
                "A network that predicts the noise cannot be asked where there is nothing else.",
                "Use v_prediction or sample with zero_terminal_snr.",
            )
        alpha = np.sqrt(alpha_squared)
        return ((alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))) ** 2

    def _log_snr_inside(self, times: np.ndarray) -> np.ndarray:
        """log-SNR at times from 0 on."""
        whole = np.arange(self.num_train_timesteps)
        if not self.zero_terminal_snr:
            return np.interp(times, whole, self._log_snr)
        early = np.interp(times, whole[:-1], self._log_snr[:-1])
        late = self._alpha_squared[-2] * np.clip(whole[-1] - times, 0.0, 1.0) ** 2
        with np.errstate(divide="ignore"):
            return np.where(times > whole[-2], np.log(late) - np.log1p(-late), early)

    def _betas(self) -> np.ndarray:
        n = int(self.num_train_timesteps)
        if self.name == "cosine":
            edges = np.cos((np.arange(n + 1) / n + self.cosine_offset) / (1 + self.cosine_offset) * np.pi / 2) ** 2
            betas = np.minimum(1.0 - edges[1:] / edges[:-1], self.max_beta)
        elif self.name == "linear_beta":
            betas = np.linspace(self.beta_start, self.beta_end, n)
        elif self.name == "scaled_linear_beta":
            betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, n) ** 2
        else:
            raise CardioDiTError(
                f"The noise schedule {self.name!r} is not known.", "Choose cosine, linear_beta or scaled_linear_beta."
            )
        if not (np.all(betas > 0) and np.all(betas < 1)):
            raise CardioDiTError(
                "The betas of this noise schedule do not all lie between 0 and 1.",
                "Check cosine_offset, max_beta, beta_start, beta_end.",
            )
        return betas

    def _times(self, t: Time) -> np.ndarray:
        times = as_array(t)
        # "not (inside)" rather than "outside", so that NaN is refused too
        if not np.all((times >= CLEAN) & (times <= self.num_train_timesteps - 1)):
            raise CardioDiTError(
                f"A diffusion time lies outside [-1, {self.num_train_timesteps - 1}].",
                "Times count from 0 (least noise).",
            )
        return times

    def _alpha_squared_at(self, times: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            between = 1.0 / (1.0 + np.exp(-self._log_snr_inside(times)))
        whole = np.maximum(times, 0.0).astype(np.int64)
        inside = np.where(whole == times, self._alpha_squared[whole], between)
        return np.where(times < 0, 1.0 - (1.0 - self._alpha_squared[0]) * (times - CLEAN), inside)

    def _mix(self, first: Tensor, second: Tensor, t: Time, formula: Any) -> Tensor:
        times = mixable_times(first, second, t)
        # half precision keeps three digits: mix in float32 and round once
        work = torch.promote_types(first.dtype, torch.float32)
        alpha, sigma = (
            c.to(work).to(first.device).reshape(-1, *[1] * (first.ndim - 1)) if c.ndim else c.to(work).to(first.device)
            for c in self.alpha_sigma(times)
        )
        return formula(alpha, sigma, first.to(work), second.to(work)).to(first.dtype)
