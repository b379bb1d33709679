"""Graphics cards for which PyTorch lacks an operation: said in one sentence, not as what the library below says."""

from __future__ import annotations

import re

from CardioDiTLib.errors import CardioDiTError

_NAME = re.compile(r"operator '(?:aten::)?([\w.]+)'|(\w+ ?3D) is not supported|(float64)|(bfloat16)", re.IGNORECASE)


def missing_operator(error: BaseException) -> CardioDiTError | None:
    """The problem in plain words where an Apple GPU lacks what a network needs, or its memory is not enough; None for
    anything else.

    PyTorch says so with NotImplementedError ("The operator 'aten::...' is not currently implemented for the MPS
    device"), RuntimeError ("... is not supported on MPS", "MPS backend out of memory") or TypeError (float64).

    Args:
        error: What was raised; its class and text are looked at, torch is not needed.
    """
    text = str(error)
    if not isinstance(error, NotImplementedError | RuntimeError | TypeError) or "MPS" not in text:
        return None
    if "out of memory" in text:
        return CardioDiTError("The memory of the Apple GPU is not enough.", "Choose the device cpu.")
    found = _NAME.search(text)
    name = "" if found is None else f" ({next(part for part in found.groups() if part)})"
    return CardioDiTError(
        f"The Apple GPU cannot do this: the installed PyTorch lacks an operation for it{name}.",
        "Choose the device cpu, or install a newer PyTorch.",
    )
