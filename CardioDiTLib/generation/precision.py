"""In which number format to compute, by what the hardware has.

bfloat16 halves the time and more where a machine multiplies matrices in it (a GPU, a CPU with AMX). Elsewhere it may be
many times slower than float32, and a CPU that lists bfloat16 among its instructions (AVX512-BF16) is 0.5 to 1.6 times
as fast. "auto" takes it only on a GPU that has it and on a CPU with AMX, and does not time it: a choice that depends on
how busy the machine is would give other bytes for the same seed from one day to the next. Quantisation to codes is done
in float32 or better in any case.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError

_ROUNDS = 4


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Type in which networks compute.

    Args:
        name: "fp32", "bf16" or "auto".
        device: Where they compute.

    Returns:
        ``torch.float32`` or ``torch.bfloat16``.

    Raises:
        CardioDiTError: Another name.
    """
    if name == "fp32":
        return torch.float32
    if name == "bf16":
        return torch.bfloat16
    if name != "auto":
        raise CardioDiTError(f"The precision {name!r} is not known.", "Choose one of auto, fp32, bf16.")
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = cpu_has_amx()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def precision_name(dtype: torch.dtype) -> str:
    """ "fp32" or "bf16"."""
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def narrowed(network: NetworkT, dtype: torch.dtype) -> NetworkT:
    """A transformer whose blocks hold their matrices in a narrow type already; the same in every bit under autocast.

    Autocast would round weights that are not trained at every call. All else is shared with the network that is given,
    which stays as it is.

    Args:
        network: As the bundle has it.
        dtype: In which it computes; in float32 the network itself is given back.
    """
    if dtype == torch.float32:
        return network
    tensors = [*network.parameters(), *network.buffers()]
    copied = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for name, layer in copied.named_modules():
        if isinstance(layer, nn.Linear) and name.startswith("blocks."):
            layer.weight = nn.Parameter(layer.weight.to(dtype), requires_grad=False)
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.to(dtype), requires_grad=False)
    return copied


def cpu_has_amx() -> bool:
    """Whether the CPU has units that multiply tiles of bfloat16, and oneDNN is not told to leave them alone."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return ("AMX" in most or most in ("", "DEFAULT")) and bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def cpu_lists_bfloat16() -> bool:
    """Whether the CPU lists instructions for bfloat16; they need not be fast (see above)."""
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in asked)


@lru_cache(maxsize=1)
def cpu_gain_of_bfloat16() -> float:
    """How many times faster the CPU is in bfloat16, timed once a process in some hundredths of a second.

    The smaller of the gains of a matrix product (transformer) and of a 3D convolution (codec), best of several rounds
    each, so that another busy program does not decide.
    """
    torch_state = torch.random.get_rng_state()
    try:
        x, w = torch.randn(256, 512), torch.randn(512, 512)
        image, kernel = torch.randn(1, 32, 24, 24, 8), torch.randn(32, 32, 3, 3, 3)
    finally:
        torch.random.set_rng_state(torch_state)  # choosing a precision must not advance the caller's random numbers
    gains = []
    with torch.inference_mode():
        for a, b, work in ((x, w, torch.matmul), (image, kernel, _conv)):
            wide = _best_time(work, a, b)
            narrow = _best_time(work, a.bfloat16(), b.bfloat16())
            gains.append(wide / narrow)
    return min(gains)


def _conv(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return F.conv3d(image, kernel, padding=1)


def _best_time(work: Callable[..., torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> float:
    work(a, b)  # the first call also sets things up
    times = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        work(a, b)
        times.append(time.perf_counter() - begin)
    return max(min(times), 1e-9)
