"""What programs do to the images of a file while its header stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TURNS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "as recorded": lambda array: array,
    "mirrored": lambda array: array[..., ::-1],
    "upside down": lambda array: array[..., ::-1, :],
    "turned by 180": lambda array: array[..., ::-1, ::-1],
    "turned by 90": lambda array: np.rot90(array, 1, (2, 3)),
    "turned by 270": lambda array: np.rot90(array, -1, (2, 3)),
    "transposed": lambda array: array.swapaxes(2, 3),
    "slices reversed": lambda array: array[:, ::-1],
}
"""Of arrays (T, Z, Y, X); the first changes nothing."""
