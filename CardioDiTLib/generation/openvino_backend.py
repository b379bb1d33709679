"""Networks on CPUs through OpenVINO, an optional package: transformer and slice decoder of a bundle.

OpenVINO's wheel reports its import and every conversion to its makers through the package ``openvino_telemetry``. Here
that package is kept out while OpenVINO is imported, and OpenVINO's converter, which reports too, is not used: nothing
is sent. The same seed gives the same bytes on one machine, precision and number of threads, as with torch; the bytes of
the two backends differ by rounding.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.openvino_int8 import (
    Ranges,
    calibration_latents,
    convolutions_to_8_bits,
    input_ranges,
    matrices_to_8_bits,
)
from CardioDiTLib.generation.precision import cpu_has_amx
from CardioDiTLib.models.vqgan import VQGAN

OPENVINO_PRECISIONS = ("fp32", "bf16", "int8")
"""int8: matrices of the transformer and most convolutions of the slice decoder in 8 bits (`openvino_int8`)."""

_TELEMETRY = "openvino_telemetry"
_KEPT_SHAPES = 4
_GROUP = 256  # numbers of a token that share a scale when they are brought to 8 bits


def has_openvino() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return find_spec("openvino") is not None


@lru_cache(maxsize=1)
def load_openvino() -> Any:
    """The package ``openvino``, imported without its telemetry.

    Raises:
        CardioDiTError: It is not installed, or cannot be loaded.
    """
    hint = 'Install it with: pip install "CardioDiTLib[openvino]", or use the backend torch.'
    if not has_openvino():
        raise CardioDiTError("The backend openvino needs the package openvino, which is not installed.", hint)
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails, and OpenVINO's own stub is taken
    try:
        import openvino
    except Exception as error:
        raise CardioDiTError(f"The package openvino cannot be loaded: {error}.", hint) from error
    finally:
        if before is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before
    return openvino


@lru_cache(maxsize=1)
def _core() -> Any:
    return load_openvino().Core()


def openvino_version() -> str:
    """Version of OpenVINO, such as "2026.4.1"."""
    return str(load_openvino().__version__).split("-")[0]


def openvino_precision(name: str) -> str:
    """The precision of a name: "auto" takes bfloat16 where the processor has instructions for it.

    Unlike torch, OpenVINO is faster so with AVX512-BF16 alone, not only with AMX.

    Raises:
        CardioDiTError: Another name than "auto" and those of `OPENVINO_PRECISIONS`.
    """
    if name == "auto":
        return "bf16" if "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"
    if name not in OPENVINO_PRECISIONS:
        raise CardioDiTError(
            f"The precision {name!r} is not known.", f"Choose one of auto, {', '.join(OPENVINO_PRECISIONS)}."
        )
    return name


def beside_int8() -> str:
    """Precision of what is not in 8 bits with "int8": bfloat16 with AMX, else float32.

    OpenVINO multiplies matrices of 8 bits as such beside float32 alone; with AMX bfloat16 gains more than that.
    """
    return "bf16" if cpu_has_amx() else "fp32"


class CompiledNetwork:
    """A function of tensors of torch, compiled by OpenVINO for each set of shapes that it is called with.

    Args:
        network: What is compiled; it gives one tensor, or a tuple of them.
        precision: "fp32", "bf16" or "int8" (`OPENVINO_PRECISIONS`).
        ranges: Of the convolutions that are to be in 8 bits, for "int8"; without them convolutions stay wide.
    """

    def __init__(self, network: nn.Module, precision: str, ranges: Callable[[], Ranges] | None = None) -> None:
        self._network = network
        self._precision = precision
        self._ranges = ranges
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the network gives of tensors on the CPU, float32 or int64."""
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in inputs)
        if shapes not in self._compiled:
            if len(self._compiled) >= _KEPT_SHAPES:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[shapes] = self._compile(inputs)
        found = self._compiled[shapes].infer([tensor.contiguous().numpy() for tensor in inputs])
        # copied: the memory is OpenVINO's, and written again at the next call
        return tuple(torch.from_numpy(np.array(values)) for values in found.values())

    def _compile(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        load_openvino()
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is traced holds for these shapes alone, and they alone are compiled
            examples = tuple(tensor.clone() for tensor in inputs)
            traced = torch.jit.trace(self._network, examples, check_trace=False)
            front_end = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(traced)  # named, so that it lives as long as it is read
            model = front_end.convert(front_end.load(decoder))
        model.reshape({port: list(tensor.shape) for port, tensor in zip(model.inputs, inputs)})
        narrow = self._precision
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        if narrow == "int8":
            matrices_to_8_bits(model)
            if self._ranges is not None:
                convolutions_to_8_bits(model, self._ranges())
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
            narrow = beside_int8()
        settings["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[narrow]
        return _core().compile_model(model, "CPU", settings).create_infer_request()


class CompiledDiT:
    """A diffusion transformer that is called as the network is; other attributes are those of the network.

    Args:
        dit: On the CPU, in evaluation mode.
        precision: See `CompiledNetwork`.
    """

    def __init__(self, dit: nn.Module, precision: str) -> None:
        self._dit = dit
        self._precision = precision
        self._called: dict[tuple[bool, tuple[str, ...]], CompiledNetwork] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._dit, name)

    def __call__(
        self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None, **more: torch.Tensor
    ) -> torch.Tensor:
        """As `DiT4D.forward`."""
        key = y is not None, tuple(more)
        if key not in self._called:
            self._called[key] = CompiledNetwork(_Named(self._dit, *key), self._precision)
        given = (x, t) if y is None else (x, t, y)
        return self._called[key](*given, *more.values())[0]


class _Named(nn.Module):
    """A network whose named inputs are the last of all, in a fixed order."""

    def __init__(self, network: nn.Module, labelled: bool, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self._first, self._names = network, 3 if labelled else 2, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        first, rest = inputs[: self._first], inputs[self._first :]
        return self.network(*first, **dict(zip(self._names, rest)))


class CompiledCodec:
    """A slice codec whose decoder is compiled; other attributes are those of the codec.

    Args:
        codec: On the CPU, in evaluation mode.
        precision: See `CompiledNetwork`.
    """

    def __init__(self, codec: VQGAN, precision: str) -> None:
        self._codec = codec
        self._decode = _Method(codec, "decode")
        self._decoder = CompiledNetwork(self._decode, precision, self._ranges)
        self._frames = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._codec, name)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """As `VQGAN.decode`."""
        self._frames = z.shape[-1]
        return self._decoder(z.float())[0]

    def _ranges(self) -> Ranges:
        return input_ranges(self._decode, calibration_latents(self._codec, self._frames))


class _Method(nn.Module):
    """One method of a network as a network."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network = network
        self._call: Callable[..., torch.Tensor] = getattr(network, method)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._call(x)
