"""Files and folders that appear whole or not at all: atomic writing, fingerprints, room on the disk, leftovers."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Bounds, Record, Shape

if TYPE_CHECKING:
    import torch


PREFIX = ".cardiodit-"
"""Begins every hidden name."""

_MARK = re.compile(r"\.cardiodit-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(\..*)?", re.DOTALL)

_STALE_S = 24 * 3600.0
_SWEPT: set[Path] = set()
_KEPT_CHARACTERS = 40  # of a name, so that no hidden name is too long for a file system
REPLACED_SUFFIX = ".replaced"
_PATIENCE_S = 2.0
_CHUNK = 1 << 20

MARGIN_BYTES = 100_000_000
"""Left free, for a system whose disk is full does strange things."""


def own_name() -> str:
    """A hidden name that says which process of which machine made it, and nothing else."""
    return f"{PREFIX}{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def machine() -> str:
    """A mark of this machine since it was started, and of the space in which its process numbers count, that says
    nothing about it: machines and containers of one image may have one name and one drive."""
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        known.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(known).encode("utf-8", "replace")).hexdigest()[:8]


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
        return not is_running(int(match[2]))
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


def is_running(number: int) -> bool:
    """Whether a process of this machine is there; not for Windows, where asking would end it."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextmanager
def atomic_path(destination: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``destination`` and move it there once the block has ended well.

    The temporary name ends like the final one, so that writers that look at a double suffix (``.nii.gz``) are content.
    Missing folders are made. Permissions are those of any new file, whatever the writer gave it. Whatever goes wrong,
    interruption included, the temporary file is removed and a file that was at ``destination`` before stays as it was.
    What a run left that was ended by force goes with the next one that writes into the folder.

    Args:
        destination: The file to write.

    Yields:
        Path of the temporary file, in the same folder, not yet existing.

    Raises:
        CardioDiTError: The folder cannot be made or written to, or the disk is full.

    Examples:
        >>> with atomic_path("result.json") as path:  # doctest: +SKIP
        ...     path.write_text("{}")
    """
    final = Path(destination)
    temporary = final.with_name(f"{own_name()}.{final.name[-_KEPT_CHARACTERS:]}")
    try:
        if final.is_dir():
            raise CardioDiTError(f"'{final}' is a folder.", "Give the name of a file.")
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.parent not in _SWEPT:  # once a run: folders may be large
            _SWEPT.add(final.parent)
            sweep_files(final.parent)
        yield temporary
        _open_to_the_usual_readers(temporary)
        os.replace(temporary, final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CardioDiTError(
            f"'{final}' could not be written: {reason}.", "Check the folder, its permissions and the free disk space."
        ) from error
    finally:
        with suppress(OSError):  # nothing there (moved, or never made): nothing to clean up
            temporary.unlink()


def _open_to_the_usual_readers(path: Path) -> None:
    """Give the permissions of the umask: some writers leave files that only their owner can read."""
    probe = path.with_name(f"{path.name}.mode")
    try:
        probe.touch()  # made as the umask says: asking for the umask itself would disturb other threads
        mode = stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


PARTIAL_SUFFIX = ".partial"


def hidden_beside(folder: Path, suffix: str) -> Path:
    """A new hidden name beside a folder, such as ``.heart.0a1b2c3d.partial``."""
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}{suffix}")


@contextmanager
def atomic_folder(destination: str | os.PathLike[str], suffix: str = PARTIAL_SUFFIX) -> Iterator[Path]:
    """Give an empty hidden folder beside ``destination`` that gets its name once the block has ended well.

    What lies at ``destination`` is replaced; whether it may be is for the caller to find out. Whatever goes wrong,
    interruption included, the hidden folder is removed and what was there before stays.

    Args:
        destination: The folder to make; missing ones above it are made too.
        suffix: Ends the hidden name.

    Yields:
        The hidden folder.

    Raises:
        CardioDiTError: The disk is full or refuses, or a file of the old folder is in use.
    """
    final = Path(destination)
    partial = hidden_beside(final, suffix)
    try:
        partial.mkdir(parents=True)
        yield partial
        replace_folder(partial, final)
    except OSError as error:
        raise CardioDiTError(
            f"'{final}' could not be written: {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(complete: Path, final: Path) -> None:
    """Give a complete folder its name, in place of one that has it; nothing is lost if that does not work.

    Of a link at the name only the link goes, not the folder that it leads to.

    Raises:
        CardioDiTError: A file of one of them is in use.
        OSError: The disk refuses.
    """
    if not (final.exists() or final.is_symlink()):
        rename_folder(complete, final)
        return
    aside = hidden_beside(final, REPLACED_SUFFIX)
    rename_folder(final, aside)
    try:
        rename_folder(complete, final)
    except BaseException:
        os.replace(aside, final)
        raise
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def rename_folder(source: Path, target: Path) -> None:
    """Rename; on Windows a virus scanner may hold a new file for a moment, and a file in use for good.

    Raises:
        CardioDiTError: It is not permitted.
        OSError: The disk refuses.
    """
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if os.name != "nt" or time.monotonic() > end:
                raise CardioDiTError(
                    f"'{source}' could not be renamed: {error.strerror or error}.",
                    "A file of it may be in use: end what uses it, check the permissions, and try again.",
                ) from error
            time.sleep(0.1)


FileName = Annotated[str, Shape(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a plain file name")]
"""Nothing else: a manifest cannot reach outside its folder."""

Sha256 = Annotated[str, Shape(r"[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")]


def check_file_name(name: Any, title: str) -> None:
    """Refuse anything but a plain file name.

    Raises:
        CardioDiTError: Naming the value.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise CardioDiTError(
            f"{name!r} in the {title} is not a plain file name.", "Correct it, or get the files again."
        )


@dataclass(frozen=True)
class FileRecord(Record):
    """Fingerprint of a file.

    Args:
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    record_name: ClassVar[str] = "fingerprint of a file"
    record_hint: ClassVar[str] = "Get the folder again."

    sha256: Sha256
    bytes: Annotated[int, Bounds(least=0)]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record_of(path: Path) -> FileRecord:
    """Fingerprint of a file."""
    return FileRecord(sha256_of(path), path.stat().st_size)


def problem_of(path: Path, record: FileRecord) -> str | None:
    """What is wrong with a file, in one sentence; None where nothing is."""
    if not path.is_file():
        return f"{path.name} is missing."
    size = path.stat().st_size
    if size != record.bytes:
        return f"{path.name} has {size} bytes instead of {record.bytes}."
    if sha256_of(path) != record.sha256:
        return f"{path.name} has been changed: its SHA-256 differs from the manifest."
    return None


def free_bytes(folder: Path) -> int:
    """Bytes that can be written below a folder, which may not exist yet, with the margin left free."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return max(0, shutil.disk_usage(place).free - MARGIN_BYTES)


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to begin what cannot end well.

    Args:
        folder: Where it is written; it may not exist yet.
        needed_bytes: Its size.
        what: What it is, for the message.

    Raises:
        CardioDiTError: There is not enough room.
    """
    free = free_bytes(folder)
    if needed_bytes > free:
        raise CardioDiTError(
            f"There is not enough room in '{folder}' for '{what}': {needed_bytes / 1e9:.2f} GB are needed, "
            f"{free / 1e9:.2f} GB are free.",
            "Make room, or set CARDIODIT_CACHE to a folder on another disk.",
        )


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file that whoever may read the files beside it may read too.

    The library's own writer leaves files that only their owner can read, whatever the umask: a model in a shared
    folder could be listed by everybody and loaded by nobody.

    Args:
        tensors: Tensors by name.
        path: The file; replaced where there is one.
        metadata: Texts for the header.

    Raises:
        OSError, SafetensorError: The file cannot be written.
    """
    from safetensors.torch import save_file

    final = Path(path)
    final.touch()  # made as the umask says: there is no other way to ask for it that threads could not disturb
    mode = stat.S_IMODE(final.stat().st_mode)
    save_file(dict(tensors), final, metadata=None if metadata is None else dict(metadata))
    final.chmod(mode)


def at_home(path: str | os.PathLike[str]) -> Path:
    """A path with a leading ``~`` replaced by the home folder; a shell does not do so after ``--out=``.

    Examples:
        >>> at_home("./~/a").parts[0]
        '~'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: then it is a name like any other
        return Path(path)
