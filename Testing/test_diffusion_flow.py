"""Flow matching and the end in noise alone: what equations say of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from refusals import refused
from scipy import integrate, stats

from CardioDiTLib.diffusion import (
    DEFAULT_SPACING,
    SAMPLERS,
    SPACINGS,
    Denoiser,
    FlowSchedule,
    NoiseLevels,
    NoiseSchedule,
    ddpm,
    dpmpp_2m,
    draw_noise,
    euler,
    noise_levels,
    sample_generators,
    schedule_from_config,
)
from CardioDiTLib.errors import CardioDiTError

FLOW = FlowSchedule(1000)
ENDING = NoiseSchedule("cosine", 1000, zero_terminal_snr=True)


def gaussian(sd, schedule, mean=0.0):
    """The exact denoiser of normal data."""

    def denoise(x, t):
        alpha, sigma = (float(c) for c in schedule.alpha_sigma(t))
        return mean + alpha * sd**2 / (alpha**2 * sd**2 + sigma**2) * (x - alpha * mean)

    return denoise


def sd_ratio(sampler, steps, schedule, sd=0.5, spacing=None):
    levels = noise_levels(schedule, steps, spacing or DEFAULT_SPACING[sampler])
    return float(SAMPLERS[sampler](gaussian(sd, schedule), torch.ones(1, 1, dtype=torch.float64), levels)) / sd


# the flow


def test_mixing_and_its_inverses():
    x0, noise = torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(3, 2, 4, dtype=torch.float64)
    t = torch.tensor([0.0, 250.0, 1000.0], dtype=torch.float64)
    seen, v = FLOW.add_noise(x0, noise, t), FLOW.velocity(x0, noise, t)
    assert torch.equal(seen[0], x0[0]) and torch.equal(seen[2], noise[2])
    torch.testing.assert_close(seen[1], 0.75 * x0[1] + 0.25 * noise[1])
    assert torch.equal(v, noise - x0)
    torch.testing.assert_close(FLOW.x0_from_velocity(seen, v, t), x0)
    torch.testing.assert_close(FLOW.x0_from_prediction(seen[1:2], v[1:2], 250.0), x0[1:2])
    assert FLOW.add_noise(x0.bfloat16(), noise.bfloat16(), 500).dtype == torch.bfloat16


def test_log_snr_and_time_are_inverses():
    times = np.linspace(1, 999, 50)
    np.testing.assert_allclose(FLOW.t_of_log_snr(FLOW.log_snr(times)).numpy(), times, rtol=1e-12)
    assert FLOW.log_snr(1000.0) == -math.inf and FLOW.log_snr(0.0) == math.inf
    assert float(FLOW.t_of_log_snr(-math.inf)) == 1000 and float(FLOW.log_snr(500.0)) == 0


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.5, 0.7), (-1.0, 0.4)])
def test_times_of_training_have_the_logit_normal_density(mean, sd):
    flow = FlowSchedule(1000, logit_mean=mean, logit_std=sd)
    share = flow.drawn_times(torch.from_numpy((np.arange(40000) + 0.5) / 40000)).numpy() / 1000

    def density(s):
        return stats.norm.pdf(math.log(s / (1 - s)), mean, sd) / (s * (1 - s))

    assert integrate.quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-6)
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.6), (0.6, 0.95)):
        expected = integrate.quad(density, low, high)[0]
        assert np.mean((share > low) & (share <= high)) == pytest.approx(expected, abs=2e-4)
    assert np.median(share) == pytest.approx(1 / (1 + math.exp(-mean)), abs=1e-4)
    uniform = FlowSchedule(300, sample_method="uniform").drawn_times(torch.tensor([0.1, 0.5]))
    torch.testing.assert_close(uniform, torch.tensor([30.0, 150.0], dtype=torch.float64))


@pytest.mark.parametrize("sd", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("steps", [30, 37, 50, 200])
def test_the_second_order_solver_keeps_the_spread_from_30_steps_on(steps, sd):
    assert sd_ratio("dpmpp_2m", steps, FLOW, sd) == pytest.approx(1, abs=0.02)
    assert sd_ratio("dpmpp_2m", steps, ENDING, sd) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 30, 1500])
@pytest.mark.parametrize("spacing", list(SPACINGS))
def test_any_number_of_steps_and_any_spacing_runs(spacing, steps):
    levels = noise_levels(FLOW, steps, spacing)
    assert len(levels) == steps and levels.t[0] == 1000 and levels.t[-1] == 0
    assert levels.alpha[0] == 0 and levels.sigma[-1] == 0
    for sampler in (euler, dpmpp_2m):
        assert torch.isfinite(sampler(gaussian(0.5, FLOW), torch.ones(1, 1), levels)).all()


def test_the_linear_spacing_is_the_published_grid_and_euler_the_published_step():
    levels = noise_levels(FLOW, 20, "linear")
    np.testing.assert_allclose(levels.t / 1000, [*np.linspace(1, 0.05, 20), 0], atol=1e-12)

    def velocity(x, t):
        return torch.sin(3 * x) + t / 1000

    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    made = euler(lambda y, t: FLOW.x0_from_prediction(y, velocity(y, t), t), x, levels)
    for i in range(20):
        x = x - 0.05 * velocity(x, 1000 - 50 * i)
    torch.testing.assert_close(made, x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("schedule", [FLOW, ENDING])
@pytest.mark.parametrize("sd", [0.5, 1.0, 2.0])
def test_no_spacing_takes_euler_within_two_percent_in_30_steps(schedule, sd):
    """The product of the cosines of angles that sum to a right one is largest where they are alike."""
    bound = math.cos(math.pi / 60) ** 30
    assert bound == pytest.approx(0.9597, abs=1e-4)

    def ratio(psi):
        if schedule is FLOW:
            times = FLOW.t_of_log_snr(-2 * np.log(np.tan(psi[1:]) * sd)).numpy()
        else:
            times = np.clip(ENDING.t_of_log_snr(-2 * np.log(np.tan(psi[1:]) * sd)).numpy(), 0, 998.999)
        first = 1000.0 if schedule is FLOW else 999.0
        levels = NoiseLevels.at(schedule, [first, *times])
        return float(euler(gaussian(sd, schedule), torch.ones(1, 1, dtype=torch.float64), levels)) / sd

    even = np.linspace(math.pi / 2, 0, 31)[:-1]
    assert ratio(even) <= bound + 1e-9 and (schedule is not FLOW or ratio(even) == pytest.approx(bound, abs=1e-9))
    rng = np.random.default_rng(0)
    for _ in range(20):
        steps = rng.dirichlet(np.full(30, 5.0)) * math.pi / 2
        assert ratio(math.pi / 2 - np.concatenate([[0], np.cumsum(steps)[:-1]])) < bound
    for spacing in SPACINGS:
        assert sd_ratio("euler", 30, schedule, sd, spacing) < bound + 1e-9


def _end_of_a_normal_flow(noise, mean, sd, first=1000.0):
    """Where the exact flow of normal data takes noise: quantiles are kept."""
    s = first / 1000
    return mean + sd * (noise - (1 - s) * mean) / math.sqrt((1 - s) ** 2 * sd**2 + s**2)


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("dpmpp_2m", 2)])
def test_orders_of_convergence_on_the_flow_of_normal_data(sampler, order):
    noise = torch.tensor([[-1.5, 0.3, 2.0]], dtype=torch.float64)
    exact = _end_of_a_normal_flow(noise, 0.8, 0.5)

    def error(steps):
        levels = noise_levels(FLOW, steps, "linear")
        return float((SAMPLERS[sampler](gaussian(0.5, FLOW, 0.8), noise, levels) - exact).abs().max())

    assert math.log2(error(100) / error(200)) == pytest.approx(order, abs=0.25)
    assert error(800) < (3e-3 if order == 1 else 5e-5)


def test_noise_may_be_added_on_the_way_too():
    generators = sample_generators(0, 1)
    noise = draw_noise(generators, (50_000,))
    made = ddpm(gaussian(0.5, FLOW), noise, noise_levels(FLOW, 200, "angle"), generators=generators)
    assert float(made.std()) == pytest.approx(0.5, rel=0.03)


def test_flow_settings_are_checked_and_kept():
    flow = FlowSchedule(300, logit_mean=0.5, logit_std=0.7)
    assert schedule_from_config(flow.to_config()) == flow
    assert isinstance(schedule_from_config({"schedule": "cosine", "num_train_timesteps": 300}), NoiseSchedule)
    for bad in ({"num_train_timesteps": 1.5}, {"sample_method": "mode"}, {"logit_std": 0}, {"logit_mean": math.nan}):
        with pytest.raises(CardioDiTError):
            FlowSchedule.from_config({"name": "flow_matching", **bad})
    with refused("zero_terminal_snr"):
        schedule_from_config({"name": "flow_matching", "zero_terminal_snr": True})
    for t in (-1, 1001, math.nan):
        with pytest.raises(CardioDiTError):
            FLOW.alpha_sigma(t)
    with refused((2,), (3,)):
        FLOW.add_noise(torch.zeros(2), torch.zeros(3), 1)
    with refused((5,), (2, 3)):
        FLOW.velocity(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(5))


# the end in noise alone


def test_the_end_is_noise_alone_and_the_beginning_stays():
    plain = NoiseSchedule("cosine", 1000)
    alpha, sigma = ENDING.alpha_sigma(999)
    assert float(alpha) == 0 and float(sigma) == 1
    assert float(ENDING.alphas_cumprod[0]) == pytest.approx(float(plain.alphas_cumprod[0]), rel=1e-12)
    # a straight map of alpha, and of nothing else
    a, b = plain.alphas_cumprod.sqrt(), ENDING.alphas_cumprod.sqrt()
    slope = (b[1:] - b[:-1]) / (a[1:] - a[:-1])
    assert float(slope.std() / slope.mean()) < 1e-6
    x0, noise = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(ENDING.add_noise(x0, noise, 999), noise)
    assert torch.equal(ENDING.velocity(x0, noise, 999), -x0)
    assert torch.equal(ENDING.x0_from_prediction(noise, -x0, 999.0), x0)


def test_times_between_the_last_two_have_a_log_snr_and_back():
    times = np.array([0.0, 3.5, 500.25, 997.5, 998.0, 998.25, 998.9])
    alpha, sigma = ENDING.alpha_sigma(times)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(7, dtype=torch.float64))
    assert np.all(np.diff(alpha.numpy()) < 0)
    np.testing.assert_allclose(ENDING.t_of_log_snr(ENDING.log_snr(times)).numpy(), times, atol=1e-6)
    assert ENDING.log_snr(999) == -math.inf and float(ENDING.t_of_log_snr(-math.inf)) == 999


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m", "euler"])
@pytest.mark.parametrize("spacing", list(SPACINGS))
def test_samplers_begin_at_noise_alone(sampler, spacing):
    generators = sample_generators(1, 1)
    noise = draw_noise(generators, (20_000,))
    for steps in (1, 2, 30, 1000):
        levels = noise_levels(ENDING, steps, spacing)
        assert levels.t[0] == 999 and levels.alpha[0] == 0
        made = SAMPLERS[sampler](gaussian(0.5, ENDING, 2.0), noise, levels, generators=generators)
        # nothing is known at the end: the first guess is the mean, whatever the noise
        assert torch.isfinite(made).all() and float(made.mean()) == pytest.approx(2.0, abs=0.03)
    assert float(made.std()) == pytest.approx(0.5, rel=0.03)


def test_an_ordinary_schedule_starts_off_the_mean_where_the_new_one_does_not():
    """Why the end matters (arXiv:2305.08891): the old end still holds a trace of the image, the new one none."""
    assert float(NoiseSchedule("cosine", 1000).alpha_sigma(999)[0]) > 0
    assert float(ENDING.alpha_sigma(999)[0]) == 0


def test_settings_of_the_end_are_kept_and_what_cannot_be_is_refused():
    assert schedule_from_config(ENDING.to_config()) == ENDING
    assert "zero_terminal_snr" not in NoiseSchedule().to_config()
    with refused("zero_terminal_snr"):
        NoiseSchedule("cosine", 1000, "epsilon", zero_terminal_snr=True)


# self-conditioning


class Recorder:
    self_conditioning = True

    def __init__(self) -> None:
        self.seen: list[torch.Tensor | None] = []

    def __call__(self, x, t, y=None, *, x_self_cond=None):
        self.seen.append(x_self_cond)
        return torch.full_like(x, float(len(self.seen)))


@pytest.mark.parametrize("schedule", [FLOW, ENDING])
def test_each_step_is_given_what_was_seen_in_the_one_before(schedule):
    network = Recorder()
    denoise = Denoiser(network, schedule)
    seen = []
    levels = noise_levels(schedule, 4, "angle")
    dpmpp_2m(denoise, torch.randn(2, 3), levels, callback=lambda info: seen.append(info.x0))
    assert network.seen[0] is None
    for given, before in zip(network.seen[1:], seen):
        assert torch.equal(given, before)
    # a second way down begins with nothing
    euler(denoise, torch.randn(2, 3), levels)
    assert network.seen[4] is None and network.seen[5] is not None


def test_guidance_hands_the_guided_estimate_to_both_halves():
    network = Recorder()
    denoise = Denoiser(network, FLOW, labels=[0, 1], guidance=2.0, null_label=2)
    x = torch.randn(2, 3)
    first = denoise(x, 900.0)
    denoise(x, 800.0)
    assert torch.equal(network.seen[1], torch.cat([first, first]))


def test_levels_of_the_flow_can_be_given_by_hand():
    levels = NoiseLevels.at(FLOW, [1000.0, 500.0])
    assert levels.t.tolist() == [1000, 500, 0] and levels.alpha.tolist() == [0, 0.5, 1]
