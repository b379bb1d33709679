"""Networks and loss of the memorization audit: check data of the published code, and what is exact by construction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from tiny_encoder import tiny_embedding

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.contrastive_cine import CineEmbedding, CineEmbeddingConfig, at_working_size, nt_xent
from CardioDiTLib.models.dar_encoder import VolumeEmbedding, VolumeEncoder

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def encoder_oracle():
    return json.loads((DATA / "mem_encoder.json").read_text(encoding="utf-8")), np.load(DATA / "mem_encoder.npz")


def formula_weights(network: VolumeEncoder) -> None:
    """The weights that the check data were made with."""
    with torch.no_grad():
        for j, (name, parameter) in enumerate(network.named_parameters()):
            i = np.arange(parameter.numel())
            is_norm = name.endswith("weight") and ("norm" in name or name == "final_block.0.weight")
            if parameter.ndim > 1:
                values = np.sin(0.7 * i + 0.3 * j) / np.sqrt(parameter[0].numel())
            else:
                values = is_norm * 1.0 + 0.1 * np.sin(0.5 * i + j)
            parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))


@pytest.mark.parametrize("case", range(3))
def test_the_volume_encoder_gives_the_published_numbers(encoder_oracle, case):
    description, arrays = encoder_oracle
    case = description["cases"][case]
    given, wanted = case["inputs"], case["outputs"]
    network = VolumeEncoder(given["downsample"], given["n_hiddens"], given["image_channel"]).double()
    named = [[name, list(parameter.shape)] for name, parameter in network.named_parameters()]
    assert named == wanted["parameters"]
    formula_weights(network)
    with torch.no_grad():
        found = network(torch.from_numpy(arrays[given["x"]])).numpy()
    np.testing.assert_allclose(found, arrays[wanted["y"]], atol=1e-10)


@pytest.mark.parametrize(
    ("downsample", "encoder", "head"), [((8, 64, 64), 120223968, 77992), ((16,) * 3, 7489760, 71848)]
)
def test_the_published_networks_have_their_number_of_parameters(downsample, encoder, head):
    with torch.device("meta"):
        network = VolumeEmbedding(downsample)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert counts["encoder"] == encoder
    assert counts["reduce"] + counts["head"] == head


def test_volumes_and_factors_that_do_not_fit_are_refused():
    with refused((8, 8, 16), (4, 4, 8)):
        VolumeEmbedding((2, 2, 2))(torch.zeros(1, 1, 8, 8, 16))
    for factors in ((3, 4, 4), (1, 1, 1), (2, 2)):
        with refused(tuple(factors)):
            VolumeEncoder(factors)
    with refused(24, 32):
        VolumeEncoder((2, 2, 2), hidden=24)


def test_nt_xent_gives_the_published_numbers_and_gradients():
    description, arrays = (
        json.loads((DATA / "mem_ntxent.json").read_text(encoding="utf-8")),
        np.load(DATA / "mem_ntxent.npz"),
    )
    compared = 0
    for case in description["cases"]:
        if case["inputs"] is None:
            continue
        first = torch.tensor(arrays[case["inputs"]["first"]], requires_grad=True)
        second = torch.tensor(arrays[case["inputs"]["second"]])
        for name, value in case["outputs"].items():
            assert nt_xent(first, second, float(name[1:])).item() == pytest.approx(value, abs=1e-12)
            compared += 1
        (gradient,) = torch.autograd.grad(nt_xent(first, second), first)
        np.testing.assert_allclose(gradient, arrays[f"{case['name']}_grad_a_t007"], atol=1e-12)
    assert compared == 20


def test_nt_xent_by_hand():
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    cosines = np.array(
        [[1, 0, 1, 0.5**0.5], [0, 1, 0, 0.5**0.5], [1, 0, 1, 0.5**0.5], [0.5**0.5, 0.5**0.5, 0.5**0.5, 1]]
    )
    shares = np.exp(cosines / 0.5)
    np.fill_diagonal(shares, 0)
    wanted = -np.mean([np.log(shares[i, j] / shares[i].sum()) for i, j in ((0, 2), (1, 3), (2, 0), (3, 1))])
    assert nt_xent(first, second, 0.5).item() == pytest.approx(wanted, rel=1e-6)


def test_images_of_one_patient_are_never_told_apart():
    first, second = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)).unbind()
    patients = torch.tensor([3, 7, 3, 1, 7])
    wanted = []
    views = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    for anchor in range(10):
        partner = (anchor + 5) % 10
        others = [i for i in range(10) if patients[i % 5] != patients[anchor % 5]]
        logits = views[anchor] @ views[[partner, *others]].T / 0.07
        wanted.append(-logits.log_softmax(0)[0])
    found = nt_xent(first, second, patients=patients)
    assert found.item() == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-5)
    assert found < nt_xent(first, second)
    assert nt_xent(first, second, patients=torch.arange(5)).item() == pytest.approx(nt_xent(first, second).item())
    one = nt_xent(first.requires_grad_(), second, patients=torch.zeros(5, dtype=torch.long))
    assert one.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(torch.autograd.grad(one, first)[0]).all()


def test_pairs_that_are_none_are_refused():
    views = torch.zeros(3, 4)
    for arguments in ((views, views[:2]), (views[:0], views[:0]), (views[0], views[0])):
        with pytest.raises(CardioDiTError, match="no pairs"):
            nt_xent(*arguments)
    with refused("temperature", 0):
        nt_xent(views, views, 0.0)
    with refused(3, 2):
        nt_xent(views, views, patients=torch.zeros(2))


@pytest.fixture(scope="module")
def cines():
    """Two cines that change with time, space and slice."""
    return torch.rand(2, 7, 4, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_what_is_invariant_by_construction(cines):
    network = tiny_embedding()
    with torch.inference_mode():
        plain = network(cines)
        assert (plain[0] - plain[1]).abs().max() > 1e-2
        for hidden in (cines.roll(3, 1), cines.flip(-1), cines.flip(2), cines[:, :, [2, 0, 3, 1]]):
            torch.testing.assert_close(network(hidden), plain, atol=1e-4, rtol=0)
        assert (network(cines, mirrored=False) - plain).abs().max() > 1e-3
        assert (network(cines.flip(-2)) - plain).abs().max() > 1e-3  # upside down is another picture


def test_empty_slices_and_brightness_hardly_matter(cines):
    network = tiny_embedding()
    with torch.inference_mode():
        plain = network(cines)
        empty = torch.full_like(cines[:, :, :2], -1.0)
        torch.testing.assert_close(network(torch.cat([empty, cines], 2)), plain, atol=1e-4, rtol=0)
        darker = network(cines * 0.5 - 0.3)
        assert torch.nn.functional.cosine_similarity(darker, plain).min() > 0.99
        assert torch.isfinite(network(torch.full((1, 4, 2, 32, 32), -1.0))).all()


def test_cines_are_embedded_alone_as_in_company(cines):
    network = tiny_embedding()
    with torch.inference_mode():
        torch.testing.assert_close(network(cines[1:]), network(cines)[1:], atol=1e-5, rtol=0)


def test_the_encoder_that_is_shipped_is_small():
    network = CineEmbedding()
    assert sum(value.numel() for value in network.state_dict().values()) < 1_300_000
    assert "kernel" not in network.state_dict()


def test_settings_are_checked_and_survive_json():
    config = CineEmbeddingConfig(channels=(8, 16, 24), size=32)
    assert CineEmbeddingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for wrong in ({"channels": (8,)}, {"channels": (8, 12)}, {"size": 34}, {"dropout": 1.0}, {"spacing_mm": "3"}):
        with pytest.raises(CardioDiTError):
            CineEmbeddingConfig(**wrong)
    with refused("depth"):
        CineEmbeddingConfig.from_dict({**config.to_dict(), "depth": 3})
    for shape in ((2, 4, 3, 16, 32), (4, 3, 32, 32), (2, 1, 3, 32, 32)):
        with refused(tuple(shape)):
            tiny_embedding()(torch.zeros(shape))


def test_a_linear_map_is_folded_into_the_last_layer(cines):
    network = tiny_embedding()
    network.head[-1].running_mean.normal_()
    network.head[-1].running_var.uniform_(0.5, 2.0)
    mean, matrix = torch.randn(16), torch.randn(16, 16)
    with torch.inference_mode():
        wanted = (network(cines) - mean) @ matrix
        network.fold(mean, matrix)
        torch.testing.assert_close(network(cines), wanted, atol=1e-4, rtol=1e-4)


def test_fewer_pixels_show_the_same_field_of_view():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    small = at_working_size(torch.stack([x, y]), (32, 32))
    inner = small[:, 4:-4, 4:-4]
    torch.testing.assert_close(inner[0, 0], torch.arange(32.0)[4:-4] * 2 + 0.5, atol=1e-3, rtol=0)
    assert at_working_size(small, (32, 32)) is small
