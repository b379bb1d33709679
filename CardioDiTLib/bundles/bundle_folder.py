"""A folder that somebody gave us as a bundle."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.manifest_check import MANIFEST_LIMIT_BYTES
from CardioDiTLib.errors import CardioDiTError

SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What systems put into folders by themselves; never copied."""


class BundleFolder:
    """The files of a folder.

    Args:
        folder: It.

    Raises:
        CardioDiTError: It holds no manifest, a link, or something else than files.
    """

    def __init__(self, folder: Path) -> None:
        self.title = folder.name or str(folder)
        self._folder = folder
        self._sizes: dict[str, int] = {}
        for path in sorted(folder.iterdir()):
            if path.name in SYSTEM_FILES:
                continue
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                raise CardioDiTError(
                    f"'{path.name}' in '{self.title}' is a link to another place.", "Put the file itself there."
                )
            if not stat.S_ISREG(found.st_mode):
                raise CardioDiTError(
                    f"'{path.name}' in '{self.title}' is not a file.", "A bundle holds files only, no folders."
                )
            self._sizes[path.name] = found.st_size
        if MANIFEST_NAME not in self._sizes:
            raise CardioDiTError(f"'{folder}' holds no {MANIFEST_NAME}.", "Give the folder of a bundle.")

    def __enter__(self) -> BundleFolder:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return dict(self._sizes)

    def read_manifest(self) -> bytes:
        """The bytes of ``bundle.json``, one more than are allowed at most."""
        with self.open(MANIFEST_NAME) as stream:
            return stream.read(MANIFEST_LIMIT_BYTES + 1)

    def open(self, name: str) -> BinaryIO:
        """A file, for reading; what became a link meanwhile is not followed where the system can do without."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(self._folder / name, flags), "rb")
