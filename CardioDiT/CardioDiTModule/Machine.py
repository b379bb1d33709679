"""What this machine is like, found out without PyTorch."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


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
