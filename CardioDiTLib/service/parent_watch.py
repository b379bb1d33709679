"""A worker must not outlive whoever started it, whatever way that ended."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

POLL_S = 0.5


def watch_parent(pid: int | None, when_gone: Callable[[], None], poll_s: float = POLL_S) -> threading.Thread:
    """Call `when_gone` once the parent has ended.

    The end of stdin says the same in most cases; not where a launcher stands between, or where another child of the
    parent has inherited the pipe.

    Args:
        pid: Process to watch beside the direct parent: the application, where the direct parent is only a launcher.
        when_gone: Called from the watching thread.
        poll_s: Seconds between looks.
    """
    first_parent = os.getppid()

    def watch() -> None:
        while True:
            if (sys.platform != "win32" and os.getppid() != first_parent) or (pid is not None and not is_alive(pid)):
                when_gone()
                return
            time.sleep(poll_s)

    thread = threading.Thread(target=watch, name="parent watch", daemon=True)
    thread.start()
    return thread


def is_alive(pid: int) -> bool:
    """Whether a process is there."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(pid: int) -> bool:
    import ctypes

    synchronize, timed_out = 0x00100000, 0x00000102
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == timed_out)
    finally:
        kernel.CloseHandle(handle)
