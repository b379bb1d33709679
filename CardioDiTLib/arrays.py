"""Arrays and facts of any kind in records: how JSON holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.schema import Form


@dataclass(frozen=True)
class Numbers(Form):
    """An array of numbers of a shape, float64 and read-only; lists in JSON, with null for what is not finite.

    Args:
        shape: Length of each axis; None where any will do.
    """

    noun: ClassVar[str] = "numbers of the shape that belongs there"

    shape: tuple[int | None, ...]

    def read(self, value: Any) -> NDArray[np.float64]:
        """A copy of an array or of lists.

        Raises:
            TypeError, ValueError: Other values than numbers and None, or another shape.
        """
        given = np.asarray(value)
        if given.dtype.kind not in "fiuO" or any(isinstance(one, str | bytes | bool) for one in _objects(given)):
            raise TypeError("these are no numbers")
        numbers = np.array(given, dtype=np.float64)
        lengths = zip(self.shape, numbers.shape)
        if numbers.ndim != len(self.shape) or any(wanted not in (None, length) for wanted, length in lengths):
            raise ValueError(f"the shape is {numbers.shape}")
        numbers.setflags(write=False)
        return numbers

    def plain(self, value: NDArray[np.float64]) -> Any:
        """Lists."""
        return plain_facts(value)


class Facts(Form):
    """An object that says where something comes from; whatever it holds is written as well as JSON can."""

    noun: ClassVar[str] = "an object with entries"

    def read(self, value: Any) -> dict[str, Any]:
        """A copy.

        Raises:
            TypeError: No object.
        """
        if not isinstance(value, Mapping):
            raise TypeError("no object")
        return dict(value)

    def plain(self, value: Mapping[str, Any]) -> Any:
        """Plain values."""
        return plain_facts(value)


def plain_facts(value: Any) -> Any:
    """What JSON holds in place of NumPy's values, paths and numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain_facts(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_facts(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain_facts(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _objects(array: NDArray[Any]) -> list[Any]:
    return array.ravel().tolist() if array.dtype.kind == "O" else []
