"""Latents to what the transformer sees, and back."""

from __future__ import annotations

import pytest
import torch

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.latent_scale import LatentScale, from_modes, time_modes, to_modes

PATCH = (2, 2, 2, 4)


@pytest.fixture(scope="module")
def latents():
    """(12, 4, 4, 6, 6, 4): smooth in time, with another mean and spread in each channel."""
    generator = torch.Generator().manual_seed(0)
    still = torch.randn(12, 4, 4, 6, 6, 1, generator=generator)
    moving = 0.2 * torch.randn(12, 4, 4, 6, 6, 4, generator=generator)
    size = torch.tensor([1.0, 2.0, 0.5, 4.0]).reshape(1, 4, 1, 1, 1, 1)
    return (still + moving) * size + torch.arange(4.0).reshape(1, 4, 1, 1, 1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"place_mean": True},
        {"modes": True},
        {"modes": True, "power": 0.5},
        {"place_mean": True, "patch": PATCH, "coordinates": 128},
    ],
    ids=str,
)
def test_way_there_and_back(latents, options):
    scale = LatentScale.fit(latents, **options)
    seen = scale.normalise(latents)
    assert seen.shape[1:] == scale.seen_shape(latents.shape[1:])
    torch.testing.assert_close(scale.restore(seen), latents, atol=1e-4, rtol=1e-4)
    assert float(seen.mean()) == pytest.approx(0, abs=0.05)
    assert float(seen.square().mean()) == pytest.approx(1, abs=0.05)


def test_each_channel_and_each_mode_has_spread_one(latents):
    seen = LatentScale.fit(latents, modes=True).normalise(latents)
    torch.testing.assert_close(seen.std(dim=(0, 2, 3, 4)), torch.ones(4, 4), atol=0.02, rtol=0)


def test_modes_are_orthonormal():
    rows = time_modes(4, torch.float64)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4, dtype=torch.float64))
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(from_modes(to_modes(x)), x)
    assert to_modes(torch.ones(4))[1:].abs().max() < 1e-6


def test_principal_components_keep_most_with_half_the_numbers(latents):
    scale = LatentScale.fit(latents, patch=PATCH, coordinates=64)
    torch.testing.assert_close(scale.basis @ scale.basis.T, torch.eye(64), atol=1e-4, rtol=0)
    back = scale.restore(scale.normalise(latents))
    lost = ((back - latents) / scale.std).square().mean() / ((latents - scale.mean) / scale.std).square().mean()
    assert 0 < float(lost) < 0.1
    # White noise stays white: the diffusion's noise levels keep their meaning.
    noise = torch.randn(50, *scale.seen_shape(latents.shape[1:]))
    full = scale.restore(noise) - scale.restore(torch.zeros_like(noise))
    seen = LatentScale(torch.zeros(1, 1, 1, 1, 1), scale.std, basis=scale.basis, patch=PATCH).normalise(full)
    torch.testing.assert_close(seen, noise, atol=1e-3, rtol=1e-3)


def test_slices_that_do_not_count_change_nothing(latents):
    spoiled = latents.clone()
    spoiled[3, :, 2:] = 1e3
    valid = torch.ones(12, 4, dtype=torch.bool)
    valid[3, 2:] = False
    for options in ({}, {"patch": PATCH, "coordinates": 32}):
        first = LatentScale.fit(latents, valid, **options)
        second = LatentScale.fit(spoiled, valid, **options)
        torch.testing.assert_close(first.std, second.std)
        if first.basis is not None:
            torch.testing.assert_close(first.basis.abs(), second.basis.abs(), atol=1e-3, rtol=1e-3)


def test_published_convention_is_one_factor():
    scale = LatentScale.published(0.25, 2)
    x = torch.randn(1, 2, 2, 2, 2, 2)
    torch.testing.assert_close(scale.normalise(x), x * 0.25)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LatentScale(torch.zeros(4), torch.ones(4)),
        lambda: LatentScale(torch.zeros(4, 1, 1, 1, 1), torch.zeros(4, 1, 1, 1, 1)),
        lambda: LatentScale(torch.zeros(4, 1, 1, 1, 1), torch.ones(4, 1, 1, 1, 1), basis=torch.eye(5), patch=PATCH),
    ],
)
def test_impossible_scales_are_refused(make):
    with pytest.raises(CardioDiTError):
        make()
