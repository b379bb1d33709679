"""Is there room on the disk?"""

from __future__ import annotations

import shutil
from pathlib import Path

from CardioDiTLib.errors import CardioDiTError

MARGIN_BYTES = 100_000_000
"""Left free, for a system whose disk is full does strange things."""


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
