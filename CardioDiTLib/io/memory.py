"""How much a file would take, weighed before any of it is unpacked.

Compressed zeros, or a wrong number in a header, can ask for any amount of memory: readers say first what the header
promises, and unpack no more than that.
"""

from __future__ import annotations

import math
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from CardioDiTLib.errors import CardioDiTError

MAX_BYTES = 4 * 1024**3
"""Most voxel bytes that a cine may have, and the largest folder or unpacked zip that is read."""

_WORKING_BYTES = 8  # of a voxel, beside the stored ones: a float32 copy, and one more while values are turned
_CHUNK = 1 << 20


def available_bytes() -> int | None:
    """Memory that is free for us now; None where the system does not tell."""
    if sys.platform.startswith("linux"):
        try:
            for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError):
            return None
    try:
        # all of it, not what is free: still better than nothing (macOS swaps what is idle)
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_size(name: str, shape: Sequence[int], itemsize: int) -> int:
    """Refuse what cannot be a cine, or does not fit into memory.

    Args:
        name: Of the file, for the message.
        shape: Number of voxels along each axis, as the header says.
        itemsize: Stored bytes a voxel.

    Returns:
        Stored bytes of all voxels.

    Raises:
        CardioDiTError: An axis has no voxels, or there are too many.
    """
    if any(length < 1 for length in shape):
        raise CardioDiTError(
            f"'{name}' is damaged: its header gives it {'x'.join(str(length) for length in shape)} voxels.",
            "Copy or download the file again.",
        )
    voxels = math.prod(int(length) for length in shape)
    stored = voxels * itemsize
    size = "x".join(str(int(length)) for length in shape)
    if stored > MAX_BYTES:
        raise CardioDiTError(
            f"'{name}' claims {size} voxels, {stored / 1e9:.1f} GB; cines of up to {MAX_BYTES / 1e9:.1f} GB are read.",
            "Check the file; crop the cine if it is sound.",
        )
    free = available_bytes()
    needed = voxels * (itemsize + _WORKING_BYTES)
    if free is not None and needed > free:
        raise CardioDiTError(
            f"'{name}' has {size} voxels and would take {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free.",
            "Close other programs, or crop the cine first.",
        )
    return stored


class Gunzip:
    """Reads a gzip stream bit by bit, never unpacking more than was asked for, and checks its checksum at the end.

    Args:
        stream: Positioned at the first byte of the compressed data.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._unpack = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; fewer only at the end of the data.

        Raises:
            EOFError: The compressed data break off.
            zlib.error: They are damaged.
        """
        parts, missing = [], count
        while missing > 0:
            if self._unpack.eof:
                # several members may follow one another; zeros or anything else after the last are no data
                rest = self._unpack.unused_data or self._stream.read(_CHUNK)
                if rest[:2] != b"\x1f\x8b":
                    break
                self._unpack, self._waiting = zlib.decompressobj(wbits=31), rest
            source = self._waiting or self._stream.read(_CHUNK)
            if not source:
                raise EOFError("the compressed data break off")
            part = self._unpack.decompress(source, missing)
            self._waiting = self._unpack.unconsumed_tail
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def finish(self, most: int) -> bool:
        """Unpack what is left, to have its checksum checked.

        Args:
            most: Bytes after which to give up.

        Returns:
            Whether the end came before that.
        """
        left = most
        while left > 0:
            got = len(self.read(min(_CHUNK, left)))
            if got == 0:
                return True
            left -= got
        return False
