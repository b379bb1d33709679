from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def arrayFileSteps(path: str | Path, shape: tuple[int, ...], dtype: Any, frames: Iterator[Any]) -> Iterator[None]:
    """Write a ``.npy`` file a frame at a time, so that an event loop can run in between.

    Args:
        path: The file.
        shape: Of the whole array, frames first.
        dtype: Of the whole array.
        frames: The frames in order.

    Returns:
        The path, as text.
    """
    import numpy as np

    kind = np.dtype(dtype)
    with open(path, "wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for frame in frames:
            if frame is not None:  # None: the frame is not ready yet, only let the application have its turn
                stream.write(np.ascontiguousarray(frame, kind).data)
            yield
    return str(path)
