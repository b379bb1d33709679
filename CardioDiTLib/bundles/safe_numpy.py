"""What of NumPy a checkpoint may hold: single numbers, which are read, and arrays, which are passed over.

A training stores the state of NumPy's random numbers beside its weights. Nobody needs it here, so arrays are not made:
in their place stands an empty mark that forgets whatever it is given. Nothing else of NumPy is known to the reader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_NUMBERS = (np.float64, np.float32, np.int64, np.int32)
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Where NumPy 1 and NumPy 2 say that a pickled array or number comes from."""


class SkippedArray:
    """Stands where a NumPy array was."""

    def __setstate__(self, state: object) -> None:
        """Forget the array's shape, type and values."""


def numpy_globals() -> list[Any]:
    """For `torch.serialization.safe_globals`: every name of NumPy that may be met, and what stands for it."""
    kinds = [type(np.dtype(kind)) for kind in (*_NUMBERS, np.uint32, np.uint64)]
    arrays: list[Any] = [_named("numpy", "ndarray", SkippedArray), SkippedArray]
    for module in _MODULES:
        arrays += [_named(module, "_reconstruct", _skip), _named(module, "scalar", _number)]
    return [np.dtype, *kinds, *arrays]


def _skip(*_: object) -> SkippedArray:
    return SkippedArray()


def _number(dtype: Any, raw: Any) -> Any:
    """A single number of a known type from its bytes."""
    if not isinstance(dtype, np.dtype) or dtype.newbyteorder("=") not in [np.dtype(kind) for kind in _NUMBERS]:
        raise ValueError("A number of a type that is not known.")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype, count=1)[0]


def _named(module: str, name: str, stands: Callable[..., Any]) -> Any:
    """Something that a pickle calls by the name of something else."""

    def function(*args: object) -> Any:
        return stands(*args)

    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function
