"""Where the segmentation network computes."""

from __future__ import annotations

import torch

from CardioDiTLib.errors import CardioDiTError


def segmentation_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" is the first CUDA device, else the CPU.

    Raises:
        CardioDiTError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CardioDiTError(f"{name!r} is not the name of a device.", "Use auto, cpu, cuda, cuda:1 or mps.") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise CardioDiTError(f"This machine has no device {name!r} that can be used.", "Use the device auto or cpu.")
    return device
