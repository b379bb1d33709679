"""Grey pictures as PNG, without a package for pictures."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def grey_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (Y, X) uint8 as the bytes of a PNG file."""
    rows = np.ascontiguousarray(picture, np.uint8)
    height, width = rows.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each line begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def data_address(picture: NDArray[np.uint8]) -> str:
    """A picture as the address of an image inside an HTML page."""
    return "data:image/png;base64," + base64.b64encode(grey_png(picture)).decode("ascii")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
