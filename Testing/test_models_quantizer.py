"""The codebook: exact nearest codes, moving averages, the same on every rank."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from CardioDiTLib.models import quantizer as module
from CardioDiTLib.models.quantizer import EMAQuantizer, nearest_code


def brute_force(points: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return (points.double()[:, None] - codes.double()[None]).square().sum(-1).argmin(1)


@pytest.mark.parametrize("search", [module._nearest_by_tree, module._nearest_by_table])
@pytest.mark.parametrize("dimensions", [1, 4, 8])
def test_nearest_code_is_exact(search, dimensions):
    generator = torch.Generator().manual_seed(dimensions)
    points = torch.randn(700, dimensions, generator=generator)
    codes = torch.randn(333, dimensions, generator=generator)
    assert torch.equal(search(points, codes), brute_force(points, codes))


@pytest.mark.parametrize("search", [module._nearest_by_tree, module._nearest_by_table])
def test_nearest_code_is_exact_far_from_the_origin(search):
    """In single precision |p|^2 - 2 p.c + |c|^2 would lose the difference here."""
    generator = torch.Generator().manual_seed(0)
    codes = 1000 + 0.01 * torch.randn(64, 8, generator=generator)
    points = codes[torch.randint(64, (200,), generator=generator)] + 0.001
    assert torch.equal(search(points, codes), brute_force(points, codes))


@pytest.mark.parametrize("search", [module._nearest_by_tree, module._nearest_by_table])
def test_of_equal_codes_the_lowest_index_wins(search):
    codes = torch.tensor([[5.0, 5.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert search(torch.tensor([[0.9, 0.1], [0.0, 0.9]]), codes).tolist() == [1, 2]


def test_large_tables_take_the_tree_and_small_ones_do_not(monkeypatch):
    calls = []
    monkeypatch.setattr(module, "_nearest_by_tree", lambda points, codes: calls.append("tree") or points[:, 0].long())
    monkeypatch.setattr(module, "_nearest_by_table", lambda points, codes: calls.append("table") or points[:, 0].long())
    nearest_code(torch.zeros(2000, 8), torch.zeros(2000, 8))
    nearest_code(torch.zeros(2000, 32), torch.zeros(2000, 32))
    nearest_code(torch.zeros(10, 8), torch.zeros(10, 8))
    assert calls == ["tree", "table", "table"]


def test_table_is_cut_into_pieces_of_bounded_size(monkeypatch):
    points, codes = torch.randn(50, 3), torch.randn(20, 3)
    whole = module._nearest_by_table(points, codes)
    largest = []
    addmm = torch.addmm
    monkeypatch.setattr(module, "_TABLE_ENTRIES", 100)
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: largest.append((r := addmm(*a, **k)).numel()) or r)
    assert torch.equal(module._nearest_by_table(points, codes), whole)
    assert max(largest) <= 100 and len(largest) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from the resource module")
def test_a_published_slice_needs_little_memory():
    """32,768 positions x 16,384 codes: the full table would be 2 GiB in single precision."""
    points, codes = torch.randn(32768, 8), torch.randn(16384, 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Latents near codes, as an encoder makes them, are found fast.
    chosen = torch.arange(32768) % 16384
    found = nearest_code(codes[chosen] + 1e-4 * points, codes)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (found == chosen).float().mean() > 0.999
    assert grown_mib < 200


def test_not_finite_latents_are_refused():
    quantizer = EMAQuantizer(4, 2)
    before = quantizer.embedding.weight.clone()
    with refused("finite"):
        quantizer(torch.tensor([[float("nan"), 0.0]]))
    assert torch.equal(quantizer.embedding.weight, before)


def test_wrong_number_of_channels_is_refused():
    with refused(2, (1, 3, 4)):
        EMAQuantizer(4, 2)(torch.zeros(1, 3, 4))


@pytest.mark.parametrize("spatial", [(5,), (3, 4), (3, 4, 2), (2, 3, 4, 2)])
def test_layout_for_any_number_of_axes(spatial):
    quantizer = EMAQuantizer(16, 4).eval()
    z = torch.randn(2, 4, *spatial)
    codes, _, indices = quantizer(z)
    assert codes.shape == z.shape and indices.shape == (2, *spatial)
    assert torch.equal(codes.movedim(1, -1), quantizer.embedding.weight[indices])
    assert torch.equal(quantizer.embed(quantizer.quantize(z)), codes)


def test_autocast_does_not_change_the_codes():
    quantizer = EMAQuantizer(512, 8).eval()
    z = torch.randn(1, 8, 16, 16, 4)
    plain, plain_loss, plain_indices = quantizer(z)
    with torch.autocast("cpu", torch.bfloat16):
        codes, loss, indices = quantizer(z)
    assert torch.equal(indices, plain_indices) and torch.equal(codes, plain) and torch.equal(loss, plain_loss)
    assert codes.dtype == torch.float32


def test_moving_averages_equal_a_one_hot_reference():
    torch.manual_seed(0)
    decay, epsilon, k, c = 0.9, 1e-5, 12, 3
    quantizer = EMAQuantizer(k, c, decay=decay, epsilon=epsilon).train()
    weight = quantizer.embedding.weight.clone()
    sizes, sums = torch.zeros(k), weight.clone()
    for _ in range(4):
        z = torch.randn(2, c, 4, 4, 2)
        flat = z.movedim(1, -1).reshape(-1, c)
        one_hot = F.one_hot(brute_force(flat, weight), k).float()
        codes, loss, indices = quantizer(z)
        assert torch.equal(indices.flatten(), one_hot.argmax(1))
        torch.testing.assert_close(loss, 0.25 * F.mse_loss(weight[indices].movedim(-1, 1), z))
        torch.testing.assert_close(codes, weight[indices].movedim(-1, 1))
        sizes = decay * sizes + (1 - decay) * one_hot.sum(0)
        sums = decay * sums + (1 - decay) * one_hot.T @ flat
        total = sizes.sum()
        weight = sums / ((sizes + epsilon) / (total + k * epsilon) * total)[:, None]
        torch.testing.assert_close(quantizer.ema_cluster_size, sizes)
        torch.testing.assert_close(quantizer.ema_w, sums)
        torch.testing.assert_close(quantizer.embedding.weight, weight)


def test_the_codebook_rests_in_evaluation_mode_and_gets_no_gradient():
    quantizer = EMAQuantizer(8, 4)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer.eval()
    z = torch.randn(1, 4, 6, requires_grad=True)
    codes, _, _ = quantizer(z)
    (codes * torch.arange(6.0)).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())
    assert not quantizer.embedding.weight.requires_grad
    # Straight through: the gradient of the codes is the gradient of z.
    assert torch.equal(z.grad, torch.arange(6.0).expand(1, 4, 6))
    z.grad = None
    quantizer(z)[1].backward()
    nearest = quantizer.embed(quantizer.quantize(z))
    torch.testing.assert_close(z.grad, 0.25 * 2 * (z.detach() - nearest) / z.numel())


def test_dead_codes_are_revived_by_encoder_outputs_only_when_asked():
    torch.manual_seed(0)
    codes = torch.cat([torch.zeros(1, 2), 100 + torch.arange(14.0).reshape(7, 2)])
    z = 0.1 * torch.randn(1, 2, 64)
    for threshold, used in ((0.0, 1), (0.1, 2)):
        quantizer = EMAQuantizer(8, 2, dead_code_threshold=threshold).train()
        quantizer.embedding.weight.copy_(codes)
        quantizer.ema_w.copy_(codes)
        quantizer(z)
        for _ in range(3):
            _, _, indices = quantizer(z)
        assert (indices.unique().numel() >= used) and ((threshold > 0) == (indices.unique().numel() > 1))
    assert quantizer.embedding.weight.abs().max() < 1


def _one_rank(rank: int, folder: str) -> None:
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    quantizer = EMAQuantizer(32, 4, dead_code_threshold=0.5).train()
    torch.manual_seed(100 + rank)
    data = [torch.randn(1, 4, 40) for _ in range(5)]
    for z in data:
        quantizer(z)
    torch.save({"state": quantizer.state_dict(), "data": data}, f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()


def test_two_ranks_keep_one_codebook(tmp_path: Path):
    torch.multiprocessing.spawn(_one_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert not torch.equal(first["data"][0], second["data"][0])
    for key, value in first["state"].items():
        assert torch.equal(value, second["state"][key]), key
    torch.manual_seed(0)
    assert not torch.equal(first["state"]["embedding.weight"], EMAQuantizer(32, 4).embedding.weight)


def test_unknown_initialisation_is_refused():
    with refused("zeros", "kaiming_uniform"):
        EMAQuantizer(4, 2, embedding_init="zeros")


def test_a_tree_that_was_kept_follows_its_codes():
    generator = torch.Generator().manual_seed(1)
    points, codes = torch.randn(50, 4, generator=generator), torch.randn(40, 4, generator=generator)
    for _ in range(2):
        assert torch.equal(module._nearest_by_tree(points, codes), brute_force(points, codes))
        codes.mul_(-1)
