"""Several files that belong together: they appear all, or none, and what was there before is never touched unasked."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import PREFIX, at_home, is_left_behind, is_marked, own_name, sweep_files

Writer = Callable[[Path], object]
"""Writes one file at the path that it is given."""

_OLD_MARK = re.compile(r"\.cardiodit-[0-9a-f]{12}")
_NAMED = 3
_DISK_HINT = "Check the folder, its permissions and the free disk space."


def refuse_existing(paths: Iterable[Path], overwrite: bool = False, *, folders: bool = False) -> None:
    """The one rule of all commands: what is there is replaced only where that was asked for.

    Args:
        paths: Files that would be written.
        overwrite: Whether it was asked for.
        folders: What would be written are folders of images, not files.

    Raises:
        CardioDiTError: One of them is there, or is a folder where a file is meant.
    """
    wanted = list(paths)
    in_the_way = [] if folders else [path for path in wanted if path.is_dir()]
    if in_the_way:
        raise CardioDiTError(f"'{in_the_way[0]}' is a folder.", "Give the name of a file.")
    there = [] if overwrite else [path for path in wanted if path.exists() or path.is_symlink()]
    if there:
        more = f" (and {len(there) - _NAMED} more)" if len(there) > _NAMED else ""
        names = ", ".join(f"'{path}'" for path in there[:_NAMED])
        verb = "is" if len(there) == 1 else "are"
        raise CardioDiTError(
            f"{names}{more} {verb} there already.", "Choose another folder or name, or add --overwrite."
        )


def check_folder(folder: Path) -> None:
    """See that files can be written into a folder, or that it can be made: before the work, not after it.

    Raises:
        CardioDiTError: It is a file, or cannot be written to.
    """
    place = next(part for part in (folder, *folder.absolute().parents) if part.exists() or part.is_symlink())
    if not place.is_dir():
        raise CardioDiTError(f"'{place}' is a file.", "Give a folder.")
    trial = place / own_name()
    try:
        trial.mkdir()
    except OSError as error:
        raise CardioDiTError(f"Nothing can be written to '{place}': {error.strerror or error}.", _DISK_HINT) from error
    finally:
        with suppress(OSError):
            trial.rmdir()


def write_outputs(
    folder: str | os.PathLike[str], writers: Mapping[str, Writer], *, overwrite: bool = False
) -> list[Path]:
    """Write files that belong together.

    They are written in a hidden folder first and get their names once all are whole. Where anything goes wrong,
    interruption included, files that were there before are as they were, and nothing new is left.

    Args:
        folder: Where to; made if need be.
        writers: How to write each file, by its name.
        overwrite: Replace files of these names.

    Returns:
        The paths, in the order of `writers`.

    Raises:
        CardioDiTError: A file is there already, or the disk refuses.
    """
    final = at_home(folder)
    refuse_existing([final / name for name in writers], overwrite)
    made = [part for part in (final, *final.parents) if not part.exists()]
    try:
        with _staging(final) as partial:
            for name, write in writers.items():
                write(partial / name)
            _publish(partial, final, list(writers), overwrite)
        made = []
    except OSError as error:
        raise CardioDiTError(
            f"The files could not be written to '{final}': {error.strerror or error}.", _DISK_HINT
        ) from error
    finally:
        for part in made:
            try:
                part.rmdir()
            except OSError:  # never made, or somebody else put something there
                break
    return [final / name for name in writers]


@contextmanager
def _staging(final: Path) -> Iterator[Path]:
    if final.is_dir():
        sweep(final)
    partial = final / own_name()
    try:
        partial.mkdir(parents=True)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, final: Path, names: Sequence[str], overwrite: bool) -> None:
    aside = partial / ".before"
    aside.mkdir()
    begun: list[str] = []
    try:
        for name in names:
            begun.append(name)
            if overwrite and (final / name).exists():
                os.replace(final / name, aside / name)
            _give_name(partial / name, final / name)
    except BaseException:
        for name in reversed(begun):
            _take_back(partial / name, final / name, aside / name)
        raise


def _give_name(source: Path, target: Path) -> None:
    """A rename that fails where the name is taken, also if it was taken a moment ago."""
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise CardioDiTError(
            f"'{target}' has appeared meanwhile.", "Choose another folder or name, or add --overwrite."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise
        # a file system without links
        refuse_existing([target])
        os.replace(source, target)
    else:
        source.unlink()


def _take_back(source: Path, target: Path, before: Path) -> None:
    # ours is what has left its place in the hidden folder, or is still there under both names
    ours = target.exists() and (not source.exists() or target.samefile(source))
    if ours:
        target.unlink()
    if before.exists():
        os.replace(before, target)


def sweep(folder: Path) -> None:
    """Remove what runs left hidden that were ended by force (:func:`~CardioDiTLib.files.is_left_behind`).

    Files that such a run had moved aside to replace them are given back first.
    """
    sweep_files(folder)
    for path in folder.glob(f"{PREFIX}*"):
        if path.is_symlink() or not path.is_dir() or not (is_marked(path.name) or _OLD_MARK.fullmatch(path.name)):
            continue
        with suppress(OSError):
            if is_left_behind(path):
                for before in sorted(path.glob(".before/*")):
                    if not (folder / before.name).exists():
                        os.replace(before, folder / before.name)
                shutil.rmtree(path, ignore_errors=True)
