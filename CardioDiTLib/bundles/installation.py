"""Bundles put in place and taken away: by renaming, so that each moment has a whole bundle or none."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from CardioDiTLib.bundles.file_lock import holding
from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, bundle_folders, user_bundles_folder
from CardioDiTLib.bundles.stopping import Stop
from CardioDiTLib.errors import CardioDiTError

REPLACED_SUFFIX = ".replaced"
REMOVED_SUFFIX = ".removed"
IMPORT_SUFFIX = ".import"

_PATIENCE_S = 2.0


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
        aside = _hidden(folder, REMOVED_SUFFIX)
        _rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    return size


def bundle_size_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes of all files of a folder; links are not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return total


def install(collected: Path, final: Path) -> None:
    """Give a complete folder its name, in place of one that has it; nothing is lost if that does not work.

    Has to be called within :func:`changing`.

    Raises:
        CardioDiTError: A file of the old bundle is in use, or the disk refuses.
    """
    if not (final.exists() or final.is_symlink()):
        _rename(collected, final)
        return
    aside = _hidden(final, REPLACED_SUFFIX)
    _rename(final, aside)
    try:
        _rename(collected, final)
    except BaseException:
        os.replace(aside, final)
        raise
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(final: Path) -> None:
    """Refuse to touch what is no bundle.

    Raises:
        CardioDiTError: A file, or a folder with something else, has the name.
    """
    if not final.exists() or (final / MANIFEST_NAME).is_file():
        return
    if not final.is_dir() or any(final.iterdir()):
        raise CardioDiTError(f"'{final}' exists and is no bundle.", "Choose another folder, or move it away.")


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


def staging_folder(final: Path) -> Path:
    """Name of a new hidden folder beside a bundle, in which it can be put together."""
    return _hidden(final, IMPORT_SUFFIX)


def _recover(final: Path) -> None:
    mark = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}(\.[a-z]+)")
    found = [(path, match[1]) for path in final.parent.iterdir() if (match := mark.fullmatch(path.name))]
    replaced = [path for path, suffix in found if suffix == REPLACED_SUFFIX]
    if replaced and not final.exists():
        os.replace(replaced.pop(), final)
    for path in [*replaced, *(path for path, suffix in found if suffix in (REMOVED_SUFFIX, IMPORT_SUFFIX))]:
        shutil.rmtree(path, ignore_errors=True)


def _hidden(final: Path, suffix: str) -> Path:
    return final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}{suffix}")


def _bundle_names(place: Path) -> set[str]:
    if not place.is_dir():
        return set()
    return {p.name for p in place.iterdir() if not p.name.startswith(".") and (p / MANIFEST_NAME).is_file()}


def _rename(source: Path, target: Path) -> None:
    """Rename; on Windows a virus scanner may hold a new file for a moment, and a file in use for good."""
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
