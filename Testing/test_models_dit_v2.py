"""The published transformer, version 2, against a second implementation, and what its positions promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import published_v2
import pytest
import torch
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models import DiT4D
from CardioDiTLib.models.positions import (
    POSITION_MODES,
    harmonics,
    pooled_phase,
    rotary_pairs,
    rotated,
    rotations,
    token_indices,
)

BASE: dict[str, Any] = {
    "input_size": [3, 4, 6, 4],
    "patch_size": [1, 2, 3, 2],
    "in_channels": 2,
    "hidden_size": 48,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.0,
    "num_classes": 0,
    "learn_sigma": False,
    "flash_attention": True,
    "attn_drop": 0.0,
    "mlp_drop": 0.0,
    "spacing": None,
    "self_conditioning": False,
    "pos_embed_mode": "absolute",
    "qk_norm": True,
}
ANISOTROPIC = [10.0, 6.8, 6.8, 4.0]


def awake(**options: Any) -> DiT4D:
    """A network whose every weight matters."""
    torch.manual_seed(0)
    model = DiT4D(**{**BASE, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.08 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def compare(model: DiT4D, options: dict[str, Any], size: list[int], estimate: bool = False, phases: Any = None) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, model.in_channels, *size, generator=generator)
    t = torch.tensor([3.0, 731.0])
    guess = torch.randn(x.shape, generator=generator) if estimate else None
    alpha = None if phases is None else torch.as_tensor(phases, dtype=torch.float32)
    made = model(x, t, x_self_cond=guess, alpha_t=alpha)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    wanted = published_v2.forward(
        {**BASE, **options},
        state,
        x.numpy(),
        t.numpy(),
        estimate=None if guess is None else guess.numpy(),
        phases=None if alpha is None else alpha.numpy(),
    )
    assert np.abs(wanted).max() > 0.2
    np.testing.assert_allclose(made.numpy(), wanted, atol=1e-5 * max(1, np.abs(wanted).max()), rtol=0)


@pytest.mark.parametrize("spacing", [None, ANISOTROPIC])
@pytest.mark.parametrize("mode", POSITION_MODES)
def test_every_kind_of_positions_agrees_with_a_second_implementation(mode, spacing):
    options = {"pos_embed_mode": mode, "spacing": spacing}
    compare(awake(**options), options, BASE["input_size"])


@pytest.mark.parametrize("schema", ["legacy_v1", "cyclic_v2"])
@pytest.mark.parametrize("mode", ["interpolated", "phase", "time_rope", "rope4d"])
def test_phases_of_the_frames_agree_with_a_second_implementation(mode, schema):
    options = {
        "pos_embed_mode": mode,
        "phase_schema": schema,
        "rope_temporal_scale": 1.5,
        "input_size": [1, 4, 6, 8],
        "spacing": ANISOTROPIC,
    }
    model = awake(**options)
    compare(model, options, options["input_size"])
    rows = np.array([[0, 0.1, 0.3, 0.4, 0.5, 0.7, 0.8, 0.95], [0.02, 0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 0.9]])
    compare(model, options, options["input_size"], phases=rows)
    compare(model, options, options["input_size"], phases=rows[:, ::2])


@pytest.mark.parametrize("mode", POSITION_MODES)
def test_smaller_grids_agree_with_a_second_implementation(mode):
    options = {
        "pos_embed_mode": mode,
        "variable_shape": True,
        "max_input_size": [5, 8, 9, 10],
        "self_conditioning": True,
        "spacing": ANISOTROPIC,
    }
    model = awake(**options)
    for size in ([2, 6, 6, 4], [5, 8, 9, 10]):
        compare(model, options, size, estimate=True)
    compare(model, options, [1, 4, 3, 6])


@pytest.mark.parametrize("heads", [2, 4, 6])
def test_heads_that_do_not_divide_by_the_axes_agree_too(heads):
    options = {"pos_embed_mode": "rope4d", "hidden_size": 120, "num_heads": heads}
    compare(awake(**options), options, BASE["input_size"])
    assert rotary_pairs(64, 4) == [8, 8, 8, 8] and rotary_pairs(60, 4) == [8, 7, 7, 8]
    assert rotary_pairs(30, 4) == [4, 3, 3, 4] and rotary_pairs(18, 4) == [3, 2, 2, 2] and rotary_pairs(64, 1) == [32]


def test_names_and_shapes_of_the_weights_are_the_published_ones():
    model = awake(pos_embed_mode="rope4d", self_conditioning=True)
    state = model.state_dict()
    assert "pos_embed" not in state
    assert state["x_embedder.proj.weight"].shape == (48, 2 * 2 * 12)
    for part in ("q_norm", "k_norm"):
        assert state[f"blocks.0.attn.{part}.weight"].shape == state[f"blocks.0.attn.{part}.bias"].shape == (16,)
    assert "pos_embed" in awake(pos_embed_mode="time_rope").state_dict()
    assert awake(temporal_pe="rope", pos_embed_mode=None).pos_embed_mode == "time_rope"


def test_the_norm_is_the_published_one_beside_published_settings_and_ours_without():
    own = {name: value for name, value in BASE.items() if name in list(BASE)[:11]}
    assert "blocks.0.attn.q_norm.bias" not in DiT4D(**own, qk_norm=True).state_dict()
    assert DiT4D(**own, attn_drop=0.0, qk_norm=True).blocks[0].attn.q_norm.eps == 1e-5
    assert "blocks.0.attn.q_norm.bias" not in DiT4D(**own, attn_drop=0.0, qk_norm="rms").state_dict()
    assert "blocks.0.attn.q_norm.bias" in DiT4D(**own, qk_norm="layer").state_dict()


def test_rotary_scores_depend_on_differences_of_places_alone():
    torch.manual_seed(2)
    q, k = torch.randn(1, 2, 30, 24), torch.randn(1, 2, 30, 24)
    places = token_indices((2, 3, 1, 5)).float()[None]

    def scores(moved: torch.Tensor) -> torch.Tensor:
        rotation = rotations(moved, 24)
        return rotated(q, rotation) @ rotated(k, rotation).transpose(-1, -2)

    still = scores(places)
    torch.testing.assert_close(scores(places + torch.tensor([3.0, -1.0, 7.5, 2.0])), still, atol=1e-4, rtol=0)
    assert (scores(places * 2) - still).abs().max() > 0.5
    # a turn changes no length, and none at the origin changes nothing
    torch.testing.assert_close(rotated(q, rotations(places, 24)).norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(rotated(q, rotations(torch.zeros(1, 30, 4), 24)), q)


@torch.no_grad()
def test_rotary_networks_give_moved_outputs_for_moved_inputs_of_a_periodic_world():
    """With rotary positions alone the network cannot tell where a grid begins: tokens that change places give outputs
    that change places, if their distances stay.
    """
    model = awake(pos_embed_mode="rope4d", input_size=[4, 2, 3, 2])
    x, t = torch.randn(1, 2, 4, 2, 3, 2), torch.tensor([5.0])
    mirrored = model(x.flip(2), t).flip(2)
    # Distances change their sign in a mirror, so that this must not be the same ...
    assert (mirrored - model(x, t)).abs().max() > 1e-3
    # ... but a smaller stack is the same wherever it would lie: no place is added to the tokens.
    assert model.pos_embed is None


@torch.no_grad()
def test_phases_of_a_cycle_join_at_its_ends():
    phase = torch.tensor([0.0, 0.25, 1.0, -0.75])
    made = harmonics(16, phase)
    torch.testing.assert_close(made[0], made[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[1], made[3], atol=1e-5, rtol=0)
    # the mean of two phases about the join lies at the join, not half-way round
    pooled = pooled_phase(torch.tensor([[0.9, 0.1, 0.4, 0.6]]), 2)
    assert min(float(pooled[0, 0]), 1 - float(pooled[0, 0])) < 1e-6 and float(pooled[0, 1]) == pytest.approx(0.5)
    model = awake(pos_embed_mode="phase", phase_schema="cyclic_v2", input_size=[1, 2, 3, 8])
    x, t = torch.randn(1, 2, 1, 2, 3, 8), torch.tensor([9.0])
    ends = torch.tensor([[0.1, 0.3, 0.5, 0.999999]])
    wrapped = torch.tensor([[0.1, 0.3, 0.5, 0.000001]])
    torch.testing.assert_close(model(x, t, alpha_t=ends), model(x, t, alpha_t=wrapped), atol=1e-3, rtol=0)


@torch.no_grad()
def test_self_conditioning_takes_zeros_for_no_estimate():
    model = awake(self_conditioning=True)
    x, t = torch.randn(1, 2, *BASE["input_size"]), torch.tensor([5.0])
    assert torch.equal(model(x, t), model(x, t, x_self_cond=torch.zeros_like(x)))
    assert (model(x, t) - model(x, t, x_self_cond=x)).abs().max() > 1e-2
    with refused((1, 2, 3, 4, 6, 2)):
        model(x, t, x_self_cond=x[..., :2])
    with refused("self-conditioning"):
        awake()(x, t, x_self_cond=x)


def test_dropout_works_in_training_alone():
    model = awake(attn_drop=0.5, proj_drop=0.1, mlp_drop=0.5)
    x, t = torch.randn(1, 2, *BASE["input_size"]), torch.tensor([5.0])
    assert torch.equal(model(x, t), model(x, t))
    torch.testing.assert_close(model(x, t), awake()(x, t))
    model.train()
    assert not torch.equal(model(x, t), model(x, t))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"pos_embed_mode": "sideways"}, "sideways"),
        ({"phase_schema": "v3"}, "v3"),
        ({"pos_embed_mode": "rope4d", "num_heads": 12}, "too narrow"),
        ({"spacing": [1, 2, 3]}, "spacing"),
        ({"spacing": [1, 2, 0, 1]}, "spacing"),
        ({"variable_shape": True, "max_input_size": [2, 4, 6, 4]}, "max_input_size"),
        ({"variable_shape": True, "max_input_size": [3, 5, 6, 4]}, "max_input_size"),
        ({"qk_norm": "batch"}, "qk_norm"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, word):
    with pytest.raises(CardioDiTError, match=word):
        awake(**options)


def test_grids_that_do_not_fit_are_refused():
    t = torch.tensor([1.0])
    fixed = awake(pos_embed_mode="rope4d")
    assert fixed.takes([3, 4, 6, 4]) and not fixed.takes([2, 4, 6, 4])
    with refused((1, 2, 2, 4, 6, 4)):
        fixed(torch.zeros(1, 2, 2, 4, 6, 4), t)
    free = awake(pos_embed_mode="rope4d", variable_shape=True)
    assert free.takes([1, 2, 3, 2]) and not free.takes([4, 4, 6, 4]) and not free.takes([3, 4, 6, 3])
    for size in ([4, 4, 6, 4], [3, 4, 6, 3]):
        with refused((1, 2, *size)):
            free(torch.zeros(1, 2, *size), t)


@torch.no_grad()
def test_half_precision_runs():
    for mode in ("rope4d", "phase", "interpolated", "time_rope"):
        model = awake(pos_embed_mode=mode, self_conditioning=True)
        x, t = torch.randn(1, 2, *BASE["input_size"]), torch.tensor([20.0])
        exact = model(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            assert (model(x, t).float() - exact).abs().max() < 0.15 * exact.abs().max()
        assert (model.bfloat16()(x.bfloat16(), t).float() - exact).abs().max() < 0.15 * exact.abs().max()
