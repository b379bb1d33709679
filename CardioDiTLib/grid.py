"""The grid that a model works on: how many slices, rows, columns and frames, and how many millimetres apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from CardioDiTLib.schema import Count, Positive, Record


@dataclass(frozen=True)
class ModelGrid(Record):
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

    record_name: ClassVar[str] = "model grid"
    record_hint: ClassVar[str] = "Correct the grid in the bundle or in the configuration."
    all_needed: ClassVar[bool] = True

    slices: Count
    height: Count
    width: Count
    frames: Count
    spacing_mm: tuple[Positive, Positive, Positive]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (T, Z, Y, X) of an array on this grid."""
        return (self.frames, self.slices, self.height, self.width)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Field of view in mm along (x, y, z), outer voxel faces included."""
        sx, sy, sz = self.spacing_mm
        return (self.width * sx, self.height * sy, self.slices * sz)


@dataclass(frozen=True)
class BundleGrid(ModelGrid):
    """The grid of generated cines.

    Args:
        cycle_s: Seconds that all frames together last.
    """

    record_name: ClassVar[str] = "grid of a bundle"

    cycle_s: Positive
