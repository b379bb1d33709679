"""A transformer taught to go from noise to image in a few steps, guidance folded in.

For each step of each way the student is asked where the teacher arrives, given where the teacher began: progressive
distillation (T. Salimans and J. Ho, arXiv 2202.00512) with the teacher's whole stretch as the target of one step, and
of guidance (C. Meng et al., arXiv 2210.03142). Only low-rank changes of the teacher's matrices are learned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.diffusion.sampler_names import DEFAULT_SPACING
from CardioDiTLib.diffusion.spacing import noise_levels
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.low_rank import LowRankUpdate, changes_of, make_changeable
from CardioDiTLib.training.distributed import average_gradients
from CardioDiTLib.training.loop import StepContext
from CardioDiTLib.training.noise_paths import NoisePaths, PathSettings
from CardioDiTLib.training.stage import follow

_APART = 1.0
"""All ways begin with noise; the student tells them apart by the log-SNR that it is told, so much further each."""

_SLOW = 0.99


@dataclass(frozen=True)
class FewStepConfig:
    """Settings of few steps.

    Attributes:
        paths: How the teacher's ways are drawn.
        ways: Levels of the teacher at which the student's steps begin, one row for each number of steps; each begins
            with 0, and no other level is in two of them.
        rank: Rank of the changes.
        batch: Steps of the student a step of training.
        lr, clip: Adam and gradient clipping.
        average_decay: Moving average of the changes; the averaged ones are what is used.
        compiled: Let torch compile the transformer (needs a C++ compiler): about twice as fast where bf16 is.
    """

    paths: PathSettings = field(default_factory=PathSettings)
    ways: tuple[list[int], ...] = ([0, 2, 4, 7], [0, 5])
    rank: int = 16
    batch: int = 32
    lr: float = 2e-3
    clip: float = 1.0
    average_decay: float = 0.99
    compiled: bool = False

    def __post_init__(self) -> None:
        later = [level for way in self.ways for level in way[1:]]
        falls = all(way == sorted(set(way)) and way[0] == 0 and way[-1] < self.paths.steps for way in self.ways)
        if not self.ways or not falls or len(set(later)) != len(later):
            raise CardioDiTError(
                f"The ways {list(self.ways)} cannot be told apart, or do not lead from noise on.",
                "Begin each with 0, and let no other level be in two of them.",
            )

    @property
    def kept(self) -> list[int]:
        """Levels of the teacher that are needed, its end among them."""
        return sorted({level for way in self.ways for level in way} | {self.paths.steps})


@dataclass(frozen=True)
class _Step:
    """One step of the student.

    Attributes:
        first, last: Where it begins and ends, numbers among the levels that were kept.
        t: The time that the student is told.
        alpha, sigma, alpha_next, sigma_next: Of its ends.
    """

    first: int
    last: int
    t: float
    alpha: float
    sigma: float
    alpha_next: float
    sigma_next: float

    @property
    def share(self) -> float:
        """How much of the clean sample goes into where the step arrives."""
        return self.alpha_next - self.sigma_next * self.alpha / self.sigma

    def arrived(self, x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        return self.share * clean + self.sigma_next / self.sigma * x


class FewStepStage:
    """Trains the changes of a bundle's transformer.

    Args:
        config: Settings.
        bundle: The teacher.
        data: Its ways.
    """

    name = "few-steps"

    def __init__(self, config: FewStepConfig, bundle: Bundle, data: NoisePaths) -> None:
        self.config, self.data, self.schedule = config, data, bundle.schedule
        self.ways = way_levels(config, bundle)
        self.steps = [self._steps(way, levels) for way, levels in zip(config.ways, self.ways)]
        self.dit = copy.deepcopy(bundle.dit).eval()
        trained = make_changeable(self.dit, config.rank)
        self.changes = _Changes(self.dit, sum(map(len, config.ways)))
        self.average = copy.deepcopy(self.changes).requires_grad_(False)
        self.network: Callable[..., torch.Tensor] = torch.compile(self.dit) if config.compiled else self.dit
        self.modules: dict[str, nn.Module] = {"changes": self.changes, "average": self.average}
        self._trained = trained
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "changes": torch.optim.AdamW(trained, config.lr, betas=(0.9, 0.98), weight_decay=0.0)
        }
        self._spread = float(data.seen[: data.aside, -1].float().var())

    def _steps(self, way: list[int], levels: list[float]) -> list[_Step]:
        kept = self.config.kept
        times = self.schedule.t_of_log_snr(torch.tensor([*levels], dtype=torch.float64))
        alpha, sigma = (values.tolist() for values in self.schedule.alpha_sigma(times))
        alpha, sigma = [*alpha, 1.0], [*sigma, 0.0]
        ends = [*way[1:], self.config.paths.steps]
        return [
            _Step(kept.index(a), kept.index(b), float(times[i]), alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
            for i, (a, b) in enumerate(zip(way, ends))
        ]

    def _clean(self, step: _Step, x: torch.Tensor, index: Any, context: StepContext) -> torch.Tensor:
        """What the student takes for the image, float32."""
        labels = self.data.labels[index].to(x.device) if len(self.data.labels) else None
        asked = self.data.conditions[index].to(x.device)
        times = torch.full((len(x),), step.t, dtype=torch.float32, device=x.device)
        with context.autocast():
            made = self.network(x, times, labels, conditions=asked if asked.shape[1] else None)
        made = made[:, : x.shape[1]].float()
        return self.schedule.x0_from_prediction(x, made, step.t)

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        config, data = self.config, self.data
        flat = [step for way in self.steps for step in way]
        # one step of the student a step of training: one time, so one call
        number = int(context.rng.integers(len(flat)))
        step = flat[number]
        index = context.rng.integers(data.aside, len(data.seen), config.batch)
        x = data.seen[index, step.first].float().to(context.device)
        arrived = data.seen[index, step.last].float().to(context.device)
        wanted = (arrived - step.sigma_next / step.sigma * x) / step.share
        loss = (self._clean(step, x, index, context) - wanted).square().mean()
        # All steps count alike, though they have not alike much to learn.
        usual = self.changes.usual[number].lerp_(loss.detach(), 1 - _SLOW).clone()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        (loss / usual.clamp(min=1e-4)).backward()
        average_gradients(self._trained)
        nn.utils.clip_grad_norm_(self._trained, config.clip)
        for optimizer in self.optimizers.values():
            optimizer.step()
        follow(self.average, self.changes, context.step, config.average_decay)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def validate(self, context: StepContext) -> dict[str, float]:
        """Of hearts kept aside, drawn from noise by the averaged changes: squared distance to the teacher's as a share
        of their variance, and their variance as a share of the teacher's, for each number of steps.
        """
        learned = copy.deepcopy(self.changes.state_dict())
        self.changes.load_state_dict(self.average.state_dict())
        index = torch.arange(min(self.data.aside, 2 * self.config.batch))
        scores: dict[str, float] = {}
        for way in self.steps:
            made = []
            for part in index.split(self.config.batch):
                x = self.data.seen[part, 0].float().to(context.device)
                for step in way:
                    x = step.arrived(x, self._clean(step, x, part, context))
                made.append(x.cpu())
            drawn, wanted = torch.cat(made), self.data.seen[index, -1].float()
            scores[f"error_{len(way)}"] = float((drawn - wanted).square().mean()) / self._spread
            scores[f"variance_{len(way)}"] = float(drawn.var() / wanted.var())
        self.changes.load_state_dict(learned)
        return scores

    def averaged(self) -> dict[str, torch.Tensor]:
        """The averaged changes by name, as `models.low_rank.changes_of` gives them."""
        self.changes.load_state_dict(self.average.state_dict())
        return changes_of(self.dit)


class _Changes(nn.Module):
    """The changes of a network as a module of their own, so that checkpoints hold nothing else.

    Args:
        network: Given changes.
        steps: Steps of all ways.

    Attributes:
        usual: (steps,) the usual loss of each.
    """

    usual: torch.Tensor

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.register_buffer("usual", torch.ones(steps))
        self.updates = nn.ModuleList(module for module in network.modules() if isinstance(module, LowRankUpdate))


def way_levels(config: FewStepConfig, bundle: Bundle) -> list[list[float]]:
    """Log-SNR at which each step of each way begins.

    Raises:
        CardioDiTError: The model's sampling begins with noise alone, where log-SNR is infinite and tells no ways apart.
    """
    levels = noise_levels(bundle.schedule, config.paths.steps, DEFAULT_SPACING["dpmpp_2m"])
    if levels.alpha[0] == 0:
        raise CardioDiTError(
            "Few steps cannot be taught to a model whose sampling begins with noise alone (flow matching, "
            "zero_terminal_snr).",
            "Take one whose schedule keeps a little of the image to the end.",
        )
    log_snr = 2 * (np.log(levels.alpha[:-1]) - np.log(levels.sigma[:-1]))
    return [
        [round(float(log_snr[level]) + _APART * number * (level == 0), 4) for level in way]
        for number, way in enumerate(config.ways)
    ]
