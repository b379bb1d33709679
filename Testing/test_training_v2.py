"""Training as the published version 2 does: flow matching, ends in noise alone, self-conditioning, weights of times."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from CardioDiTLib.diffusion import FlowSchedule, NoiseSchedule
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.training.dit_stage import DitStage, DitStageConfig
from CardioDiTLib.training.latents import LatentSet
from CardioDiTLib.training.loop import StepContext

MODEL = {
    "input_size": [2, 4, 4, 2],
    "patch_size": [1, 2, 2, 1],
    "in_channels": 3,
    "hidden_size": 32,
    "depth": 1,
    "num_heads": 2,
    "pos_embed_mode": "rope4d",
    "qk_norm": True,
}
FLOW = {"name": "flow_matching", "num_train_timesteps": 1000, "logit_mean": 0.5, "logit_std": 0.7}
ENDING = {"name": "cosine", "num_train_timesteps": 1000, "zero_terminal_snr": True}


def latents() -> LatentSet:
    """One picture and its negative."""
    count = 6
    torch.manual_seed(0)
    return LatentSet(
        latents=(
            torch.randn(3, 2, 4, 4, 2) * torch.tensor([1.0, -1, 1, -1, 1, 1])[:, None, None, None, None, None]
        ).half(),
        groups=torch.full((count,), -1),
        cine=torch.arange(count),
        slice_valid=torch.ones(count, 2, dtype=torch.bool),
        validation=torch.tensor([False] * (count - 1) + [True]),
        heart=torch.ones(2, 4, 4),
        quantities=torch.full((count, 0), math.nan),
        about={},
    )


def context(step: int = 0) -> StepContext:
    rng = np.random.default_rng(step)
    return StepContext(step, 0.0, 1.0, rng, torch.Generator().manual_seed(step), torch.device("cpu"), "fp32")


def stage(**settings) -> DitStage:
    torch.manual_seed(1)
    return DitStage(DitStageConfig(**{"model": dict(MODEL), "batch": 4, **settings}), latents())


@pytest.mark.parametrize("schedule", [FLOW, ENDING])
@pytest.mark.parametrize("self_conditioning", [False, True])
def test_the_loss_falls(schedule, self_conditioning):
    task = stage(
        schedule=schedule,
        model={**MODEL, "self_conditioning": self_conditioning},
        loss="mse",
        lr=1e-2,
        offset_noise=0.0,
    )
    # the same draws over and over: learned by heart in some steps
    losses = [float(task.step(context())["loss"]) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    assert set(task.validate(context())) >= {"loss", "snr+0"}


class Says(torch.nn.Module):
    """A network that says one thing, and remembers what it was asked."""

    def __init__(self, said: torch.Tensor) -> None:
        super().__init__()
        self.said, self.asked = said, []

    def forward(self, x, t, y=None, *, conditions=None, x_self_cond=None):
        self.asked.append((x, t, x_self_cond))
        return self.said


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_the_loss_of_the_flow_is_the_published_one(loss):
    task = stage(schedule=FLOW, loss=loss)
    x0, noise, said = torch.randn(3, 2, 3, 2, 4, 4, 2).unbind(0)
    t = torch.tensor([250.0, 900.0], dtype=torch.float64)
    network = Says(said)
    made = task._loss(network, x0, torch.tensor([-1, -1]), torch.ones(2, 2, dtype=torch.bool), t, noise, context())
    apart = said - (noise - x0)
    wanted = {"mse": apart**2, "l1": apart.abs()}.get(loss)
    if wanted is None:
        wanted = torch.where(apart.abs() < 1, 0.5 * apart**2, apart.abs() - 0.5)
    torch.testing.assert_close(made, wanted.flatten(1).mean(1))
    seen, times, estimate = network.asked[0]
    s = (t / 1000).reshape(2, 1, 1, 1, 1, 1)
    torch.testing.assert_close(seen.double(), (1 - s) * x0 + s * noise, atol=1e-6, rtol=0)
    assert times.tolist() == [250.0, 900.0] and estimate is None


@pytest.mark.parametrize("schedule", [FLOW, ENDING])
def test_self_conditioning_is_given_the_networks_own_estimate(schedule):
    task = stage(schedule=schedule, model={**MODEL, "self_conditioning": True})
    x0, noise, said = torch.randn(3, 2, 3, 2, 4, 4, 2).unbind(0)
    t = torch.tensor([250.0, 900.0], dtype=torch.float64)
    network = Says(said)
    valid = torch.ones(2, 2, dtype=torch.bool)
    task._loss(network, x0, torch.tensor([-1, -1]), valid, t, noise, context(), own_estimate=True)
    (seen, _, first), (_, _, second) = network.asked
    assert first is None
    alpha, sigma = (c.reshape(2, 1, 1, 1, 1, 1) for c in task.schedule.alpha_sigma(t))
    wanted = seen - sigma * said if schedule is FLOW else alpha * seen - sigma * said
    torch.testing.assert_close(second.double(), wanted.double(), atol=1e-5, rtol=0)


def test_half_of_the_steps_are_given_an_estimate():
    task = stage(schedule=FLOW, model={**MODEL, "self_conditioning": True})
    given = []
    whole = task._loss
    task._loss = lambda *a, **k: given.append(k["own_estimate"]) or whole(*a, **k)
    for step in range(40):
        task.step(context(step))
    assert 0.25 < np.mean(given) < 0.75
    plain = stage(schedule=FLOW)
    plain._loss = lambda *a, **k: given.append(k["own_estimate"]) or DitStage._loss(plain, *a, **k)
    given.clear()
    plain.step(context())
    assert given == [False]


def test_times_are_drawn_as_the_flow_says():
    task = stage(schedule=FLOW)
    share = task._times(4000, np.random.default_rng(0)).numpy() / 1000
    logit = np.log(share / (1 - share))
    assert logit.mean() == pytest.approx(0.5, abs=0.02) and logit.std() == pytest.approx(0.7, abs=0.02)
    by_level = stage(schedule=FLOW, log_snr_mean=-1.0, log_snr_sd=1.4, log_snr_spread=0.0)
    share = by_level._times(4000, np.random.default_rng(0)).numpy() / 1000
    logit = np.log(share / (1 - share))
    assert logit.mean() == pytest.approx(0.5, abs=0.02) and logit.std() == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("schedule", [FLOW, ENDING])
def test_weights_of_times_are_the_published_ones(schedule):
    task = stage(schedule=schedule, min_snr_gamma=5.0)
    t = torch.tensor([0.5 if schedule is FLOW else 0.0, 100.0, 600.0, 990.0], dtype=torch.float64)
    alpha, sigma = task.schedule.alpha_sigma(t)
    snr = (alpha / sigma) ** 2
    wanted = torch.minimum(snr, torch.tensor(5.0)) / (snr if schedule is FLOW else snr + 1)
    torch.testing.assert_close(task._snr_weight(t), wanted)
    end = task._snr_weight(torch.tensor([1000.0 if schedule is FLOW else 999.0], dtype=torch.float64))
    assert torch.isfinite(end).all() and float(end) == 0


def test_offset_noise_is_the_same_all_over_a_channel():
    task = stage(schedule=ENDING, offset_noise=3.0)
    seen = []
    task._loss = lambda *a, **k: seen.append(a[5]) or torch.ones(4, requires_grad=True)
    task.step(context())
    means = seen[0].flatten(2).mean(2)
    assert float(means.std()) == pytest.approx(3.0, rel=0.5) and float(seen[0].flatten(2).std(2).mean()) < 1.2


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"schedule": FLOW, "offset_noise": 0.1}, "offset noise"),
        ({"schedule": {**FLOW, "zero_terminal_snr": True}}, "zero_terminal_snr"),
        ({"schedule": {"name": "cosine", "flux": 1}}, "flux"),
        ({"schedule": ENDING, "log_snr_mean": 0.0}, "discrete schedule"),
        ({"loss": "hinge"}, "hinge"),
        ({"baseline": "slice3d"}, "slice3d"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, word):
    with pytest.raises(CardioDiTError, match=word):
        DitStageConfig(model=dict(MODEL), **settings)


def test_what_is_drawn_for_other_models_stays_what_it_was():
    """The new settings draw nothing where they are off."""
    ours = {name: value for name, value in MODEL.items() if name not in ("pos_embed_mode", "qk_norm")}
    draws = []
    for extra in ({}, {"self_conditioning_share": 0.9}):
        task = stage(schedule={"name": "cosine", "num_train_timesteps": 300}, model=ours, **extra)
        here = context()
        task.step(here)
        draws.append((here.rng.random(), float(torch.rand((), generator=here.generator))))
    assert draws[0] == draws[1]
    assert isinstance(task.schedule, NoiseSchedule) and isinstance(stage(schedule=FLOW).schedule, FlowSchedule)
