"""The refiner: begins as the image it is given, sees the cycle as a circle and the stack as one with ends."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from CardioDiTLib.models.refiner import CineRefiner, Mixed


def small(**settings) -> CineRefiner:
    torch.manual_seed(0)
    return CineRefiner((3, 4, 4, 2), 4, (32, 32, 8), widths=(8, 8, 16), depths=(1, 1, 1), **settings).eval()


def stirred(network: CineRefiner) -> CineRefiner:
    """Weights that begin at zero would hide what is looked at here."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, 32, 32, 8, generator=generator) * 2 - 1
    return image, torch.randn(1, 4, 3, 4, 4, 2, generator=generator)


def test_untrained_it_gives_the_image_back():
    image, latents = inputs()
    refined, logits = small()(image, latents)
    torch.testing.assert_close(refined, image)
    assert logits is not None and logits.shape == (1, 4, 3, 32, 32, 8)
    assert small(classes=0)(image, latents)[1] is None
    torch.testing.assert_close(stirred(small(picture=False))(image, latents)[0], image)


@torch.no_grad()
def test_a_beat_that_begins_elsewhere_is_the_same_beat():
    network = stirred(small())
    image, latents = inputs()
    whole, logits = network(image, latents)
    rolled, rolled_logits = network(image.roll(4, -1), latents.roll(1, -1))
    torch.testing.assert_close(rolled, whole.roll(4, -1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rolled_logits, logits.roll(4, -1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_slices_hear_of_their_neighbours_and_know_their_place():
    network = stirred(small())
    image, latents = inputs()
    changed = latents.clone()
    changed[:, :, 2] += 1
    before, after = network(image, latents)[0], network(image, changed)[0]
    assert not torch.allclose(before[:, 1], after[:, 1]) and torch.allclose(before[:, 0], after[:, 0], atol=1e-6)
    same = latents[:, :, :1].expand(-1, -1, 3, -1, -1, -1)
    first = network(image[:, :1], same[:, :, :1], 0)[0]
    last = network(image[:, :1], same[:, :, :1], 2)[0]
    assert not torch.allclose(first, last)


def test_sizes_that_do_not_fit_are_refused():
    with refused((24, 24, 8), (3, 4, 4, 2)):
        CineRefiner((3, 4, 4, 2), 4, (24, 24, 8))


@torch.inference_mode()
def test_neighbours_are_seen_as_when_they_lie_side_by_side():
    """The convolutions along beat and stack against planes rolled and put beside each other."""
    torch.manual_seed(0)
    stack, width = (2, 3, 4), 8
    block = Mixed(width, "both").eval()
    torch.nn.init.normal_(block.out.weight)
    x = torch.randn(math.prod(stack), width, 6, 5)

    def beside(y: torch.Tensor, axis: int) -> torch.Tensor:
        planes = y.unflatten(0, stack)
        before, behind = planes.roll(1, axis), planes.roll(-1, axis)
        if axis == 1:
            before[:, 0], behind[:, -1] = 0, 0
        return torch.cat([before, planes, behind], dim=3).flatten(0, 2)

    y = F.silu(block.plane(x))
    y = F.silu(block.time(beside(y, 2)))
    y = F.silu(block.slices(beside(y, 1)))
    torch.testing.assert_close(block(x, stack), x + block.out(y), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("picture", [True, False])
def test_named_tissues_are_the_most_likely_ones(picture):
    torch.manual_seed(0)
    refiner = CineRefiner((2, 4, 4, 2), 4, (32, 32, 8), widths=(8, 8, 16), depths=(1, 1, 1), picture=picture).eval()
    image, latents = torch.randn(1, 2, 32, 32, 8), torch.randn(1, 4, 2, 4, 4, 2)
    refined, logits = refiner(image, latents)
    same, tissues = refiner.named(image, latents)
    assert torch.equal(same, refined)
    assert tissues.dtype == torch.uint8
    assert torch.equal(tissues.long(), logits.argmax(1))
