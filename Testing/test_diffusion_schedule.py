"""The noise schedule: its table, mixing, times between the table's, configuration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from refusals import refused

from CardioDiTLib.diffusion import CLEAN, NoiseSchedule
from CardioDiTLib.errors import CardioDiTError


@pytest.fixture(scope="module")
def oracle(test_data):
    with np.load(test_data / "dit_tiny.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in ("x", "noise", "t", "alphas_cumprod", "noisy", "velocity")}


@pytest.fixture(scope="module")
def schedule():
    return NoiseSchedule("cosine", 300)


def test_cosine_table_is_the_published_one(schedule, oracle):
    table = schedule.alphas_cumprod
    assert table.dtype == torch.float64
    # the oracle's table is float32, so it cannot agree better than that
    torch.testing.assert_close(table, oracle["alphas_cumprod"].double(), rtol=0, atol=3e-7)


def test_cosine_table_follows_its_formula_to_the_last_digits():
    n, product = 40, 1.0

    def bar(x: float) -> float:
        return math.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2

    table = NoiseSchedule("cosine", n).alphas_cumprod.tolist()
    for i in range(n):
        product *= 1 - min(1 - bar((i + 1) / n) / bar(i / n), 0.9999)
        assert table[i] == pytest.approx(product, rel=1e-13)
    assert table[-1] / table[-2] == pytest.approx(1e-4, rel=1e-9)  # the last beta is clipped at 0.9999


def test_add_noise_and_velocity_are_the_published_ones(schedule, oracle):
    x, noise, t = oracle["x"], oracle["noise"], oracle["t"]
    torch.testing.assert_close(schedule.add_noise(x, noise, t), oracle["noisy"], rtol=0, atol=1e-5)
    torch.testing.assert_close(schedule.velocity(x, noise, t), oracle["velocity"], rtol=0, atol=1e-5)


def test_add_noise_and_velocity_with_the_oracles_own_float32_table(oracle):
    # the remaining difference to the published numbers comes from their float32 table alone
    alpha_squared = oracle["alphas_cumprod"][oracle["t"]].reshape(-1, 1, 1, 1, 1, 1)
    noisy = alpha_squared.sqrt() * oracle["x"] + (1 - alpha_squared).sqrt() * oracle["noise"]
    torch.testing.assert_close(noisy, oracle["noisy"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_input_keeps_its_dtype_and_table_keeps_float64(schedule, dtype):
    before = schedule.alphas_cumprod
    x, noise = torch.randn(2, 3, 4).to(dtype), torch.randn(2, 3, 4).to(dtype)
    noisy = schedule.add_noise(x, noise, torch.tensor([0, 299]))
    assert noisy.dtype == dtype
    assert schedule.velocity(x, noise, 7).dtype == dtype
    assert schedule.alphas_cumprod.dtype == torch.float64
    assert torch.equal(schedule.alphas_cumprod, before)


def test_table_cannot_be_changed_from_outside(schedule):
    schedule.alphas_cumprod.zero_()
    assert schedule.alphas_cumprod.min() > 0
    with pytest.raises(ValueError):
        schedule._alpha_squared[0] = 0.0


def test_velocity_gives_back_the_image(schedule):
    x0, noise = torch.randn(2, 8, 3, 4, 4, 2, dtype=torch.float64), torch.randn(2, 8, 3, 4, 4, 2, dtype=torch.float64)
    t = torch.tensor([3.25, 298.5])
    x, v = schedule.add_noise(x0, noise, t), schedule.velocity(x0, noise, t)
    torch.testing.assert_close(schedule.x0_from_velocity(x, v, t), x0)


@pytest.mark.parametrize("shape", [(2,), (2, 5), (2, 1, 3, 3), (2, 4, 2, 4, 4, 3), (2, 1, 1, 1, 1, 1, 1)])
def test_any_rank(schedule, shape):
    x, noise = torch.ones(shape), torch.zeros(shape)
    noisy = schedule.add_noise(x, noise, torch.tensor([0, 200]))
    expected = schedule.alpha_sigma(torch.tensor([0, 200]))[0].float()
    assert torch.equal(noisy.reshape(2, -1)[:, 0], expected)


def test_whole_times_give_the_table_bit_for_bit(schedule):
    alpha, sigma = schedule.alpha_sigma(torch.arange(300))
    table = schedule.alphas_cumprod
    assert torch.equal(alpha, table.sqrt())
    assert torch.equal(sigma, (1 - table).sqrt())
    assert [float(c) for c in schedule.alpha_sigma(17)] == [float(alpha[17]), float(sigma[17])]


def test_the_clean_end_has_no_noise(schedule):
    alpha, sigma = schedule.alpha_sigma(CLEAN)
    assert (float(alpha), float(sigma)) == (1.0, 0.0)
    assert float(schedule.log_snr(CLEAN)) == math.inf


def test_times_between_the_tables_lie_on_the_cosine(schedule):
    # linear in log-SNR is as good as the formula where the curve is smooth
    t = torch.linspace(20, 280, 1001, dtype=torch.float64)
    bar = torch.cos(((t + 1) / 300 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(schedule.alpha_sigma(t)[0] ** 2, bar, rtol=2e-3, atol=1e-6)


def test_log_snr_falls_and_is_undone(schedule):
    t = torch.cat(
        [torch.linspace(-0.999, 0, 50, dtype=torch.float64), torch.linspace(0.001, 299, 2000, dtype=torch.float64)]
    )
    log_snr = schedule.log_snr(t)
    assert (log_snr.diff() < 0).all()
    torch.testing.assert_close(schedule.t_of_log_snr(log_snr), t, rtol=0, atol=1e-9)
    alpha, sigma = schedule.alpha_sigma(t)
    torch.testing.assert_close(log_snr, (alpha**2 / sigma**2).log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))


def test_log_snr_beyond_the_noisiest_is_the_noisiest_time(schedule):
    assert float(schedule.t_of_log_snr(-100.0)) == 299
    assert float(schedule.t_of_log_snr(math.inf)) == CLEAN


@pytest.mark.parametrize("t", [-1.01, 299.01, 300, math.nan])
def test_times_outside_are_refused(schedule, t):
    with refused(-1, 299):
        schedule.alpha_sigma(t)


def test_configuration_round_trip():
    config = {"name": "cosine", "num_train_timesteps": 100, "continuous": True, "log_snr_range": [-6.0, 5.0]}
    schedule = NoiseSchedule.from_config(config)
    again = NoiseSchedule.from_config(schedule.to_config())
    assert again == schedule
    assert torch.equal(again.alphas_cumprod, schedule.alphas_cumprod)
    assert schedule.to_config()["log_snr_range"] == [-6.0, 5.0]
    assert schedule.log_snr_ends == (-6.0, 5.0)


def test_published_key_schedule_is_understood():
    assert NoiseSchedule.from_config({"schedule": "cosine", "num_train_timesteps": 300}) == NoiseSchedule("cosine", 300)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"name": "cosin"}, "cosin"),
        ({"name": "cosine", "clip_sample": True}, "clip_sample"),
        ({"num_train_timesteps": 1}, "too short"),
        ({"num_train_timesteps": 2.5}, "2.5"),
        ({"prediction_type": "u"}, "prediction type"),
        ({"log_snr_range": [5.0, -5.0]}, "log-SNR range"),
        ({"name": "linear_beta", "beta_end": 1.5}, "betas"),
    ],
)
def test_bad_configurations_are_refused(config, word):
    with pytest.raises(CardioDiTError, match=word):
        NoiseSchedule.from_config(config)


def test_bad_samples_are_refused(schedule):
    x = torch.zeros(3, 2)
    with refused((3, 2), (3, 3)):
        schedule.add_noise(x, torch.zeros(3, 3), 0)
    with refused((2,), (3, 2)):
        schedule.add_noise(x, x, torch.tensor([1, 2]))
    with refused("torch.int64"):
        schedule.add_noise(x.long(), x.long(), 0)


@pytest.mark.parametrize("name", ["linear_beta", "scaled_linear_beta"])
def test_linear_tables_are_monais(name):
    schedulers = pytest.importorskip("monai.networks.schedulers")
    theirs = schedulers.DDPMScheduler(num_train_timesteps=120, schedule=name, beta_start=1e-3, beta_end=0.05)
    ours = NoiseSchedule(name, 120, beta_start=1e-3, beta_end=0.05)
    torch.testing.assert_close(ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-7)
