"""What the networks of a bundle run in: torch, or OpenVINO on CPUs where it is installed and asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.precision import choose_precision, cpu_has_amx, narrowed, precision_name
from CardioDiTLib.generation.request import BACKENDS
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.vqgan import VQGAN


@dataclass(frozen=True)
class Backend:
    """Where transformer and slice decoder compute, and in which numbers.

    Attributes:
        name: "torch" or "openvino".
        precision: "fp32", "bf16" or, with OpenVINO, "int8".
        dtype: Type in which what stays in torch computes.
    """

    name: str
    precision: str
    dtype: torch.dtype

    @classmethod
    def choose(cls, name: str, precision: str, device: torch.device) -> Backend:
        """The backend of a name; "auto" is OpenVINO where it is installed and the device is the CPU, else torch.

        Raises:
            CardioDiTError: It is not known or not installed, does not run on this device, or has no such precision.
        """
        if name not in BACKENDS:
            raise CardioDiTError(f"The backend {name!r} is not known.", f"Choose one of {', '.join(BACKENDS)}.")
        if name == "auto":
            from CardioDiTLib.generation.openvino_backend import has_openvino

            name = "openvino" if device.type == "cpu" and has_openvino() else "torch"
        if name == "torch":
            if precision == "int8":
                raise CardioDiTError(
                    "The precision int8 needs the backend openvino.", "Choose auto, fp32 or bf16, or that backend."
                )
            dtype = choose_precision(precision, device)
            return cls(name, precision_name(dtype), dtype)
        if device.type != "cpu":
            raise CardioDiTError(
                f"The backend openvino computes on the CPU, not on {device}.",
                "Use the device cpu or the backend torch.",
            )
        from CardioDiTLib.generation.openvino_backend import openvino_precision

        precision = openvino_precision(precision)
        return cls(name, precision, torch.float32 if precision == "fp32" else choose_precision("auto", device))

    @property
    def autocast(self) -> torch.dtype | None:
        """Type in which torch is to run the transformer; None for that of its weights."""
        return None if self.name != "torch" or self.dtype == torch.float32 else self.dtype

    def transformer(self, dit: DiT4D) -> Any:
        """What is called in place of a bundle's transformer, and called like it."""
        if self.name == "torch":
            return narrowed(dit, self.dtype)
        from CardioDiTLib.generation.openvino_backend import CompiledDiT

        return CompiledDiT(dit, self.precision)

    def codec(self, vqgan: VQGAN) -> Any:
        """What decodes in place of a bundle's codec, and the type in which torch is to run it.

        With AMX torch decodes in bfloat16 faster than OpenVINO, so that it keeps the codec there. In 8 bits OpenVINO is
        about as fast on a small decoder, and faster on one of the published size.
        """
        if self.name == "torch" or (self.precision == "bf16" and cpu_has_amx()):
            return vqgan, self.dtype
        from CardioDiTLib.generation.openvino_backend import CompiledCodec

        return CompiledCodec(vqgan, self.precision), torch.float32

    def facts(self) -> dict[str, str]:
        """Entries of the provenance beside the precision; none for torch, whose version is there in any case."""
        if self.name == "torch":
            return {}
        from CardioDiTLib.generation.openvino_backend import openvino_version

        return {"backend": self.name, "backend_version": openvino_version()}
