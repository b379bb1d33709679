"""Seeded noise: the same for a seed and sample number, whatever the batch."""

from __future__ import annotations

import pytest
import torch

from CardioDiTLib.diffusion import draw_noise, sample_generators
from CardioDiTLib.errors import CardioDiTError

SHAPE = (4, 2, 3, 3, 2)


def test_same_seed_same_noise():
    first, again = (draw_noise(sample_generators(7, 3), SHAPE) for _ in range(2))
    assert first.shape == (3, *SHAPE) and first.dtype == torch.float32
    assert torch.equal(first, again)


def test_batches_do_not_change_samples():
    together = sample_generators(7, 5)
    apart = [*sample_generators(7, 2), *sample_generators(7, 3, first=2)]
    for _ in range(3):  # and the streams stay together
        a = draw_noise(together, SHAPE)
        b = torch.cat([draw_noise(apart[:2], SHAPE), draw_noise(apart[2:], SHAPE)])
        assert torch.equal(a, b)


def test_seeds_and_samples_are_all_different():
    rows = torch.cat([draw_noise(sample_generators(seed, 4), SHAPE) for seed in (0, 1, 2, 2**40)]).flatten(1)
    assert (torch.cdist(rows, rows) + 100 * torch.eye(len(rows)) > 1).all()


def test_noise_is_standard_normal():
    noise = draw_noise(sample_generators(3, 20), (5000,))
    assert abs(float(noise.mean())) < 0.015
    assert float(noise.std()) == pytest.approx(1, abs=0.01)


def test_dtype_does_not_change_the_stream():
    wide = draw_noise(sample_generators(1, 1), SHAPE, dtype=torch.float64)
    assert torch.equal(wide.float(), draw_noise(sample_generators(1, 1), SHAPE))


def test_global_generator_is_left_alone():
    state = torch.get_rng_state()
    draw_noise(sample_generators(1, 2), SHAPE)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("seed", "count", "first"), [(-1, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_impossible_requests_are_refused(seed, count, first):
    with pytest.raises(CardioDiTError):
        sample_generators(seed, count, first)
