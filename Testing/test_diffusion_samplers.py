"""Samplers: right at any number of steps, equal to the published one at 300, reproducible, cancellable."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from CardioDiTLib.diffusion import (
    DEFAULT_SPACING,
    SAMPLERS,
    Denoiser,
    NoiseLevels,
    NoiseSchedule,
    ddim,
    ddpm,
    dpmpp_2m,
    draw_noise,
    noise_levels,
    sample_generators,
)
from CardioDiTLib.errors import Cancelled, CardioDiTError

SCHEDULE = NoiseSchedule("cosine", 300)
CONTINUOUS = NoiseSchedule("cosine", 300, continuous=True, log_snr_range=(-7.0, 5.0))


def gaussian(sd: float, schedule: NoiseSchedule = SCHEDULE) -> Callable:
    """The exact denoiser of normal data with mean 0 and this sd."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = (float(c) for c in schedule.alpha_sigma(t))
        return alpha * sd**2 / (alpha**2 * sd**2 + sigma**2) * x

    return denoise


def mixture(means: torch.Tensor, sd: float) -> Callable:
    """The exact denoiser of an even mixture of normals, means (modes, D)."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = (float(c) for c in SCHEDULE.alpha_sigma(t))
        variance = alpha**2 * sd**2 + sigma**2
        weight = torch.softmax(-(torch.cdist(x, alpha * means) ** 2) / (2 * variance), 1)
        centre = weight @ means
        return centre + alpha * sd**2 / variance * (x - alpha * centre)

    return denoise


def sd_ratio(
    sampler: str, steps: int, spacing: str | None = None, sd: float = 0.5, schedule: NoiseSchedule = SCHEDULE
) -> float:
    """sd of the samples over that of the data."""
    levels = noise_levels(schedule, steps, spacing or DEFAULT_SPACING[sampler])
    if sampler != "ddpm":  # samples are a multiple of the noise: one number tells all
        return float(SAMPLERS[sampler](gaussian(sd, schedule), torch.ones(1, 1, dtype=torch.float64), levels)) / sd
    generators = sample_generators(0, 1)
    noise = draw_noise(generators, (100_000,))
    return float(ddpm(gaussian(sd, schedule), noise, levels, generators=generators).std()) / sd


@pytest.mark.parametrize("steps", [50, 60, 77, 100, 137, 150, 200, 299, 300])
def test_ddim_keeps_the_spread_from_50_steps_on(steps):
    assert sd_ratio("ddim", steps) == pytest.approx(1, abs=0.035)


@pytest.mark.parametrize("steps", [15, 20, 30, 37, 50, 77, 100, 200, 299, 300])
def test_dpmpp_2m_keeps_the_spread_from_15_steps_on(steps):
    assert sd_ratio("dpmpp_2m", steps) == pytest.approx(1, abs=0.025)


@pytest.mark.parametrize("steps", [100, 137, 200, 299, 300])
def test_ddpm_keeps_the_spread_from_100_steps_on(steps):
    assert sd_ratio("ddpm", steps) == pytest.approx(1, abs=0.035)


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 50), ("dpmpp_2m", 30), ("ddpm", 100)])
def test_linear_spacing_keeps_the_spread_too(sampler, steps):
    assert sd_ratio(sampler, steps, "linear") == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 50), ("ddim", 333), ("dpmpp_2m", 30), ("ddpm", 100)])
def test_a_continuous_model_keeps_the_spread(sampler, steps):
    assert sd_ratio(sampler, steps, schedule=CONTINUOUS) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 30), ("ddim", 50), ("ddpm", 50), ("ddpm", 100)])
def test_default_spacing_beats_linear_at_the_target_sd(sampler, steps):
    assert abs(1 - sd_ratio(sampler, steps)) < 0.93 * abs(1 - sd_ratio(sampler, steps, "linear"))


@pytest.mark.parametrize(
    ("sampler", "steps"), [("ddim", 25), ("ddim", 50), ("dpmpp_2m", 15), ("dpmpp_2m", 30), ("ddpm", 50)]
)
def test_default_spacing_beats_linear_over_small_and_large_structures(sampler, steps):
    def worst(spacing: str | None) -> float:
        return max(abs(math.log(sd_ratio(sampler, steps, spacing, sd))) for sd in (0.05, 0.2, 0.5, 1.0, 2.0))

    assert worst(None) < 0.5 * worst("linear")


@pytest.fixture(scope="module")
def mixture_error():
    generator = torch.Generator().manual_seed(0)
    means = 0.7 * torch.randn(5, 64, generator=generator, dtype=torch.float64)
    noise = torch.randn(300, 64, generator=generator, dtype=torch.float64)
    denoise = mixture(means, 0.25)
    # a fine solution of the same equation, with the samplers' own last jump from time 0
    fine = SCHEDULE.t_of_log_snr(np.linspace(*SCHEDULE.log_snr_ends, 1500)).numpy()
    reference = dpmpp_2m(denoise, noise, NoiseLevels.at(SCHEDULE, fine))

    def error(sampler: str, steps: int, spacing: str | None = None) -> float:
        out = SAMPLERS[sampler](denoise, noise, noise_levels(SCHEDULE, steps, spacing or DEFAULT_SPACING[sampler]))
        return float(((out - reference).norm(dim=1) / reference.norm(dim=1)).median())

    return error


def test_end_points_of_a_mixture_come_right(mixture_error):
    assert mixture_error("dpmpp_2m", 30) < 0.003
    assert mixture_error("ddim", 300) < 0.004


def test_second_order_at_30_steps_beats_first_order_at_100(mixture_error):
    assert mixture_error("dpmpp_2m", 30) < 0.5 * mixture_error("ddim", 100)


@pytest.mark.parametrize(
    ("sampler", "steps", "factor"), [("dpmpp_2m", 15, 0.4), ("dpmpp_2m", 30, 0.5), ("ddim", 50, 0.8)]
)
def test_default_spacing_beats_linear_on_a_mixture(mixture_error, sampler, steps, factor):
    assert mixture_error(sampler, steps) < factor * mixture_error(sampler, steps, "linear")


def test_orders_of_convergence(mixture_error):
    assert mixture_error("ddim", 25) / mixture_error("ddim", 100) == pytest.approx(4, rel=0.3)
    assert mixture_error("dpmpp_2m", 20) / mixture_error("dpmpp_2m", 60) > 6


def _published_network(test_data):
    from CardioDiTLib.models.dit import DiT4D

    config = json.loads((test_data / "dit_tiny.json").read_text(encoding="utf-8"))["config"]
    checkpoint = torch.load(test_data / "dit_tiny.pth", weights_only=True)
    network = DiT4D(**config)
    network.load_state_dict({**checkpoint["model"], **checkpoint["ema"]["shadow"]})
    return network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_300_ddim_steps_are_the_published_ones(test_data, dtype):
    with np.load(test_data / "dit_tiny.npz") as file:
        noise, expected = torch.from_numpy(file["x"][:1]), torch.from_numpy(file["ddim300"])
    denoise = Denoiser(_published_network(test_data), SCHEDULE)
    out = ddim(denoise, noise.to(dtype), noise_levels(SCHEDULE, 300, DEFAULT_SPACING["ddim"]))
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def monai_schedulers():
    schedulers = pytest.importorskip("monai.networks.schedulers")
    from monai.networks.schedulers.scheduler import NoiseSchedules

    if "cardiodit_published" not in NoiseSchedules.names:
        NoiseSchedules.add_def(
            "cardiodit_published",
            "The table of this library",
        )(lambda num_train_timesteps: _table(num_train_timesteps))
    arguments = {
        "num_train_timesteps": 300,
        "schedule": "cardiodit_published",
        "clip_sample": False,
        "prediction_type": "v_prediction",
    }
    return schedulers.DDIMScheduler(**arguments), schedulers.DDPMScheduler(**arguments)


def _table(n: int):
    alphas_cumprod = NoiseSchedule("cosine", n).alphas_cumprod
    alphas = alphas_cumprod / torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
    return 1 - alphas, alphas, alphas_cumprod


def _network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A made-up smooth velocity."""
    return torch.sin(2 * x + t.reshape(-1, *[1] * (x.ndim - 1)) / 100)


def test_300_ddim_steps_are_monais(monai_schedulers):
    scheduler = monai_schedulers[0]
    noise = draw_noise(sample_generators(0, 2), (4, 2, 3, 3, 2), dtype=torch.float64)
    x = noise
    for t in scheduler.timesteps:
        x, _ = scheduler.step(_network(x, t[None]), int(t), x)
    torch.testing.assert_close(
        ddim(Denoiser(_network, SCHEDULE), noise, noise_levels(SCHEDULE, 300)), x, rtol=0, atol=1e-7
    )


def test_300_ddpm_steps_are_monais(monai_schedulers):
    scheduler = monai_schedulers[1]
    noise = draw_noise(sample_generators(0, 1), (4, 2, 3, 3, 2), dtype=torch.float64)
    # with one sample, its generator and theirs give the same stream of fresh noise
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    x = noise
    for t in scheduler.timesteps:
        fresh = torch.randn(x.shape[1:], generator=theirs)[None].double()
        velocity = _network(x, t[None])
        x = _monai_ddpm_step(scheduler, velocity, int(t), x, fresh)
    out = ddpm(Denoiser(_network, SCHEDULE), noise, noise_levels(SCHEDULE, 300), generators=[ours])
    torch.testing.assert_close(out, x, rtol=0, atol=1e-6)


def _monai_ddpm_step(scheduler, velocity, t, x, fresh):
    mean, _ = _without_noise(scheduler, velocity, t, x)
    variance = scheduler._get_variance(t, predicted_variance=None) if t > 0 else torch.tensor(0.0)
    return mean + variance**0.5 * fresh


def _without_noise(scheduler, velocity, t, x):
    original = scheduler._get_variance
    try:
        scheduler._get_variance = lambda *args, **kwargs: torch.tensor(0.0, dtype=torch.float64)
        return scheduler.step(velocity, t, x)
    finally:
        scheduler._get_variance = original


def test_ddpm_is_the_posterior_between_the_levels_visited():
    levels = noise_levels(SCHEDULE, 7, "angle")
    noise = draw_noise(sample_generators(4, 2), (3, 2), dtype=torch.float64)
    ours, theirs = sample_generators(5, 2), sample_generators(5, 2)
    x = noise
    for i in range(7):
        a, a_next = levels.alpha[i] ** 2, levels.alpha[i + 1] ** 2
        beta = 1 - a / a_next
        x0 = gaussian(0.7)(x, levels.t[i])
        x = (math.sqrt(a_next) * beta * x0 + math.sqrt(1 - beta) * (1 - a_next) * x) / (1 - a)
        if i < 6:
            x = x + math.sqrt(beta * (1 - a_next) / (1 - a)) * draw_noise(theirs, (3, 2))
    torch.testing.assert_close(ddpm(gaussian(0.7), noise, levels, generators=ours), x)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_last_step_returns_the_clean_sample_itself(sampler):
    seen = []
    noise = draw_noise(sample_generators(0, 2), (3, 2))
    levels = noise_levels(SCHEDULE, 12)
    out = SAMPLERS[sampler](
        gaussian(1.0), noise, levels, generators=sample_generators(0, 2), callback=lambda info: seen.append(info.x0)
    )
    assert torch.equal(out, seen[-1])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2,), (2, 4), (2, 1, 3, 3), (2, 4, 2, 3, 3, 2)])
def test_few_steps_and_any_rank(sampler, steps, shape):
    noise = draw_noise(sample_generators(0, 2), shape[1:])
    before = noise.clone()
    levels = noise_levels(SCHEDULE, steps, DEFAULT_SPACING[sampler])
    out = SAMPLERS[sampler](gaussian(0.5), noise, levels, generators=sample_generators(1, 2))
    assert out.shape == shape and out.dtype == noise.dtype and torch.isfinite(out).all()
    assert torch.equal(noise, before)  # the caller's noise is not written to
    if steps == 1:
        assert torch.equal(out, gaussian(0.5)(noise, 299.0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_depend_on_seed_and_number_alone(sampler):
    def run(seed: int, count: int, first: int = 0) -> torch.Tensor:
        generators = sample_generators(seed, count, first)
        noise = draw_noise(generators, (2, 3, 3))
        return SAMPLERS[sampler](gaussian(0.5), noise, noise_levels(SCHEDULE, 9), generators=generators)

    together = run(7, 4)
    assert torch.equal(together, run(7, 4))
    assert torch.equal(together, torch.cat([run(7, 1), run(7, 3, first=1)]))
    assert not torch.allclose(together, run(8, 4))


def test_eta_runs_from_ddim_to_ddpm():
    levels = noise_levels(SCHEDULE, 20)
    noise = draw_noise(sample_generators(0, 2), (64,))

    def run(eta: float) -> torch.Tensor:
        return ddim(gaussian(0.5), noise, levels, eta=eta, generators=sample_generators(1, 2))

    assert torch.equal(run(0.0), ddim(gaussian(0.5), noise, levels))
    assert torch.equal(run(1.0), ddpm(gaussian(0.5), noise, levels, generators=sample_generators(1, 2)))
    distance = [float((run(eta) - run(0.0)).norm()) for eta in (0.1, 0.5, 1.0)]
    assert 0 < distance[0] < distance[1] < distance[2]


def test_fresh_noise_without_seeded_generators_is_refused():
    noise, levels = torch.zeros(2, 3), noise_levels(SCHEDULE, 5)
    for generators in (None, sample_generators(0, 1)):
        with pytest.raises(CardioDiTError, match="generator"):
            ddpm(gaussian(0.5), noise, levels, generators=generators)
    with pytest.raises(CardioDiTError, match="eta"):
        ddim(gaussian(0.5), noise, levels, eta=1.5, generators=sample_generators(0, 2))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_callback_hears_of_every_step(sampler):
    heard = []
    levels = noise_levels(SCHEDULE, 6)
    noise = draw_noise(sample_generators(0, 1), (4,))
    SAMPLERS[sampler](gaussian(0.5), noise, levels, generators=sample_generators(0, 1), callback=heard.append)
    assert [(info.step, info.of) for info in heard] == [(i, 6) for i in range(1, 7)]
    assert [info.t for info in heard] == levels.t[:-1].tolist()
    assert all(info.x0.shape == noise.shape for info in heard)
    assert torch.equal(heard[0].x0, gaussian(0.5)(noise, 299.0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_callback_can_cancel(sampler):
    calls = []

    def denoise(x, t):
        calls.append(t)
        return gaussian(0.5)(x, t)

    def stop(info):
        if info.step == 3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        SAMPLERS[sampler](
            denoise, torch.ones(1, 4), noise_levels(SCHEDULE, 10), generators=sample_generators(0, 1), callback=stop
        )
    assert len(calls) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_gradients_are_kept(sampler):
    weight = torch.ones(4, requires_grad=True)
    out = SAMPLERS[sampler](
        lambda x, t: weight * x, torch.ones(1, 4), noise_levels(SCHEDULE, 3), generators=sample_generators(0, 1)
    )
    assert not out.requires_grad
