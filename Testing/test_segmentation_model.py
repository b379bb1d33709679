"""The segmentation network and its folder: any size, at most 4 MB, verified before a weight is used."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_segmentation import tiny_manifest, tiny_model_folder, tiny_network

from CardioDiTLib.bundles.weights import write_weights
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.slice_unet import NetworkConfig, SegmentationNetwork
from CardioDiTLib.segmentation.model import MANIFEST_NAME, WEIGHTS_NAME, load_model, write_model


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 17), (48, 64)])
def test_any_size_goes_through(size):
    network = tiny_network()
    with torch.inference_mode():
        assert network(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_padding_is_taken_off_where_it_was_put_on():
    network = tiny_network()
    network.unet = torch.nn.Identity()
    pictures = torch.rand(1, 3, 13, 21)
    assert torch.equal(network(pictures), pictures)


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_the_default_network_takes_at_most_four_megabytes(tmp_path, storage):
    network = SegmentationNetwork()
    write_weights(tmp_path / "w.safetensors", network.state_dict(), storage)
    assert (tmp_path / "w.safetensors").stat().st_size <= 4_000_000


@pytest.mark.parametrize("spacing, step", [(10.0, 1), (5.0, 2), (17.7, 1), (1.4, 7), (40.0, 1)])
def test_neighbours_lie_as_far_as_slices_usually_do(spacing, step):
    assert NetworkConfig().neighbour_step(spacing) == step


@pytest.mark.parametrize(
    "wrong", [{"channels": (8,)}, {"channels": "many"}, {"neighbours": -1}, {"spacing_mm": 0.0}, {"res_units": 1.5}]
)
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(CardioDiTError):
        NetworkConfig(**wrong)


def test_a_model_comes_back_as_it_was_written(tmp_path):
    network = tiny_network()
    manifest = tiny_manifest(network, quality={"ED": {"LV": 0.9}}, field_mm=200.0)
    folder = write_model(tmp_path / "model", manifest, network, storage="fp32")
    loaded = load_model(folder)
    assert loaded.network.config == network.config and not loaded.network.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    assert loaded.manifest.quality == {"ED": {"LV": 0.9}} and loaded.manifest.field_mm == 200.0
    assert loaded.manifest.files[WEIGHTS_NAME].bytes == (folder / WEIGHTS_NAME).stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    "change, says",
    [
        ({"labels": {"0": "background", "1": "LV"}}, "other labels"),
        ({"intensity": {"low_percentile": 50, "high_percentile": 1}}, "percentiles"),
        ({"network": {"channels": [4, 8]}}, "network"),
        ({"field_mm": "wide"}, "field_mm"),
    ],
)
def test_damaged_descriptions_are_told_in_a_sentence(tmp_path, change, says):
    folder = tiny_model_folder(tmp_path / "model")
    values = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    (folder / MANIFEST_NAME).write_text(json.dumps({**values, **change}), encoding="utf-8")
    with pytest.raises(CardioDiTError, match=says):
        load_model(folder)
