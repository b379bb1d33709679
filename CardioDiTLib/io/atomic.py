"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.run_mark import own_name, sweep_files

_SWEPT: set[Path] = set()
_KEPT_CHARACTERS = 40  # of a name, so that no hidden name is too long for a file system


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
    """Some writers make files that only their owner can read, whatever the umask says; beside others that is a trap."""
    probe = path.with_name(f"{path.name}.mode")
    try:
        probe.touch()  # made as the umask says: asking for the umask itself would disturb other threads
        mode = stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
