"""One orientation of a stack's axes, however its file stores it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.data.orientation import APEX_DIRECTION, short_axis_affine


@dataclass(frozen=True)
class CanonicalView:
    """Which axes of a stack to exchange and flip so that the patient is seen as a short axis is usually shown.

    A cine that is stored mirrored, transposed or upside down gives the network the same image, and so the same labels
    in the patient, to the voxel.

    Args:
        swap: Rows and columns are exchanged first.
        flip_x: Then columns are reversed,
        flip_y: rows are reversed,
        flip_z: slices are reversed.
    """

    swap: bool
    flip_x: bool
    flip_y: bool
    flip_z: bool

    @classmethod
    def of(cls, affine: ArrayLike) -> CanonicalView:
        """The view of a stack: columns to the patient's left and rows backward as far as may be, base first.

        Args:
            affine: (4, 4) index (x, y, z) to mm in RAS.
        """
        axes = np.asarray(affine, dtype=np.float64)[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
        wanted = short_axis_affine((1, 1, 1), (1.0, 1.0, 1.0))[:3, :2]

        def agreement(choice: tuple[bool, ...]) -> float:
            swap, flip_x, flip_y = choice
            x, y = (axes[:, 1], axes[:, 0]) if swap else (axes[:, 0], axes[:, 1])
            return float((-x if flip_x else x) @ wanted[:, 0] + (-y if flip_y else y) @ wanted[:, 1])

        swap, flip_x, flip_y = max(product((False, True), repeat=3), key=agreement)
        return cls(swap, flip_x, flip_y, bool(axes[:, 2] @ APEX_DIRECTION < 0))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """(..., Z, Y, X) as stored -> (..., Z, Y', X') as looked at; no copy."""
        if self.swap:
            array = array.swapaxes(-1, -2)
        return self._flipped(array)

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Inverse of `apply`."""
        array = self._flipped(array)
        return array.swapaxes(-1, -2) if self.swap else array

    def spacing(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """(x, y, z) mm as stored -> as looked at."""
        x, y, z = spacing_mm
        return (y, x, z) if self.swap else (x, y, z)

    def undo_slices(self, array: NDArray[Any]) -> NDArray[Any]:
        """(T, Z, ...) as looked at -> as stored; no copy."""
        return array[:, ::-1] if self.flip_z else array

    def undo_places(self, places: NDArray[np.float64], size_xy: tuple[int, int]) -> NDArray[np.float64]:
        """Pixels as looked at -> pixels as stored.

        Args:
            places: (..., 2), (x, y).
            size_xy: Columns and rows as looked at.

        Returns:
            (..., 2), a copy.
        """
        places = places.copy()
        for axis, flip in enumerate((self.flip_x, self.flip_y)):
            if flip:
                places[..., axis] = size_xy[axis] - 1 - places[..., axis]
        return places[..., ::-1] if self.swap else places

    @property
    def is_mirrored(self) -> bool:
        """Whether the image as stored is a mirror image of the one looked at."""
        return self.swap ^ self.flip_x ^ self.flip_y

    def _flipped(self, array: NDArray[Any]) -> NDArray[Any]:
        step = {True: slice(None, None, -1), False: slice(None)}
        return array[..., step[self.flip_z], step[self.flip_y], step[self.flip_x]]
