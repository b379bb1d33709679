"""A zip file that somebody gave us as a bundle; nothing of it is believed."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from CardioDiTLib.bundles.bundle_folder import SYSTEM_FILES
from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.manifest_check import FILES_LIMIT, MANIFEST_LIMIT_BYTES
from CardioDiTLib.errors import CardioDiTError

_AGAIN = "Get the zip again, from somebody whom you trust."
_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1 | 0x40
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_SYSTEM_FOLDER = "__MACOSX"


class BundleZip:
    """The files of a zip, at its root or in its one top folder.

    Args:
        path: The zip.
        title: What it is called in messages; its file name where it is empty.

    Raises:
        CardioDiTError: It is damaged, or no zip of a bundle.
    """

    def __init__(self, path: Path, title: str = "") -> None:
        self.title = title or path.name
        with self._whole():
            self._zip = zipfile.ZipFile(path)
        try:
            self._members = self._checked(self._zip.infolist())
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> BundleZip:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes that each file is said to have when it is unpacked."""
        return {name: member.file_size for name, member in self._members.items()}

    def read_manifest(self) -> bytes:
        """The bytes of ``bundle.json``, one more than are allowed at most."""
        with self._whole(), self.open(MANIFEST_NAME) as stream:
            return stream.read(MANIFEST_LIMIT_BYTES + 1)

    def open(self, name: str) -> BinaryIO:
        """A file, unpacked while it is read; what is damaged shows as :class:`CardioDiTError` then."""
        with self._whole():
            return cast(BinaryIO, _Unpacked(self, self._zip.open(self._members[name])))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise CardioDiTError(f"'{self.title}' is not a whole zip file: {error}.", "Get it again.") from error

    def _checked(self, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        if len(members) > 2 * FILES_LIMIT:
            raise CardioDiTError(
                f"'{self.title}' holds {len(members)} files; no bundle has as many.", "Give the zip of one bundle."
            )
        files: dict[tuple[str, ...], zipfile.ZipInfo] = {}
        folders: set[tuple[str, ...]] = set()
        seen: set[str] = set()
        for member in members:
            parts = self._parts(member)
            key = "/".join(parts).lower()
            if key in seen:
                raise CardioDiTError(f"'{self.title}' holds '{'/'.join(parts)}' twice.", _AGAIN)
            seen.add(key)
            if parts[0] == _SYSTEM_FOLDER or parts[-1] in SYSTEM_FILES:
                continue
            if member.orig_filename.endswith("/"):
                folders.add(parts)
            else:
                self._check_kind(member)
                files[parts] = member
        top = self._top(list(files))
        for parts in [*files, *folders]:
            inside = parts[: len(top)] == top and len(parts) == len(top) + 1 and parts not in folders
            if not inside and parts != top:
                raise CardioDiTError(
                    f"'{'/'.join(parts)}' in '{self.title}' does not belong to the bundle.",
                    "Give the zip of one bundle.",
                )
        return {parts[-1]: member for parts, member in files.items()}

    def _parts(self, member: zipfile.ZipInfo) -> tuple[str, ...]:
        name = member.orig_filename
        parts = name.removesuffix("/").split("/")
        outside = name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in re.split(r"[/\\]", name)
        if outside:
            raise CardioDiTError(f"'{self.title}' wants to write outside of its folder: '{name}'.", _AGAIN)
        if "\\" in name or "\0" in name or any(part in ("", ".") for part in parts):
            raise CardioDiTError(f"'{self.title}' holds a file with an odd name: {name!r}.", _AGAIN)
        return tuple(parts)

    def _check_kind(self, member: zipfile.ZipInfo) -> None:
        name, mode = member.orig_filename, member.external_attr >> 16
        if stat.S_ISLNK(mode):
            raise CardioDiTError(f"'{name}' in '{self.title}' is a link to another place.", _AGAIN)
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise CardioDiTError(f"'{name}' in '{self.title}' is not a file.", _AGAIN)
        if member.flag_bits & _ENCRYPTED:
            raise CardioDiTError(
                f"'{name}' in '{self.title}' is encrypted.", "Unpack it with its password, and import the folder."
            )
        if member.compress_type not in _METHODS:
            raise CardioDiTError(
                f"'{name}' in '{self.title}' is compressed in an unusual way (method {member.compress_type}).",
                "Unpack it, and import the folder.",
            )

    def _top(self, files: list[tuple[str, ...]]) -> tuple[str, ...]:
        manifests = [parts[:-1] for parts in files if parts[-1] == MANIFEST_NAME and len(parts) <= 2]
        if not manifests:
            raise CardioDiTError(
                f"'{self.title}' holds no {MANIFEST_NAME} at its root or in its top folder.",
                "Give the zip of a bundle.",
            )
        if len(manifests) > 1:
            raise CardioDiTError(f"'{self.title}' holds {len(manifests)} bundles.", "Give the zip of one bundle.")
        return manifests[0]


class _Unpacked:
    """A file in a zip whose damage is told in our words.

    Args:
        owner: The zip.
        stream: The file.
    """

    def __init__(self, owner: BundleZip, stream: object) -> None:
        self._owner = owner
        self._stream = cast(BinaryIO, stream)

    def __enter__(self) -> _Unpacked:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        with self._owner._whole():
            return self._stream.read(size)
