"""Step spacings: which times are visited."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.diffusion import DEFAULT_SPACING, SAMPLERS, SPACINGS, NoiseLevels, NoiseSchedule, noise_levels
from CardioDiTLib.errors import CardioDiTError

PUBLISHED = NoiseSchedule("cosine", 300)
CONTINUOUS = NoiseSchedule("cosine", 300, continuous=True, log_snr_range=(-7.0, 5.0))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_as_many_steps_as_times_are_all_times(spacing):
    assert noise_levels(PUBLISHED, 300, spacing).t.tolist() == [*range(299, -1, -1), -1]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_number_of_steps_falls_through_whole_times_from_noise_to_clean(spacing):
    for steps in range(1, 301):
        levels = noise_levels(PUBLISHED, steps, spacing)
        assert len(levels) == steps
        assert levels.t[0] == 299 and levels.t[-1] == -1
        assert np.array_equal(levels.t, np.rint(levels.t)) and (np.diff(levels.t) < 0).all()
        assert np.array_equal(levels.alpha[:-1] ** 2, PUBLISHED.alpha_sigma(levels.t[:-1])[0].numpy() ** 2)
        assert (levels.alpha[-1], levels.sigma[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 30, 299, 300, 301, 1000])
def test_continuous_models_take_any_number_within_their_range(spacing, steps):
    levels = noise_levels(CONTINUOUS, steps, spacing)
    log_snr = CONTINUOUS.log_snr(levels.t[:-1]).numpy()
    assert len(levels) == steps
    assert log_snr[0] == pytest.approx(-7.0)
    assert (log_snr >= -7.0 - 1e-9).all() and (log_snr <= 5.0 + 1e-9).all()


def test_linear_is_even_in_time():
    assert noise_levels(PUBLISHED, 4, "linear").t.tolist() == [299, 224, 149, 74, -1]


def test_log_snr_is_even_in_log_snr():
    levels = noise_levels(CONTINUOUS, 13, "log_snr")
    np.testing.assert_allclose(CONTINUOUS.log_snr(levels.t[:-1]).numpy(), np.linspace(-7, 5, 13), atol=1e-9)


def test_angles_are_even():
    # undo the definition: the turned angle of each step is the same, up to the limit of the model's clean end
    levels = noise_levels(NoiseSchedule("cosine", 300, continuous=True), 10, "angle")
    psi = np.arctan((levels.sigma / levels.alpha / 0.4) ** (1 / 1.5))
    np.testing.assert_allclose(np.diff(psi)[1:], psi[-2] * -1, rtol=1e-6)


def test_whole_times_keep_to_a_trained_range():
    levels = noise_levels(NoiseSchedule("cosine", 300, log_snr_range=(-7.0, 5.0)), 50, "wide_angle")
    log_snr = PUBLISHED.log_snr(levels.t[:-1])
    assert float(log_snr.min()) >= -7 and float(log_snr.max()) <= 5


def test_every_sampler_has_a_default_spacing():
    assert set(DEFAULT_SPACING) == set(SAMPLERS)
    assert set(DEFAULT_SPACING.values()) <= set(SPACINGS)


@pytest.mark.parametrize("steps", [0, -3, 2.5, 301, True])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(CardioDiTError, match="steps"):
        noise_levels(PUBLISHED, steps)


def test_unknown_spacing_is_refused():
    with pytest.raises(CardioDiTError, match="quadratic"):
        noise_levels(PUBLISHED, 10, "quadratic")


@pytest.mark.parametrize("t", [[], [10, 20], [10, 10], [300, 2]])
def test_levels_that_do_not_fall_are_refused(t):
    with pytest.raises(CardioDiTError):
        NoiseLevels.at(PUBLISHED, t)
