"""Names of what a run leaves only when it is ended by force, and what may be swept away of them."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

PREFIX = ".cardiodit-"
"""Begins every hidden name."""
_MARK = re.compile(r"\.cardiodit-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(\..*)?", re.DOTALL)
_STALE_S = 24 * 3600.0


def own_name() -> str:
    """A hidden name that says which process of which machine made it, and nothing else."""
    return f"{PREFIX}{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def machine() -> str:
    """A mark of this machine that says nothing about it."""
    return hashlib.sha256(socket.gethostname().encode("utf-8", "replace")).hexdigest()[:8]


def is_marked(name: str) -> bool:
    """Whether a name is one of :func:`own_name`, with a file's name behind it or not."""
    return _MARK.fullmatch(name) is not None


def is_left_behind(path: Path) -> bool:
    """Whether what has a hidden name belongs to no run any more.

    A run is known to have ended where its process on this machine is gone; what comes from elsewhere, or cannot be
    told, is left for a day.
    """
    match = _MARK.fullmatch(path.name)
    if match is not None and match[1] == machine() and os.name != "nt":  # asking there would end the process
        return not _is_running(int(match[2]))
    return time.time() - path.lstat().st_mtime > _STALE_S


def sweep_files(folder: Path) -> None:
    """Remove hidden files that runs left in a folder which were ended by force; links and folders are not touched."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if not entry.name.startswith(PREFIX) or not is_marked(entry.name):
                continue
            with suppress(OSError):
                path = folder / entry.name
                if entry.is_file(follow_symlinks=False) and is_left_behind(path):
                    path.unlink()


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
