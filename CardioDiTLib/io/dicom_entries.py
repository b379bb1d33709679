"""The files of a folder or a zip archive, each with a way to open it; nothing is passed over without being counted."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.memory import MAX_BYTES

_MAX_FILES = 200_000
_ENCRYPTED = 0x1
_STORED_OR_KNOWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@dataclass(frozen=True)
class Entry:
    """One file.

    Args:
        name: Its name without folders.
        size: Bytes, unpacked.
        open: Opens it; the stream can be wound back.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]


@contextmanager
def entries_of(path: Path, unreadable: list[str]) -> Iterator[Iterator[Entry]]:
    """Files of a folder (searched to the bottom, links followed once), of a zip archive, or a single file.

    Files that file browsers leave behind (``.DS_Store``, ``__MACOSX``) are none. A zip is read in place.

    Args:
        path: Folder, ``.zip``, or one DICOM file.
        unreadable: Gets a sentence for each folder or file that is there and cannot be read.

    Raises:
        CardioDiTError: Not a zip file, an encrypted one, or too large.
    """
    if path.is_dir():
        yield _weighed(_folder(path, unreadable))
        return
    if path.suffix.lower() != ".zip":
        yield iter([Entry(path.name, path.stat().st_size, lambda: path.open("rb"))])
        return
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise CardioDiTError(
            f"'{path.name}' could not be read: {error.strerror or error}.", "Check its permissions and the disk."
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CardioDiTError(
            f"'{path.name}' is not a zip file, or it is truncated or damaged.", "Copy or download the file again."
        ) from error
    with archive:
        yield _weighed(_zip(path, archive))


def _weighed(entries: Iterator[Entry]) -> Iterator[Entry]:
    total = 0
    for number, entry in enumerate(entries):
        total += entry.size
        if total > MAX_BYTES or number > _MAX_FILES:
            raise CardioDiTError(
                f"There is more than {MAX_BYTES // 1024**3} GB to read, or more than {_MAX_FILES} files.",
                "Give the folder of one cine series only.",
            )
        yield entry


def _folder(folder: Path, unreadable: list[str]) -> Iterator[Entry]:
    def failed(error: OSError) -> None:
        unreadable.append(f"'{Path(str(error.filename)).name}' could not be read: {error.strerror}.")

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=failed):
        real = os.path.realpath(place)
        if real in seen:  # a link back to a folder that was read already
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _left_behind(name))
        for name in sorted(files):
            if _left_behind(name):
                continue
            file = Path(place, name)
            try:
                if not file.is_file():
                    if file.is_symlink():
                        unreadable.append(f"'{name}' is a link to a file that is not there.")
                    continue
                yield Entry(name, file.stat().st_size, lambda file=file: file.open("rb"))  # type: ignore[misc]
            except OSError as error:
                unreadable.append(f"'{name}' could not be read: {error.strerror or error}.")


def _left_behind(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _zip(path: Path, archive: zipfile.ZipFile) -> Iterator[Entry]:
    for entry in archive.infolist():
        if entry.is_dir() or any(_left_behind(part) for part in entry.filename.split("/")):
            continue
        if entry.flag_bits & _ENCRYPTED:
            raise CardioDiTError(f"'{path.name}' is encrypted.", "Unpack it with its password, and give the folder.")
        if entry.compress_type not in _STORED_OR_KNOWN:
            raise CardioDiTError(
                f"'{path.name}' is packed in a way that is not read here (method {entry.compress_type}).",
                "Unpack it, and give the folder.",
            )
        name = os.path.basename(entry.filename)
        yield Entry(name, entry.file_size, lambda entry=entry: archive.open(entry))  # type: ignore[misc,arg-type]
