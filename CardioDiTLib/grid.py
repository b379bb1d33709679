"""The grid that a model works on: how many slices, rows, columns and frames, and how many millimetres apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import _REPAIR, ManifestPart, is_count, is_number


@dataclass(frozen=True)
class ModelGrid:
    """Size and spacing of a model's image grid; one cardiac cycle is `frames` long.

    Args:
        slices: Number of short-axis slices Z.
        height: Rows Y of a slice.
        width: Columns X of a slice.
        frames: Frames T of exactly one cardiac cycle.
        spacing_mm: Millimetres between voxel centres along (x, y, z): column to column, row to row, slice to slice.

    Raises:
        CardioDiTError: If a count is not a positive whole number or a spacing is not a positive number.

    Examples:
        >>> ModelGrid(slices=8, height=128, width=128, frames=16, spacing_mm=(1.5, 1.5, 10.0)).shape
        (16, 8, 128, 128)
    """

    slices: int
    height: int
    width: int
    frames: int
    spacing_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("slices", "height", "width", "frames"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise CardioDiTError(
                    f"A model grid needs a positive whole number of {name}, not {value!r}.",
                    "Correct the grid in the bundle or in the configuration.",
                )
            object.__setattr__(self, name, int(value))
        try:
            spacing = tuple(float(value) for value in self.spacing_mm)
        except (TypeError, ValueError):
            spacing = ()
        if len(spacing) != 3 or not all(np.isfinite(value) and value > 0 for value in spacing):
            raise CardioDiTError(
                f"A model grid needs three positive spacings in mm (x, y, z), not {self.spacing_mm!r}.",
                "Correct the grid in the bundle or in the configuration.",
            )
        object.__setattr__(self, "spacing_mm", spacing)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (T, Z, Y, X) of an array on this grid."""
        return (self.frames, self.slices, self.height, self.width)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Field of view in mm along (x, y, z), outer voxel faces included."""
        sx, sy, sz = self.spacing_mm
        return (self.width * sx, self.height * sy, self.slices * sz)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; `from_dict` reads them back."""
        return {
            "slices": self.slices,
            "height": self.height,
            "width": self.width,
            "frames": self.frames,
            "spacing_mm": list(self.spacing_mm),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelGrid:
        """Make a grid from what `to_dict` wrote.

        Raises:
            CardioDiTError: If a key is missing or unknown, or a value is out of range.
        """
        expected = {"slices", "height", "width", "frames", "spacing_mm"}
        if set(values) != expected:
            wrong = sorted(set(values) ^ expected)
            raise CardioDiTError(
                f"The description of a model grid has missing or unknown entries: {', '.join(map(str, wrong))}.",
                f"It needs exactly: {', '.join(sorted(expected))}.",
            )
        return cls(**{**values, "spacing_mm": tuple(values["spacing_mm"])})


@dataclass(frozen=True)
class BundleGrid(ManifestPart):
    """The grid of generated cines.

    Args:
        slices: Z.
        height: Rows Y.
        width: Columns X.
        frames: Frames T of the cycle.
        spacing_mm: mm between voxel centres along (x, y, z).
        cycle_s: Seconds that all frames together last.
    """

    title: ClassVar[str] = "grid"

    slices: int
    height: int
    width: int
    frames: int
    spacing_mm: tuple[float, float, float]
    cycle_s: float

    def __post_init__(self) -> None:
        for name in ("slices", "height", "width", "frames"):
            if not is_count(getattr(self, name)):
                raise CardioDiTError(
                    f"'{name}' in the grid of a bundle is {getattr(self, name)!r}, not a whole number from 1 on.",
                    _REPAIR,
                )
        spacing = self.spacing_mm
        numbers = isinstance(spacing, list | tuple) and len(spacing) == 3 and all(is_number(v) for v in spacing)
        if not numbers or min(spacing) <= 0:
            raise CardioDiTError(
                f"'spacing_mm' in the grid of a bundle is {spacing!r}, not three positive numbers (x, y, z).", _REPAIR
            )
        if not is_number(self.cycle_s) or self.cycle_s <= 0:
            raise CardioDiTError(
                f"'cycle_s' in the grid of a bundle is {self.cycle_s!r}, not a positive number of seconds.", _REPAIR
            )
        x, y, z = spacing
        object.__setattr__(self, "spacing_mm", (float(x), float(y), float(z)))
        object.__setattr__(self, "cycle_s", float(self.cycle_s))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (T, Z, Y, X) of a generated cine."""
        return self.frames, self.slices, self.height, self.width
