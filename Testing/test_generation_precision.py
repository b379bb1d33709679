"""Which number format is chosen: by asking the hardware."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from CardioDiTLib.generation import precision
from CardioDiTLib.generation.precision import choose_precision, cpu_gain_of_bfloat16, narrowed, precision_name
from CardioDiTLib.models import DiT4D

CPU = torch.device("cpu")


@pytest.mark.parametrize(("amx", "expected"), [(False, "fp32"), (True, "bf16")])
def test_a_cpu_takes_bfloat16_by_itself_only_with_amx_and_is_never_timed(monkeypatch, amx, expected):
    """A timing would choose by how busy the machine is, and the same seed would not give the same bytes."""

    def never():
        raise AssertionError("timed")

    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(precision, "cpu_gain_of_bfloat16", never)
    assert precision_name(choose_precision("auto", CPU)) == expected


@pytest.mark.parametrize(
    ("most", "expected"), [("AVX512_CORE_BF16", False), ("avx2", False), ("AVX512_CORE_AMX", True), ("DEFAULT", True)]
)
def test_amx_that_the_libraries_may_not_use_does_not_count(monkeypatch, most, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert precision.cpu_has_amx() is expected


def test_the_listing_follows_torch(monkeypatch):
    for amx, avx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        assert precision.cpu_lists_bfloat16() is (amx or avx)


def test_the_gain_on_this_machine_is_timed_once_and_draws_nothing():
    cpu_gain_of_bfloat16.cache_clear()
    before = torch.random.get_rng_state()
    gain = cpu_gain_of_bfloat16()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert gain > 0 and cpu_gain_of_bfloat16() == gain and cpu_gain_of_bfloat16.cache_info().misses == 1


@pytest.mark.skipif(not precision.cpu_has_amx(), reason="this CPU has no AMX")
def test_a_cpu_with_amx_is_faster_in_bfloat16():
    assert cpu_gain_of_bfloat16() > 1


def test_what_is_asked_for_is_given_and_other_names_are_refused():
    assert choose_precision("fp32", CPU) is torch.float32 and choose_precision("bf16", CPU) is torch.bfloat16
    assert choose_precision("auto", torch.device("mps")) is torch.float32
    with refused("fp64", "auto, fp32, bf16"):
        choose_precision("fp64", CPU)


@torch.inference_mode()
def test_matrices_in_a_narrow_type_change_no_bit_under_autocast():
    torch.manual_seed(0)
    dit = DiT4D([2, 4, 4, 2], [1, 2, 2, 1], 4, 32, 2, 4, num_classes=3, class_dropout_prob=0.1, qk_norm=True).eval()
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    before = {name: value.clone() for name, value in dit.state_dict().items()}
    narrow = narrowed(dit, torch.bfloat16)
    assert narrow.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert narrowed(dit, torch.float32) is dit
    x, t, y = torch.randn(2, 4, 2, 4, 4, 2), torch.tensor([3.0, 70.0]), torch.tensor([1, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(narrow(x, t, y), dit(x, t, y))
    assert all(torch.equal(value, before[name]) for name, value in dit.state_dict().items())
