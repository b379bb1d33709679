"""A lock between processes; the system lets go of it when its holder dies."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from CardioDiTLib.bundles.stopping import Stop

_POLL_S = 0.1
_NOT_OFFERED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class FileLock:
    """A lock that one process (and in it one thread) holds at a time.

    Args:
        path: File that stands for the lock. It is removed when the lock is let go; that of a process that died stays,
            and is locked again by the next.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it.

        Returns:
            True where it is taken.

        Raises:
            OSError: Its file cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            # Windows says so for the moment in which another process removes the file
            if sys.platform == "win32" and os.access(self.path.parent, os.W_OK):
                return False
            raise
        if _lock(file) and self._is_current(file):
            self._file = file
            return True
        os.close(file)
        return False

    def release(self) -> None:
        """Let the lock go."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if sys.platform == "win32":
            # an open file cannot be removed there, so nobody can lock it between these steps and lose it
            _unlock(file)
            os.close(file)
            with suppress(OSError):
                self.path.unlink()
        else:
            # removed while it is held: whoever opened it before sees that it is gone, and tries again
            with suppress(OSError):
                self.path.unlink()
            os.close(file)

    def _is_current(self, file: int) -> bool:
        """False where the locked file was removed meanwhile, so that another process may lock its successor."""
        if sys.platform == "win32":
            return True
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False


@contextmanager
def holding(path: Path, stop: Stop, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock during a block; wait for it as long as another process has it.

    Args:
        path: File of the lock.
        stop: Asked while waiting.
        waiting: Called about ten times a second while waiting.

    Raises:
        Cancelled: The job has to stop.
        OSError: The file of the lock cannot be made.
    """
    lock = FileLock(path)
    while not lock.try_acquire():
        if waiting is not None:
            waiting()
        stop.wait(_POLL_S)
    try:
        yield
    finally:
        lock.release()


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # some network drives have no locks; working there without is better than not at all
        return error.errno in _NOT_OFFERED
    return True


def _unlock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        with suppress(OSError):
            os.lseek(file, 0, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
