"""The transformer against the check data, and its own promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models import DiT4D
from CardioDiTLib.models.patches import patchify, resample_positions, sincos_positions, unpatchify

DATA = Path(__file__).parent / "data"


def small(**options) -> DiT4D:
    settings = dict(
        input_size=[2, 4, 4, 4], patch_size=[1, 2, 2, 2], in_channels=2, hidden_size=32, depth=2, num_heads=2
    )
    return DiT4D(**{**settings, **options})


def awake(model: DiT4D) -> DiT4D:
    """Give the gates, which start at zero, something to do."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", ["dit_tiny", "dit_labels_sigma"])
@torch.no_grad()
def test_agrees_with_the_published_network(name):
    arrays = {key: torch.from_numpy(value) for key, value in np.load(DATA / f"{name}.npz").items()}
    checkpoint = torch.load(DATA / f"{name}.pth", weights_only=True)
    model = DiT4D(**json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))["config"]).eval()
    torch.testing.assert_close(model.pos_embed.detach(), arrays["pos_embed"], atol=1e-6, rtol=0)
    assert list(model.state_dict()) == list(checkpoint["model"])
    trainable = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == set(checkpoint["ema"]["shadow"])

    model.load_state_dict(checkpoint["model"], strict=True)
    out = model(arrays["x"], arrays["t"], arrays.get("y"))
    torch.testing.assert_close(out, arrays["out_raw"], atol=1e-5, rtol=0)
    model.load_state_dict({**checkpoint["model"], **checkpoint["ema"]["shadow"]}, strict=True)
    out = model(arrays["x"], arrays["t"], arrays.get("y"))
    torch.testing.assert_close(out, arrays["out_ema"], atol=1e-5, rtol=0)
    assert (out - arrays["out_raw"]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("size", "patch", "channels"),
    [((2, 4, 6, 4), (1, 2, 3, 2), 3), ((4, 4, 2, 6), (2, 4, 1, 3), 1), ((1, 2, 2, 1), (1, 1, 1, 1), 5)],
)
def test_patches_are_exactly_invertible_in_both_orders(size, patch, channels):
    x = torch.randn(2, channels, *size)
    grid = [n // p for n, p in zip(size, patch)]
    tokens = patchify(x, patch)
    assert tokens.shape == (2, np.prod(grid), channels * np.prod(patch))
    # Input tokens have channels slowest, output tokens channels fastest.
    outward = tokens.reshape(*tokens.shape[:2], channels, -1).transpose(2, 3).reshape(tokens.shape)
    assert torch.equal(unpatchify(outward, patch, grid), x)
    if channels > 1 and np.prod(patch) > 1:
        assert not torch.equal(unpatchify(tokens, patch, grid), x)


def test_order_of_the_tokens_and_of_their_numbers():
    x = torch.arange(2 * 2 * 2 * 2 * 4).reshape(1, 2, 2, 2, 2, 4).float()
    tokens = patchify(x, (1, 2, 1, 2))
    # Tokens (z, h, w, t) with t fastest: the second token is the second pair of frames.
    assert torch.equal(tokens[0, 1], x[0, :, 0, :, 0, 2:4].flatten())
    assert torch.equal(tokens[0, 2], x[0, :, 0, :, 1, 0:2].flatten())


def test_positions_by_the_formula():
    grid, channels = (2, 3, 4, 5), 16
    table = sincos_positions(channels, grid).reshape(*grid, 4, channels // 4)
    n = channels // 4
    for index in [(0, 0, 0, 0), (1, 2, 3, 4), (1, 0, 2, 3)]:
        for axis, position in enumerate(index):
            rates = [position / 10000 ** (i / (n / 2)) for i in range(n // 2)]
            expected = torch.tensor([*np.sin(rates), *np.cos(rates)], dtype=torch.float32)
            torch.testing.assert_close(table[index][axis], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 1, "input_size": [3, 4, 8, 2], "patch_size": [3, 1, 4, 2]},
        {"depth": 5, "num_heads": 4, "mlp_ratio": 2},
        {"input_size": [1, 6, 4, 10], "patch_size": [1, 3, 2, 5], "hidden_size": 24, "num_heads": 3},
        {"learn_sigma": True, "num_classes": 3},
        {"qk_norm": True},
        {"qk_norm": "layer", "learned_positions": True, "num_classes": 5, "class_dropout_prob": 0.2},
    ],
)
def test_other_configurations_run_and_give_gradients_everywhere(options):
    torch.manual_seed(0)
    model = awake(small(**options)).train()
    x = torch.randn(2, 2, *model.input_size)
    y = torch.tensor([0, 2]) if model.num_classes else None
    out = model(x, torch.tensor([3, 250]), y)
    assert out.shape == (2, 4 if model.learn_sigma else 2, *model.input_size)
    out.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, name


def test_the_additions_are_off_in_published_configurations():
    names = set(small().state_dict())
    assert names < set(small(qk_norm=True).state_dict())
    assert not small().pos_embed.requires_grad
    assert small(learned_positions=True).pos_embed.requires_grad
    assert torch.equal(small(learned_positions=True).pos_embed, small().pos_embed)


def test_normalised_queries_and_keys_bound_the_logits():
    attention = small(qk_norm="rms").blocks[0].attn
    with torch.no_grad():
        attention.qkv.weight[: 2 * 32] *= 1e4
    x = torch.randn(1, 7, 32)
    q, k, _ = attention.qkv(x).reshape(1, 7, 3, 2, 16).unbind(2)
    logits = attention.q_norm(q) * attention.k_norm(k)
    assert logits.sum(-1).abs().max() <= 16 + 1e-3


@torch.no_grad()
def test_a_fresh_network_says_zero_and_starts_as_prescribed():
    model = small(num_classes=5, class_dropout_prob=0.1).eval()
    assert model(torch.randn(1, 2, 2, 4, 4, 4), torch.tensor([5])).abs().max() == 0
    big = small(hidden_size=128, num_classes=100)
    assert big.y_embedder.embedding_table.weight.std() == pytest.approx(0.02, rel=0.1)
    assert big.t_embedder.mlp[0].weight.std() == pytest.approx(0.02, rel=0.1)
    assert big.blocks[0].mlp.fc1.weight.std() == pytest.approx((2 / (128 + 512)) ** 0.5, rel=0.1)
    assert big.blocks[0].attn.qkv.bias.abs().max() == 0


@torch.no_grad()
def test_times_may_be_fractions_and_one_number():
    model = awake(small())
    x = torch.randn(2, 2, 2, 4, 4, 4)
    whole = model(x, torch.tensor([7, 7]))
    assert torch.equal(model(x, torch.tensor(7.0)), whole)
    assert torch.equal(model(x, torch.tensor([7])), whole)
    between = model(x, torch.tensor([7.5, 7.5]))
    assert 0 < (between - whole).abs().max() < (model(x, torch.tensor(100)) - whole).abs().max()


@torch.no_grad()
def test_labels_matter_and_none_means_the_null_class():
    model = awake(small(num_classes=5, class_dropout_prob=0.1))
    assert model.null_class == 5
    x, t = torch.randn(2, 2, 2, 4, 4, 4), torch.tensor([10, 200])
    none = model(x, t)
    assert torch.equal(none, model(x, t, torch.tensor([5, 5])))
    given = model(x, t, torch.tensor([0, 3]))
    assert (given - none).abs().max() > 1e-3
    dropped = model(x, t, torch.tensor([0, 3]), force_drop_ids=torch.tensor([True, False]))
    torch.testing.assert_close(dropped[0], none[0])
    torch.testing.assert_close(dropped[1], given[1])


@torch.no_grad()
def test_without_a_null_class_no_label_adds_nothing():
    model = awake(small(num_classes=5))
    assert model.null_class is None
    x, t = torch.randn(1, 2, 2, 4, 4, 4), torch.tensor([10])
    none = model(x, t)
    model.y_embedder.embedding_table.weight.add_(1.0)
    assert torch.equal(model(x, t), none)
    with refused("class_dropout_prob"):
        model(x, t, torch.tensor([1]), force_drop_ids=torch.tensor([True]))


def test_labels_are_dropped_at_the_given_rate_in_training_only():
    torch.manual_seed(0)
    embedder = small(num_classes=5, class_dropout_prob=0.15).y_embedder
    with torch.no_grad():
        embedder.embedding_table.weight.copy_(torch.arange(6.0)[:, None].expand(6, 32))
    labels = torch.arange(20000) % 5
    rows = embedder.train()(labels)[:, 0]
    dropped = rows == 5
    assert dropped.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(rows[~dropped], labels[~dropped].float())
    assert torch.equal(embedder.eval()(labels)[:, 0], labels.float())
    torch.manual_seed(3)
    again = embedder.train()(labels)
    torch.manual_seed(3)
    assert torch.equal(embedder(labels), again)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"hidden_size": 36, "num_heads": 2}, "hidden_size"),
        ({"hidden_size": 40, "num_heads": 3}, "heads"),
        ({"patch_size": [1, 3, 2, 2]}, "patch_size"),
        ({"input_size": [4, 4, 4]}, "input_size"),
        ({"patch_size": [0, 2, 2, 2]}, "patch_size"),
        ({"qk_norm": "batch"}, "qk_norm"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, word):
    with pytest.raises(CardioDiTError, match=word):
        small(**options)


def test_inputs_that_do_not_fit_are_refused():
    model = small()
    t = torch.tensor([1])
    with refused((1, 2, 2, 4, 4, 6)):
        model(torch.zeros(1, 2, 2, 4, 4, 6), t)
    with refused("classes"):
        model(torch.zeros(1, 2, 2, 4, 4, 4), t, torch.tensor([1]))
    for label in (-1, 5):
        with refused(label, 5):
            small(num_classes=5)(torch.zeros(1, 2, 2, 4, 4, 4), t, torch.tensor([label]))


@torch.no_grad()
def test_another_grid_gets_fresh_sines_and_cosines():
    model = awake(small())
    model.set_input_size([4, 8, 4, 2])
    assert model.grid == (4, 4, 2, 1)
    assert torch.equal(model.pos_embed, sincos_positions(32, (4, 4, 2, 1)))
    assert model(torch.randn(1, 2, 4, 8, 4, 2), torch.tensor([1])).shape == (1, 2, 4, 8, 4, 2)
    with pytest.raises(CardioDiTError):
        model.set_input_size([4, 7, 4, 2])


@torch.no_grad()
def test_learned_positions_follow_to_another_grid():
    model = small(learned_positions=True)
    model.pos_embed.add_(0.5)
    model.set_input_size([2, 8, 8, 4])
    torch.testing.assert_close(model.pos_embed.detach(), sincos_positions(32, (2, 4, 4, 2)) + 0.5)
    assert model.pos_embed.requires_grad
    before = torch.randn(1, 2 * 3 * 4 * 5, 8)
    assert torch.equal(resample_positions(before, (2, 3, 4, 5), (2, 3, 4, 5)), before)
    ramp = torch.arange(4.0).reshape(1, 4, 1)
    middle = resample_positions(ramp, (1, 1, 4, 1), (1, 1, 8, 1)).flatten()
    torch.testing.assert_close(middle[1:-1], torch.arange(0.25, 3, 0.5))


@torch.no_grad()
def test_bf16_runs_by_autocast_and_by_weights():
    model = awake(small(qk_norm=True))
    x, t = torch.randn(1, 2, 2, 4, 4, 4), torch.tensor([20])
    exact = model(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(x, t).float() - exact).abs().max() < 0.1 * exact.abs().max()
    low = model.bfloat16()(x.bfloat16(), t)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_importing_the_room_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, CardioDiTLib.models; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=DATA.parents[1], check=False).returncode == 0
