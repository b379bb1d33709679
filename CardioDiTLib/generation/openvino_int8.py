"""Networks for OpenVINO in whole numbers of 8 bits: matrices of a transformer, convolutions of a slice decoder.

Matrices hold 8 bits with a scale a row, and OpenVINO brings what they are multiplied with to 8 bits as it comes. It
does so only where that is float32; beside bfloat16 it widens the matrices instead. Convolutions take both from scales
that are fixed beforehand: those of the weights a scale an output channel, those of what comes in one scale a layer,
from the range that a few latents reach which are drawn from the codebook with a fixed seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from CardioDiTLib.models.vqgan import VQGAN

Ranges = dict[str, tuple[float, float]]
"""Least and largest value that comes into a layer, by the layer's name."""

_FEWEST_NUMBERS = 1 << 14  # smaller matrices take little time, and rounding to 8 bits costs them more
_DRAWN = 4  # latents of each grain
_EDGE = 8  # codes along an edge of a drawn slice
_HEADROOM = 1.25  # a value beyond the range errs by far more than a coarser scale costs
_CONVOLUTIONS = {"Convolution": (1, 2, 3, 4), "ConvolutionBackpropData": (0, 2, 3, 4)}  # axes within an output channel


def matrices_to_8_bits(model: Any) -> None:
    """Matrices of a model of OpenVINO as whole numbers of 8 bits with a scale a row, in place."""
    from openvino import opset13 as ops

    for node in model.get_ops():
        if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_b"]:
            continue
        source = node.input_value(1).get_node()
        if source.get_type_name() != "Constant":
            continue
        values = source.get_data()
        if values.ndim != 2 or values.size < _FEWEST_NUMBERS:
            continue
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127.0, 1e-12).astype(np.float32)
        whole = np.rint(values / scale).astype(np.int8)
        wide = ops.multiply(ops.convert(ops.constant(whole), "f32"), ops.constant(scale))
        node.input(1).replace_source_output(wide.output(0))


def calibration_latents(codec: VQGAN, frames: int) -> torch.Tensor:
    """(B, C, h, w, frames) latents that reach further than those of hearts: always the same for a codec.

    Codes are drawn as often as training used them, half of the slices place by place, half with the same code in
    2 x 2 x 2 neighbours: the first reach the extremes of what changes quickly, the second of what changes slowly.
    """
    quantizer = codec.quantizer.quantizer
    codes, used = quantizer.embedding.weight.detach().float(), quantizer.ema_cluster_size.detach().float()
    shares = used if bool(used.sum() > 0) else torch.ones(len(codes))
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for grain in (1, 2):
        shape = (_DRAWN, _EDGE // grain, _EDGE // grain, -(-frames // grain))
        chosen = torch.multinomial(shares, int(np.prod(shape)), True, generator=generator)
        slices = codes[chosen].reshape(*shape, -1).movedim(-1, 1)
        for axis in (2, 3, 4):
            slices = slices.repeat_interleave(grain, axis)
        drawn.append(slices[..., :frames])
    return torch.cat(drawn).contiguous()


def input_ranges(network: nn.Module, example: torch.Tensor) -> Ranges:
    """Ranges of what comes into the convolutions of a network, but for its first and its last.

    Those two stay wide: the first takes little time, and what the last rounds is seen as it is.
    """
    found: Ranges = {}
    hooks = []

    def note(name: str) -> Any:
        def hook(_layer: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            found[name] = float(given[0].min()), float(given[0].max())

        return hook

    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
            hooks.append(layer.register_forward_pre_hook(note(name)))
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            network(example)
    finally:
        for handle in hooks:
            handle.remove()
    return dict(list(found.items())[1:-1])


def convolutions_to_8_bits(model: Any, ranges: Ranges) -> list[str]:
    """Rounding to 8 bits before the convolutions of a model of OpenVINO that have a range; the names of these.

    OpenVINO makes convolutions of whole numbers of it when the model is compiled.
    """
    done = []
    for node in model.get_ordered_ops():
        inner = _CONVOLUTIONS.get(node.get_type_name())
        name = node.get_friendly_name().partition("__module.")[2].partition("/")[0]
        source = node.input_value(1).get_node() if inner else None
        if source is None or name not in ranges or source.get_type_name() != "Constant":
            continue
        most = np.maximum(np.abs(source.get_data()).max(axis=inner, keepdims=True), 1e-12).astype(np.float32)
        weights = _rounded(node.input_value(1), -most, most, 255)
        low, high = (_HEADROOM * bound for bound in ranges[name])
        if low < 0:  # -128 to 127 steps about 0
            high = max(-low, high)
            low = -high * 128 / 127
        else:
            low = 0.0
        given = _rounded(node.input_value(0), np.float32(low), np.float32(max(high, 1e-6)), 256)
        node.input(0).replace_source_output(given)
        node.input(1).replace_source_output(weights)
        done.append(name)
    return done


def _rounded(values: Any, low: NDArray[np.float32] | np.float32, high: NDArray[np.float32] | np.float32, n: int) -> Any:
    from openvino import opset13 as ops

    ends = [ops.constant(low), ops.constant(high)]
    return ops.fake_quantize(values, *ends, *ends, n).output(0)
