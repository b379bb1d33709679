"""Weights at rest: safetensors files, in full or reduced precision; always float32 once loaded.

=========  ===========================================  =========================================
storage    matrices and kernels                         other tensors
=========  ===========================================  =========================================
``fp32``   float32                                      float32
``fp16``   float16                                      float32
``int8``   int8 with one float32 scale a channel        float32; small matrices, codebook float16
=========  ===========================================  =========================================

A channel is a row or a column, whichever keeps the weights closer: linear layers and convolutions have their outputs
on axis 0, transposed convolutions on axis 1, and rows of a table of positions have each their own size. Values are
rounded to ``q * scale`` with q from -127 to 127 and ``scale = max |w| / 127`` (symmetric), so an error is at most half
a scale: 0.4 % of a channel's largest weight. Tensors whose values do not fit into float16 stay float32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import save_tensors

STORAGES = ("fp32", "fp16", "int8")
SCALE_SUFFIX = "::scale"
"""Ends the name of a tensor of scales; no parameter of a module can be called so."""

MIN_INT8_ENTRIES = 4096
"""Smaller matrices are not worth their rounding."""

MIN_INT8_CHANNEL = 64
"""With fewer entries a channel the scales take more room than int8 saves; a table of short rows is a codebook."""

_FORMAT = "cardiodit"
_LARGEST_HALF = 65504.0
_NAMED_IN_ERRORS = 4


def write_weights(path: str | os.PathLike[str], state: Mapping[str, torch.Tensor], storage: str = "fp32") -> None:
    """Write named tensors; the same tensors give the same bytes.

    Args:
        path: The file; the caller sees to it that it appears whole.
        state: Tensors by name, of any device.
        storage: "fp32", "fp16" or "int8".

    Raises:
        CardioDiTError: Another storage, values that are not finite, or the file cannot be written.
    """
    if storage not in STORAGES:
        raise CardioDiTError(f"Weights cannot be stored as {storage!r}.", f"Choose one of {', '.join(STORAGES)}.")
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        value = tensor.detach().cpu()
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CardioDiTError(f"The weight {name} is not finite.", "Use an earlier checkpoint.")
        stored.update(_packed(name, value, storage))
    # one entry only: the order of several would differ from run to run
    header = {_FORMAT: json.dumps({"storage": storage, "version": 1})}
    try:
        save_tensors(dict(sorted(stored.items())), path, metadata=header)
    except (OSError, SafetensorError) as error:
        raise CardioDiTError(
            f"'{os.path.basename(path)}' could not be written: {error}.", "Check the folder and the free disk space."
        ) from error


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Tensors by name as float32 (integers as they are), whatever the storage.

    Raises:
        CardioDiTError: The file is absent or damaged.
    """
    name = Path(path).name
    if not Path(path).is_file():
        raise CardioDiTError(f"There is no file '{name}' in the bundle.", "Get the bundle again.")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as stream:
            stored = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, SafetensorError, ValueError) as error:
        raise CardioDiTError(f"'{name}' is damaged or no safetensors file.", "Get the bundle again.") from error
    state: dict[str, torch.Tensor] = {}
    for key, tensor in stored.items():
        if key.endswith(SCALE_SUFFIX):
            continue
        scale = stored.get(key + SCALE_SUFFIX)
        if scale is not None:
            tensor = tensor.float() * scale
        state[key] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def load_strictly(model: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy a state into a network; every name and shape has to agree.

    Args:
        model: The network to fill.
        state: Weights by name.
        source: Name of the file, for the message.

    Raises:
        CardioDiTError: naming the first missing, unexpected or ill-shaped weights, or weights that are not finite.
    """
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    problems = [
        f"{title}: {some_of(names)}"
        for title, names in (("missing", missing), ("not expected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        if len(missing) == len(expected):
            hint = "Stage-1 and transformer checkpoints may have been swapped, or the file is of another network."
        else:
            hint = "Use the configuration that this checkpoint was trained with."
        raise CardioDiTError(f"{source} does not fit its configuration ({'; '.join(problems)}).", hint)
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CardioDiTError(
            f"{source} holds weights that are not finite: {some_of(broken)}.", "Use an earlier checkpoint of the run."
        )
    model.load_state_dict(dict(state), strict=True)


def some_of(names: list[str]) -> str:
    """The first of many names, for a sentence."""
    shown = ", ".join(names[:_NAMED_IN_ERRORS])
    return shown if len(names) <= _NAMED_IN_ERRORS else f"{shown} and {len(names) - _NAMED_IN_ERRORS} more"


def _packed(name: str, value: torch.Tensor, storage: str) -> dict[str, torch.Tensor]:
    # clone: safetensors refuses tensors that share memory
    if not value.is_floating_point():
        return {name: value.contiguous().clone()}
    wide = value.float().contiguous().clone()
    if storage == "fp32" or wide.ndim < 2 or float(wide.abs().max() if wide.numel() else 0.0) > _LARGEST_HALF:
        return {name: wide}
    if storage == "int8" and wide.numel() >= MIN_INT8_ENTRIES and wide[0].numel() >= MIN_INT8_CHANNEL:
        axes = [axis for axis in (0, 1) if wide.numel() // wide.shape[axis] >= MIN_INT8_CHANNEL]
        codes, scale = min((_quantised(wide, axis) for axis in axes), key=lambda pair: _error(wide, *pair))
        return {name: codes, name + SCALE_SUFFIX: scale}
    return {name: wide.half()}


def _quantised(value: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 codes and float32 scales that broadcast against them, one a position of the axis."""
    others = [other for other in range(value.ndim) if other != axis]
    scale = (value.abs().amax(dim=others, keepdim=True) / 127.0).clamp(min=torch.finfo(torch.float32).tiny)
    return (value / scale).round().clamp(-127, 127).to(torch.int8), scale.contiguous()


def _error(value: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> float:
    return float((codes.float() * scale - value).square().sum())
