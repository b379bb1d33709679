"""What this machine can compute with. Asked here and not in an application, in which torch might not even load."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.service.job import Job
from CardioDiTLib.version import __version__

PACKAGES = ("torch", "monai", "numpy", "scipy", "SimpleITK", "nibabel", "safetensors", "einops", "openvino")


def probe(job: Job) -> dict[str, Any]:
    """Devices, memory, versions.

    Returns:
        ``devices``: a list of {name, title, memory_bytes, bf16}; the first is what "auto" takes. ``has_gpu``,
        ``processors``, ``memory_bytes``, ``versions``, ``python``, ``system``.

    Raises:
        CardioDiTError: torch is missing or cannot be loaded.
    """
    job.check_arguments()
    torch = load_torch()
    from CardioDiTLib.generation.precision import cpu_gain_of_bfloat16, cpu_lists_bfloat16

    gain = cpu_gain_of_bfloat16() if cpu_lists_bfloat16() else 0.0
    cpu = {"name": "cpu", "title": "Processor", "memory_bytes": memory_bytes(), "bf16": gain > 1, "bf16_gain": gain}
    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            gpus.append(
                {"name": f"cuda:{index}", "title": about.name, "memory_bytes": about.total_memory, "bf16": bf16}
            )
    others = []
    if torch.backends.mps.is_available():
        # "auto" leaves it aside (see `device`), but it can be asked for
        others.append({"name": "mps", "title": "Apple GPU", "memory_bytes": memory_bytes(), "bf16": False})
    return {
        "devices": [*gpus, cpu, *others],
        "has_gpu": bool(gpus or others),
        "processors": _processors(),
        "memory_bytes": memory_bytes(),
        "versions": {"cardiodit": __version__, **_versions()},
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def load_torch() -> Any:
    """torch, or one sentence about what is wrong with it.

    Raises:
        CardioDiTError: It is missing, or broken.
    """
    try:
        import torch

        torch.zeros(1)
    except ModuleNotFoundError as error:
        raise CardioDiTError(
            f"PyTorch is not installed in this Python ({sys.executable}).",
            "In Slicer, use the button Install in the section Setup; elsewhere, pip install torch.",
        ) from error
    except Exception as error:  # a half-installed torch fails in many ways
        raise CardioDiTError(
            f"PyTorch is installed but cannot be loaded: {' '.join(str(error).split())[:200]}.",
            "Uninstall it (in Slicer: module PyTorch Util), restart, and install it again.",
        ) from error
    return torch


def memory_bytes() -> int | None:
    """Memory of the machine; None where it does not tell."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return _windows_memory_bytes()


def _windows_memory_bytes() -> int | None:
    if sys.platform != "win32":
        return None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("physical", "free", "page", "page_free", "virtual", "v_free")),
            ("extended", ctypes.c_ulonglong),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.physical)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Windows and macOS
        return os.cpu_count() or 1


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
