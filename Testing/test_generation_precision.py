"""Which number format is chosen: by asking and timing the hardware, never by its name alone."""

from __future__ import annotations

import pytest
import torch

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import precision
from CardioDiTLib.generation.precision import choose_precision, cpu_gain_of_bfloat16, precision_name

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("listed", "gain", "expected"),
    [(False, 9.0, "fp32"), (True, 0.4, "fp32"), (True, 1.2, "fp32"), (True, 3.5, "bf16")],
)
def test_a_cpu_must_list_bfloat16_and_be_clearly_faster_in_it(monkeypatch, listed, gain, expected):
    monkeypatch.setattr(precision, "cpu_lists_bfloat16", lambda: listed)
    monkeypatch.setattr(precision, "cpu_gain_of_bfloat16", lambda: gain)
    assert precision_name(choose_precision("auto", CPU)) == expected


def test_a_cpu_that_does_not_list_it_is_not_timed(monkeypatch):
    def never():
        raise AssertionError("timed")

    monkeypatch.setattr(precision, "cpu_lists_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "cpu_gain_of_bfloat16", never)
    assert choose_precision("auto", CPU) is torch.float32


def test_the_listing_follows_torch(monkeypatch):
    for amx, avx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        assert precision.cpu_lists_bfloat16() is (amx or avx)


def test_the_choice_on_this_machine_is_the_faster_one_and_is_timed_once():
    """The real cost on this machine: where bfloat16 is slower, "auto" must not take it."""
    cpu_gain_of_bfloat16.cache_clear()
    before = torch.random.get_rng_state()
    gain = cpu_gain_of_bfloat16()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert gain > 0 and cpu_gain_of_bfloat16() == gain and cpu_gain_of_bfloat16.cache_info().misses == 1
    chosen = choose_precision("auto", CPU)
    if gain < 1:
        assert chosen is torch.float32
    assert (chosen is torch.bfloat16) == (precision.cpu_lists_bfloat16() and gain >= precision.CLEARLY_FASTER)


def test_what_is_asked_for_is_given_and_other_names_are_refused():
    assert choose_precision("fp32", CPU) is torch.float32 and choose_precision("bf16", CPU) is torch.bfloat16
    assert choose_precision("auto", torch.device("mps")) is torch.float32
    with pytest.raises(CardioDiTError, match="auto, fp32, bf16"):
        choose_precision("fp64", CPU)
