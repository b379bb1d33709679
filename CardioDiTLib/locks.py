"""What several processes change: a lock that one holds at a time, and lists in JSON files that are changed under one.

The packages for locks leave their file behind, or fall back to a mark that outlives its process where a drive has no
locks; here nothing is left, and what a dead process held is free.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.progress import Stop
from CardioDiTLib.schema import parse_json

_POLL_S = 0.1

_NOT_OFFERED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
STORE_VERSION = 1


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


class JsonStore:
    """A list of objects in a JSON file.

    Args:
        path: The file; it may be absent, which is an empty list.
        key: Name of the list in the file.
        title: What it is, for messages.
    """

    def __init__(self, path: Path, key: str, title: str) -> None:
        self.path = path
        self._key = key
        self._title = title

    def read(self) -> list[dict[str, Any]]:
        """The objects.

        Raises:
            CardioDiTError: The file cannot be read or is damaged; it is left as it is.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        try:
            values = parse_json(text)
        except ValueError as error:
            raise self._damaged("it is not JSON") from error
        if not isinstance(values, dict) or values.get("schema_version") != STORE_VERSION:
            found = values.get("schema_version") if isinstance(values, dict) else None
            raise self._damaged(f"its schema version is {found!r} instead of {STORE_VERSION}")
        items = values.get(self._key)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._damaged(f"'{self._key}' is not a list of objects")
        return items

    def change(self, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Replace the list by what a function makes of it; no other process changes it meanwhile.

        Raises:
            CardioDiTError: The file is damaged, or cannot be written.
        """

        try:
            with holding(self.path.with_name(f".{self.path.name}.lock"), Stop()):
                items = edit(self.read())
                with atomic_path(self.path) as temporary:
                    content = {"schema_version": STORE_VERSION, self._key: items}
                    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise CardioDiTError(
                f"The {self._title} '{self.path}' could not be written: {error.strerror or error}.",
                "Check the folder, its permissions and the free disk space.",
            ) from error

    def damaged_entry(self, error: CardioDiTError) -> CardioDiTError:
        """The error for an object of the list that is not what it should be."""
        return self._damaged(error.message.rstrip("."))

    def _damaged(self, reason: str) -> CardioDiTError:
        return CardioDiTError(
            f"The {self._title} '{self.path}' is damaged: {reason}.", "Repair this file, or move it away."
        )
