"""What the transformer over a whole heart is compared with: who may learn of whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from refusals import refused

from CardioDiTLib.models.baselines import BASELINES, ChannelDiT, SliceDiT, baseline_network
from CardioDiTLib.models.dit import DiT4D

PARAMS: dict[str, Any] = {
    "input_size": [3, 4, 4, 4],
    "patch_size": [1, 2, 2, 1],
    "in_channels": 2,
    "hidden_size": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 2,
    "class_dropout_prob": 0.2,
    "num_conditions": 1,
    "qk_norm": "rms",
}


def network(name: str, **changes: Any) -> DiT4D:
    torch.manual_seed(0)
    model = baseline_network(name, {**PARAMS, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def influence(model: DiT4D) -> torch.Tensor:
    """(Z, T) largest change of the output when slice 1, frame 2 of the input changes."""
    torch.manual_seed(1)
    x, t, y = torch.randn(1, 2, 3, 4, 4, 4), torch.tensor([20.0]), torch.tensor([1])
    other = x.clone()
    other[:, :, 1, :, :, 2] += 1
    with torch.no_grad():
        apart = (model(other, t, y) - model(x, t, y)).abs()
    return apart.amax((0, 1, 3, 4))


def test_who_learns_of_whom():
    assert (influence(network("full4d")) > 1e-4).all()
    assert (influence(network("channel3dt")) > 1e-4).all()
    alone = influence(network("slice2dt"))
    assert (alone[1] > 1e-4).all() and (alone[[0, 2]] == 0).all()
    # a block over space, then one over time: all are reached; a block over space alone keeps to its frame
    assert (influence(network("factorised")) > 1e-4).all()
    first = influence(network("factorised", depth=1))
    assert (first[:, 2] > 1e-4).all() and (first[:, [0, 1, 3]] == 0).all()


@torch.no_grad()
def test_factorised_blocks_are_attention_within_frames_and_within_places():
    model = network("factorised")
    space, time = (block.attn for block in model.blocks)
    assert (space.over, time.over) == ("space", "time")
    x = torch.randn(2, 12 * 4, 32)
    within = x.unflatten(1, (12, 4))
    frames = torch.stack([_plain(space, within[:, :, i]) for i in range(4)], 2).flatten(1, 2)
    torch.testing.assert_close(space(x, None, 4), frames)
    places = torch.stack([_plain(time, within[:, i]) for i in range(12)], 1).flatten(1, 2)
    torch.testing.assert_close(time(x, None, 4), places)


def _plain(attention: Any, x: torch.Tensor) -> torch.Tensor:
    over, attention.over = attention.over, "all"
    made = attention(x)
    attention.over = over
    return made


def test_factorised_has_the_same_weights_and_the_others_nearly_as_many():
    counts = {name: sum(p.numel() for p in network(name).parameters()) for name in BASELINES}
    assert set(network("factorised").state_dict()) == set(network("full4d").state_dict())
    assert counts["factorised"] == counts["full4d"]
    for name in ("slice2dt", "channel3dt"):
        assert counts[name] == pytest.approx(counts["full4d"], rel=0.15)


@torch.no_grad()
def test_slices_are_told_their_place_their_class_and_what_is_asked():
    model = network("slice2dt")
    assert isinstance(model, SliceDiT)
    one = torch.randn(1, 2, 1, 4, 4, 4)
    x, t = one.expand(-1, -1, 3, -1, -1, -1).contiguous(), torch.tensor([5.0])
    made = model(x, t, torch.tensor([0]))
    assert (made[:, :, 0] - made[:, :, 1]).abs().max() > 1e-3
    assert (model(x, t, torch.tensor([1])) - made).abs().max() > 1e-3
    assert (model(x, t, torch.tensor([0]), conditions=torch.tensor([[2.0]])) - made).abs().max() > 1e-3
    # every slice of every sample is in its own place
    two = torch.randn(2, 2, 3, 4, 4, 4)
    both = model(two, torch.tensor([5.0, 50.0]), torch.tensor([0, 1]))
    torch.testing.assert_close(both[1:], model(two[1:], torch.tensor([50.0]), torch.tensor([1])))


@torch.no_grad()
def test_slices_as_channels_keep_their_order():
    model = network("channel3dt", self_conditioning=True)
    assert isinstance(model, ChannelDiT) and model.in_channels == 6
    x, t = torch.randn(2, 2, 3, 4, 4, 4), torch.tensor([5.0, 7.0])
    made = model(x, t, torch.tensor([0, 1]), x_self_cond=x)
    flat = DiT4D.forward(
        model, x.reshape(2, 6, 1, 4, 4, 4), t, torch.tensor([0, 1]), x_self_cond=x.reshape(2, 6, 1, 4, 4, 4)
    )
    torch.testing.assert_close(made, flat.reshape(2, 2, 3, 4, 4, 4))


@pytest.mark.parametrize("name", BASELINES)
def test_all_are_trained_and_sampled_by_the_same_code(name):
    from test_training_v2 import MODEL, context, latents

    from CardioDiTLib.diffusion import Denoiser, FlowSchedule, dpmpp_2m, noise_levels
    from CardioDiTLib.training.dit_stage import DitStage, DitStageConfig

    torch.manual_seed(1)
    flow = {"name": "flow_matching"}
    model = {**MODEL, "self_conditioning": True}
    task = DitStage(DitStageConfig(model=model, baseline=name, schedule=flow, batch=4, lr=1e-2), latents())
    losses = [float(task.step(context())["loss"]) for _ in range(25)]
    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        denoise = Denoiser(task.average, FlowSchedule())
        made = dpmpp_2m(denoise, torch.randn(2, 3, 2, 4, 4, 2), noise_levels(FlowSchedule(), 3, "angle"))
    assert made.shape == (2, 3, 2, 4, 4, 2) and np.isfinite(made.numpy()).all()


def test_what_does_not_fit_is_refused():
    with refused("slice3d", "full4d"):
        baseline_network("slice3d", PARAMS)
    for changes in ({"patch_size": [3, 2, 2, 1]}, {"variable_shape": True}, {"learn_sigma": True}):
        with refused("patch_size"):
            network("slice2dt", **changes)
    with refused(3, (1, 2, 2, 4, 4, 4)):
        network("channel3dt")(torch.zeros(1, 2, 2, 4, 4, 4), torch.tensor([1.0]))
    with refused("sparse", "factorised"):
        network("full4d", attention="sparse")
