"""Ending a process together with all that it started.

Slicer's Python is started through a launcher; ending only the launcher would leave the real process, and its hold on
a GPU, behind. psutil is not part of Slicer, so each system's own means are used.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def parentsOfAll() -> dict[int, int]:
    """Parent of every process, by process number. Empty on Windows, where `taskkill` knows the tree itself."""
    if sys.platform == "win32":
        return {}
    if Path("/proc/self/stat").exists():
        return dict(filter(None, map(_parentFromProc, Path("/proc").glob("[0-9]*"))))
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=5, check=False)
    pairs = [line.split() for line in listing.stdout.splitlines()]
    return {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2}


def _parentFromProc(folder: Path) -> tuple[int, int] | None:
    try:
        # the name of the program, in brackets, may hold anything
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(folder.name), int(fields[1])
    except (OSError, ValueError, IndexError):
        return None  # ended meanwhile


def descendants(pid: int) -> list[int]:
    """All that a process started, and what those started."""
    children: dict[int, list[int]] = {}
    for child, parent in parentsOfAll().items():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        mine = children.get(waiting.pop(), [])
        found += mine
        waiting += mine
    return found


def killTree(pid: int) -> None:
    """End a process and all its descendants at once; those that have ended already are no matter."""
    if pid <= 0:
        return
    if sys.platform == "win32":
        noWindow = 0x08000000
        subprocess.run(
            ["taskkill", "/PID", str(pid), "/T", "/F"], capture_output=True, creationflags=noWindow, check=False
        )
        return
    for one in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)
