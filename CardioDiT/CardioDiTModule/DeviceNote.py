"""What this machine is like, as far as a user should know, found out without PyTorch."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

NICE_FROM = 10
"""Priority from which it is said; 0 is that of ordinary programs, 19 the lowest."""


def deviceNote(probe: dict[str, Any], seconds: float | None) -> tuple[str, str]:
    """What is said about the devices.

    Args:
        probe: What the worker found this machine to have.
        seconds: How long a heart takes; None where that is not known.

    Returns:
        (text, tool tip).
    """
    parts, toolTip = [], ""
    if not probe["has_gpu"]:
        parts.append(
            _unusedGpu(str((probe.get("versions") or {}).get("torch") or ""))
            if hasNvidiaDriver()
            else _("No graphics card was found that can be used: computing on the processor ({cores} cores).").format(
                cores=probe["processors"]
            )
        )
    if seconds is not None:
        parts.append(_("About {seconds:.0f} s a heart.").format(seconds=max(1.0, seconds)))
    niceness = ownNiceness()
    if niceness >= NICE_FROM:
        parts.append(_("Slicer runs at low priority here: other programs go first."))
        toolTip = _(
            "On Linux Slicer gives itself the priority {nice}, and the worker inherits it: beside other programs that "
            "compute, it hardly gets on. Start Slicer with the environment variable "
            "SLICER_BACKGROUND_THREAD_PRIORITY=0 to avoid it."
        ).format(nice=niceness)
    return " ".join(parts), toolTip


def _unusedGpu(version: str) -> str:
    """Why a graphics card that is there is not offered."""
    if "+cpu" in version:
        text = _(
            "There is an NVIDIA graphics card, but the installed PyTorch ({version}) was made for the processor alone: "
            "uninstall it in the module PyTorch Util, restart Slicer, and install it there with CUDA."
        )
    else:
        text = _(
            "There is an NVIDIA graphics card, but PyTorch ({version}) cannot use it: its driver may be too old, or "
            "PyTorch was made for the processor alone (module PyTorch Util)."
        )
    return str(text).format(version=version)


def ownNiceness() -> int:
    """Priority of this process as Unix counts it: 0 for ordinary programs, up to 19 for those that let all others go
    first; 0 on Windows.
    """
    return os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0


def hasNvidiaDriver() -> bool:
    """Whether a driver of NVIDIA is installed, and so, as a rule, a graphics card that PyTorch could use."""
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").is_file()
    return Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None
