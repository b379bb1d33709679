"""Weights at rest: how far from what was written is what is read."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from CardioDiTLib.bundles.weights import SCALE_SUFFIX, read_weights, write_weights

STATE = {
    "linear.weight": torch.randn(96, 128, generator=torch.Generator().manual_seed(1)),
    "linear.bias": torch.randn(96, generator=torch.Generator().manual_seed(2)),
    "conv.weight": torch.randn(32, 16, 3, 3, 3, generator=torch.Generator().manual_seed(3)),
    "small.weight": torch.randn(8, 8, generator=torch.Generator().manual_seed(4)),
    "codebook": torch.randn(4096, 4, generator=torch.Generator().manual_seed(5)),
    "steps": torch.tensor([7], dtype=torch.int64),
}


def there_and_back(tmp_path, state, storage):
    write_weights(tmp_path / "w.safetensors", state, storage)
    return read_weights(tmp_path / "w.safetensors")


def test_fp32_is_exact(tmp_path):
    read = there_and_back(tmp_path, STATE, "fp32")
    assert set(read) == set(STATE)
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


def test_fp16_keeps_vectors_and_three_digits(tmp_path):
    read = there_and_back(tmp_path, STATE, "fp16")
    assert torch.equal(read["linear.bias"], STATE["linear.bias"]) and torch.equal(read["steps"], STATE["steps"])
    for name in ("linear.weight", "codebook"):
        assert read[name].dtype == torch.float32
        torch.testing.assert_close(read[name], STATE[name], rtol=2**-11, atol=1e-7)
        assert not torch.equal(read[name], STATE[name])


def test_int8_errs_by_at_most_half_a_step_of_its_channel(tmp_path):
    read = there_and_back(tmp_path, STATE, "int8")
    for name in ("linear.weight", "conv.weight"):
        flat, error = STATE[name].flatten(1), (read[name] - STATE[name]).flatten(1)
        rows = flat.abs().amax(1) / 127 / 2
        columns = STATE[name].transpose(0, 1).flatten(1).abs().amax(1) / 127 / 2
        columns_error = (read[name] - STATE[name]).transpose(0, 1).flatten(1).abs().amax(1)
        by_row = bool((error.abs().amax(1) <= rows * 1.0001).all())
        by_column = bool((columns_error <= columns * 1.0001).all())
        assert by_row or by_column
        relative = float((read[name] - STATE[name]).norm() / STATE[name].norm())
        assert 0 < relative < 0.01
    # a code has only four numbers, and a small matrix is not worth it
    for name in ("codebook", "small.weight"):
        torch.testing.assert_close(read[name], STATE[name], rtol=2**-11, atol=1e-7)


@pytest.mark.parametrize("axis", [0, 1])
def test_int8_scales_along_the_axis_on_which_channels_differ(tmp_path, axis):
    size = torch.logspace(-3, 1, 80).reshape((80, 1) if axis == 0 else (1, 80))
    weight = torch.randn(80, 80, generator=torch.Generator().manual_seed(6)) * size
    read = there_and_back(tmp_path, {"w": weight}, "int8")["w"]
    other = 1 - axis
    per_channel = (read - weight).norm(dim=other) / weight.norm(dim=other)
    assert float(per_channel.max()) < 0.02


def test_int8_is_four_times_smaller(tmp_path):
    state = {"w": torch.randn(512, 512)}
    sizes = {}
    for storage in ("fp32", "fp16", "int8"):
        write_weights(tmp_path / storage, state, storage)
        sizes[storage] = (tmp_path / storage).stat().st_size
    assert sizes["fp16"] < 0.51 * sizes["fp32"] and sizes["int8"] < 0.26 * sizes["fp32"]


def test_odd_values_survive(tmp_path):
    state = {
        "large": torch.full((64, 64), 1e6),
        "zero": torch.zeros(64, 64),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.5),
        "shared": STATE["linear.bias"],
        "also shared": STATE["linear.bias"],
        "strided": torch.arange(12.0).reshape(3, 4).T,
    }
    for storage in ("fp16", "int8"):
        read = there_and_back(tmp_path, state, storage)
        for name, value in state.items():
            torch.testing.assert_close(read[name], value, rtol=1e-6, atol=0)
        assert not any(name.endswith(SCALE_SUFFIX) for name in read)


@pytest.mark.parametrize("storage", ["fp32", "fp16", "int8"])
def test_the_same_weights_give_the_same_bytes(tmp_path, storage):
    write_weights(tmp_path / "a", STATE, storage)
    write_weights(tmp_path / "b", dict(reversed(STATE.items())), storage)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_stored_or_read_is_said(tmp_path):
    with refused("int4", "fp32", "fp16", "int8"):
        write_weights(tmp_path / "x", STATE, "int4")
    with refused("a", "finite"):
        write_weights(tmp_path / "x", {"a": torch.tensor([float("nan")])}, "fp16")
    with refused("absent"):
        read_weights(tmp_path / "absent")
    write_weights(tmp_path / "cut", STATE, "fp32")
    whole = (tmp_path / "cut").read_bytes()
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2]):
        (tmp_path / "cut").write_bytes(content)
        with refused("cut", "damaged"):
            read_weights(tmp_path / "cut")
