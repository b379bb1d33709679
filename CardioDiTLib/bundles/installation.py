"""Bundles put in place and taken away: by renaming, so that each moment has a whole bundle or none."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from CardioDiTLib.bundles.manifest import FILES_LIMIT, MANIFEST_LIMIT_BYTES, MANIFEST_NAME
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, bundle_folders, user_bundles_folder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import REPLACED_SUFFIX, hidden_beside, rename_folder
from CardioDiTLib.locks import holding
from CardioDiTLib.progress import Stop

REMOVED_SUFFIX = ".removed"

IMPORT_SUFFIX = ".import"

SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What systems put into folders by themselves; never copied."""

_AGAIN = "Get the zip again, from somebody whom you trust."
_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1 | 0x40
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_SYSTEM_FOLDER = "__MACOSX"


def remove_bundle(name: str) -> int:
    """Delete a bundle of the user's folder.

    Args:
        name: Name of the bundle.

    Returns:
        Bytes that were freed.

    Raises:
        CardioDiTError: There is none of this name in the user's folder, or it is in use.
    """
    place = user_bundles_folder()
    if name not in _bundle_names(place):
        for origin, folder in bundle_folders():
            if origin != "user" and name in _bundle_names(folder):
                owner = "comes with CardioDiT" if origin == "embedded" else f"lies in {BUNDLES_VARIABLE}"
                raise CardioDiTError(
                    f"The bundle '{name}' {owner} and is not removed from here.",
                    "Only bundles that were downloaded or imported can be removed.",
                )
        known = ", ".join(sorted(_bundle_names(place)))
        raise CardioDiTError(
            f"There is no bundle called {name!r} among those that were downloaded or imported.",
            f"There are {known}." if known else "There are none.",
        )
    folder = place / name
    with changing(folder, Stop(), lambda: refuse_busy(name)):
        if folder.is_symlink():  # somebody else's folder: only the way to it goes
            folder.unlink()
            return 0
        size = bundle_size_bytes(folder)
        aside = hidden_beside(folder, REMOVED_SUFFIX)
        rename_folder(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    return size


def bundle_size_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes of all files of a folder; links are not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return total


def check_not_hidden(name: str) -> None:
    """Refuse a name under which another bundle would be found.

    Raises:
        CardioDiTError: A bundle outside of the user's folder has the name.
    """
    for origin, folder in bundle_folders():
        if origin != "user" and name in _bundle_names(folder):
            where = "A bundle that comes with CardioDiT" if origin == "embedded" else f"A bundle in '{folder}'"
            raise CardioDiTError(
                f"{where} is called '{name}' already and would always be taken instead.",
                "Give a folder of its own as destination, or ask the publisher for another name.",
            )


@contextmanager
def changing(final: Path, stop: Stop, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Be the only process that changes a bundle; clean up what a process that died has left.

    Args:
        final: Folder of the bundle.
        stop: Asked while waiting for another process.
        waiting: Called while waiting.

    Raises:
        Cancelled: The job has to stop.
        CardioDiTError: The disk refuses something.
    """
    try:
        with holding(final.with_name(f".{final.name}.lock"), stop, waiting):
            _recover(final)
            yield
    except OSError as error:
        raise CardioDiTError(
            f"The bundle '{final}' could not be changed: {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error


def refuse_busy(name: str) -> NoReturn:
    """What is done with a bundle that another process is changing, where waiting makes no sense.

    Raises:
        CardioDiTError: Always.
    """
    raise CardioDiTError(
        f"The bundle '{name}' is being downloaded or changed right now.", "Cancel that, or wait for it to end."
    )


def _recover(final: Path) -> None:
    mark = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}(\.[a-z]+)")
    found = [(path, match[1]) for path in final.parent.iterdir() if (match := mark.fullmatch(path.name))]
    replaced = [path for path, suffix in found if suffix == REPLACED_SUFFIX]
    if replaced and not final.exists():
        os.replace(replaced.pop(), final)
    for path in [*replaced, *(path for path, suffix in found if suffix in (REMOVED_SUFFIX, IMPORT_SUFFIX))]:
        shutil.rmtree(path, ignore_errors=True)


def _bundle_names(place: Path) -> set[str]:
    if not place.is_dir():
        return set()
    return {p.name for p in place.iterdir() if not p.name.startswith(".") and (p / MANIFEST_NAME).is_file()}


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
