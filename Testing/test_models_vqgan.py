"""The slice codec against the check data, MONAI's own network, and its own promises."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.networks.nets.vqvae import VQVAE
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models import VQGAN
from CardioDiTLib.models.vqgan import depth_to_space, space_to_depth, wrap


def small(**options) -> VQGAN:
    settings = dict(num_channels=[4, 8], num_res_channels=4, num_res_layers=1, num_embeddings=32, embedding_dim=4)
    return VQGAN(**{**settings, **options}).eval()


@pytest.fixture(scope="module")
def oracle():
    from pathlib import Path

    stem = Path(__file__).parent / "data" / "vqgan_tiny"
    arrays = np.load(stem.with_suffix(".npz"))
    model = VQGAN(**json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))["config"])
    state = torch.load(stem.with_suffix(".pth"), weights_only=True)["model"]
    model.load_state_dict(state, strict=True)
    return model.eval(), {key: torch.from_numpy(arrays[key]) for key in arrays}, state


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_agrees_with_the_published_network(oracle):
    model, expected, state = oracle
    z = model.encode(expected["x"])
    quantized, loss, indices = model.quantize(z)
    close(z, expected["z"])
    close(quantized, expected["quantized"])
    close(loss, expected["loss"])
    assert torch.equal(indices, expected["indices"])
    recon, forward_loss, forward_indices = model(expected["x"])
    close(recon, expected["recon"])
    close(forward_loss, expected["loss"])
    assert torch.equal(forward_indices, expected["indices"])
    close(model.decode_latents(expected["z"]), expected["decoded"])
    close(model.decode(expected["quantized"]), expected["recon"])
    close(model.encode_to_latents(expected["x"]), expected["quantized"])
    assert list(model.state_dict()) == list(state)


@pytest.mark.parametrize(
    ("channels", "res", "layers", "size"),
    [([8], [4], 3, (8, 6, 4)), ([4, 8], [8, 4], 1, (16, 8, 4)), ([4, 8, 8], [4, 4, 4], 2, (16, 24, 8))],
)
@torch.no_grad()
def test_other_depths_and_grids_agree_with_monai(channels, res, layers, size):
    torch.manual_seed(0)
    levels = len(channels)
    shared = dict(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        num_res_channels=res,
        num_res_layers=layers,
        downsample_parameters=[[2, 4, 1, 1]] * levels,
        upsample_parameters=[[2, 4, 1, 1, 0]] * levels,
        num_embeddings=16,
        embedding_dim=3,
    )
    theirs = VQVAE(channels=channels, **shared).eval()
    ours = VQGAN(num_channels=channels, **shared).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 1, *size)
    recon, _, indices = ours(x)
    close(recon, theirs(x)[0])
    close(ours.encode(x), theirs.encode(x))
    assert torch.equal(indices, theirs.index_quantize(x))
    assert ours.downsampling == (2**levels,) * 3
    assert ours.latent_shape(*size) == tuple(ours.encode(x).shape[1:])


def test_both_spellings_of_the_channels_and_single_tuples():
    a = VQGAN(num_channels=[4, 8], num_res_channels=4, num_embeddings=8, embedding_dim=2)
    b = VQGAN(
        channels=[4, 8],
        num_res_channels=[4, 4],
        downsample_parameters=[[2, 4, 1, 1]] * 2,
        upsample_parameters=[[2, 4, 1, 1, 0]] * 2,
        num_embeddings=8,
        embedding_dim=2,
    )
    b.load_state_dict(a.state_dict(), strict=True)
    with refused("num_channels", "channels"):
        VQGAN(num_channels=[4], channels=[4])


@pytest.mark.parametrize(
    "options",
    [
        {"num_res_channels": [4, 4, 4]},
        {"downsample_parameters": [[2, 4, 1, 1]]},
        {"upsample_parameters": [[2, 4, 1, 1]] * 2},
        {"space_to_depth": 0},
        {"wrap_time": (3, 1)},
        {"wrap_time": -1},
        {"wrap_time": 1, "downsample_parameters": (2, 3, 1, 0)},
    ],
)
def test_settings_that_do_not_fit_are_refused(options):
    with pytest.raises(CardioDiTError):
        small(**options)


@torch.no_grad()
def test_a_stride_for_each_axis():
    model = small(
        downsample_parameters=[[2, 4, 1, 1], [[2, 2, 1], [4, 4, 3], 1, 1]],
        upsample_parameters=[[[2, 2, 1], [4, 4, 3], 1, 1, 0], [2, 4, 1, 1, 0]],
    )
    assert model.downsampling == (4, 4, 2)
    x = torch.randn(1, 1, 16, 8, 6)
    recon, _, indices = model(x)
    assert recon.shape == x.shape and indices.shape == (1, 4, 2, 3)
    assert model.latent_shape(16, 8, 6) == (4, 4, 2, 3)


def test_space_to_depth_has_its_inverse_and_keeps_neighbours_together():
    x = torch.randn(2, 3, 8, 12, 5)
    folded = space_to_depth(x, 2)
    assert folded.shape == (2, 12, 4, 6, 5)
    assert torch.equal(depth_to_space(folded, 2), x)
    assert torch.equal(folded[0, 0:4, 1, 2, 3], x[0, 0, 2:4, 4:6, 3].flatten())
    assert space_to_depth(x, 1) is x


@torch.no_grad()
def test_space_to_depth_codec_shapes():
    model = small(space_to_depth=2, out_channels=2)
    assert model.downsampling == (8, 8, 4)
    x = torch.randn(1, 1, 16, 24, 8)
    recon, _, indices = model(x)
    assert recon.shape == (1, 2, 16, 24, 8) and indices.shape == (1, 2, 3, 2)
    assert model.latent_shape(16, 24, 8) == (4, 2, 3, 2)
    with refused("12 x 24 x 8", "8 x 8 x 4"):
        model.encode(torch.randn(1, 1, 12, 24, 8))


def test_wrap_continues_the_cycle_over_more_than_one_period():
    assert wrap(torch.arange(4), 2).tolist() == [2, 3, 0, 1, 2, 3, 0, 1]
    assert wrap(torch.arange(2), 3).tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("options", [{"wrap_time": 6}, {"cyclic_time": True}])
@pytest.mark.parametrize("levels", [1, 2])
@torch.no_grad()
def test_a_shifted_cycle_has_shifted_latents(options, levels):
    """No frame is special once the cycle is closed."""
    torch.manual_seed(0)
    model = small(num_channels=[4, 8][:levels], **options).double()
    stride = model.downsampling[-1]
    x = torch.randn(1, 1, 8, 8, 4 * stride, dtype=torch.float64)
    z = model.encode(x)
    assert z.shape[-1] == 4
    torch.testing.assert_close(model.encode(x.roll(stride, -1)), z.roll(1, -1), atol=1e-9, rtol=0)
    decoded = model.decode(z)
    assert decoded.shape == x.shape
    torch.testing.assert_close(model.decode(z.roll(1, -1)), decoded.roll(stride, -1), atol=1e-9, rtol=0)


@torch.no_grad()
def test_without_wrapping_the_ends_of_the_cycle_differ():
    model = small().double()
    x = torch.randn(1, 1, 8, 8, 16, dtype=torch.float64)
    assert (model.encode(x.roll(4, -1)) - model.encode(x).roll(1, -1)).abs().max() > 1e-4


@torch.no_grad()
def test_wrapping_cuts_what_it_added_and_nothing_else():
    """Far from the ends a wrapped codec gives what an unwrapped one gives, at the same place."""
    plain, wrapped = small().double(), small(wrap_time=(4, 1)).double()
    wrapped.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 8, 8, 64, dtype=torch.float64)
    z, z_wrapped = plain.encode(x), wrapped.encode(x)
    assert z.shape == z_wrapped.shape
    torch.testing.assert_close(z_wrapped[..., 6:10], z[..., 6:10], atol=1e-9, rtol=0)
    a, b = plain.decode(z), wrapped.decode(z)
    assert a.shape == b.shape
    torch.testing.assert_close(b[..., 24:40], a[..., 24:40], atol=1e-9, rtol=0)
    assert (a - b)[..., 0].abs().max() > 1e-6


def test_latents_for_storage_never_move_the_codebook():
    model = small().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    latents = model.encode_to_latents(torch.randn(1, 1, 8, 8, 8))
    model.decode_latents(latents.detach())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model(torch.randn(1, 1, 8, 8, 8))
    assert not torch.equal(
        model.state_dict()["quantizer.quantizer.embedding.weight"], before["quantizer.quantizer.embedding.weight"]
    )


def test_gradients_reach_the_encoder_and_checkpointing_changes_nothing():
    torch.manual_seed(0)
    plain, saving = small().train(), small(use_checkpointing=True).train()
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 8, 8, 8)
    for model in (plain, saving):
        recon, loss, _ = model(x)
        ((recon - x).abs().mean() + loss).backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        if a.requires_grad:
            assert a.grad is not None and a.grad.abs().sum() > 0, name
            torch.testing.assert_close(a.grad, b.grad)


@torch.no_grad()
def test_bf16_autocast_runs_and_the_codes_of_given_latents_stay():
    model = small()
    x = torch.randn(1, 1, 8, 8, 8)
    z = model.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        recon, _, _ = model(x)
        codes = model.nearest_codes(z)
    assert torch.isfinite(recon.float()).all()
    assert torch.equal(codes, model.nearest_codes(z))


def test_wrong_number_of_sizes_is_refused():
    with refused(3, 2):
        small().latent_shape(16, 16)
    with refused("16 x 16 x 1"):
        small().latent_shape(16, 16, 1)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "act": "PRELU", "output_act": "TANH"}, {"act": None}])
def test_layers_draw_and_are_called_as_those_of_monai(options):
    """Trainings begun with MONAI's blocks go on to the bit: same names, same first weights, same order of layers."""
    shared = dict(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        num_res_channels=[4, 8],
        num_res_layers=1,
        downsample_parameters=[[2, 4, 1, 1]] * 2,
        upsample_parameters=[[2, 4, 1, 1, 0]] * 2,
        num_embeddings=16,
        embedding_dim=3,
        **options,
    )
    torch.manual_seed(3)
    theirs = VQVAE(channels=[4, 8], **shared)
    torch.manual_seed(3)
    ours = VQGAN(num_channels=[4, 8], **shared)
    for part in ("encoder", "decoder"):
        wanted = getattr(theirs, part).state_dict()
        found = getattr(ours, part).state_dict()
        assert list(found) == list(wanted)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    x = torch.randn(1, 3, 4, 4, 2)
    for network in (theirs, ours):
        network.train()
    torch.manual_seed(5)
    expected = theirs.decoder(x)
    torch.manual_seed(5)
    assert torch.equal(ours.decoder(x), expected)


def test_an_activation_that_is_not_known_is_told():
    with pytest.raises(CardioDiTError, match="blubb"):
        small(act="blubb")
