"""Where to compute. torch is imported by what needs it alone: `share_processors` has to come before it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from CardioDiTLib.errors import CardioDiTError

if TYPE_CHECKING:
    import torch


def share_processors() -> None:
    """Let threads that wait for each other sleep instead of spinning, unless the user decided otherwise.

    Has to happen before torch is imported. Where other programs compute too (Slicer, a training run), a thread that
    spins keeps the one it waits for from running: on two busy cores, work that took two spinning threads 16 s took
    two sleeping ones 1.4 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def check_device_name(name: str) -> None:
    """See that a text can be the name of a device, whether or not there is one; told without torch.

    Raises:
        CardioDiTError: It cannot.
    """
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:(0|[1-9]\d?))?", name):
        raise CardioDiTError(f"{name!r} is no device to compute on.", "Use auto, cpu, cuda, cuda:1 or mps.")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" is the first CUDA device, else the CPU.

    "auto" leaves Apple's GPU aside: transposed 3D convolutions are not there in all versions of torch that are
    supported. It can be asked for as "mps".

    Raises:
        CardioDiTError: There is no such device on this machine.
    """
    check_device_name(str(name))  # a torch.device does as well
    import torch

    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise CardioDiTError(
                f"This machine has no CUDA device that torch can use, such as {name!r}.", "Use the device auto or cpu."
            )
        index = torch.cuda.current_device() if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise CardioDiTError(
                f"There is no CUDA device {index}.", f"This machine has 0 to {torch.cuda.device_count() - 1}."
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise CardioDiTError("This machine has no Apple GPU that torch can use.", "Use the device auto or cpu.")
    return device


@contextmanager
def told_when_out_of_memory(hint: str) -> Iterator[None]:
    """Turn the many ways of running out of memory into one sentence.

    Raises:
        CardioDiTError: Memory ran out inside the block.
    """
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise CardioDiTError("The memory is not enough.", hint) from error
    except RuntimeError as error:
        # the CPU allocator has no class of its own
        if "allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise CardioDiTError("The memory is not enough.", hint) from error
