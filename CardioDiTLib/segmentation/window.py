"""The part of a picture that the network looks at, and its brightness."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from CardioDiTLib.data.intensity import IntensityRange, robust_range
from CardioDiTLib.data.localize import motion_centre_index
from CardioDiTLib.errors import CardioDiTError

Window = tuple[slice, slice]
"""Rows and columns."""

_SLACK = 1.15
"""A picture up to so much larger than the field is looked at whole."""

_COARSE_MM = 3.0
_ENOUGH_VOXELS = 4_000_000


def heart_window(array: NDArray[Any], spacing_mm: tuple[float, float, float], field_mm: float) -> Window:
    """Square about what beats, as the network was trained on; the whole picture where it is hardly larger.

    Where nothing can be seen to beat, the middle of the picture is taken.

    Args:
        array: (T, Z, Y, X).
        spacing_mm: (x, y, z) mm.
        field_mm: Side of the square.

    Returns:
        Rows and columns, within the picture.
    """
    height, width = array.shape[-2:]
    if height * spacing_mm[1] <= _SLACK * field_mm and width * spacing_mm[0] <= _SLACK * field_mm:
        return slice(0, height), slice(0, width)
    # Fewer pixels are enough to see where it beats, and keep memory small.
    every_x, every_y = (max(1, int(_COARSE_MM / spacing)) for spacing in spacing_mm[:2])
    coarse = array[..., every_y // 2 :: every_y, every_x // 2 :: every_x]
    try:
        x, y, _ = motion_centre_index(coarse, (spacing_mm[0] * every_x, spacing_mm[1] * every_y, spacing_mm[2]))
        centre = (y * every_y + every_y // 2, x * every_x + every_x // 2)
    except CardioDiTError:
        centre = ((height - 1) / 2, (width - 1) / 2)
    parts = []
    for middle, size, spacing in zip(centre, (height, width), (spacing_mm[1], spacing_mm[0])):
        side = min(size, max(1, round(field_mm / spacing)))
        start = min(max(round(middle - (side - 1) / 2), 0), size - side)
        parts.append(slice(start, start + side))
    return parts[0], parts[1]


def brightness(array: NDArray[Any], low_percentile: float, high_percentile: float) -> IntensityRange:
    """One robust range for all frames and slices, from some millions of voxels at most.

    Args:
        array: (T, Z, Y, X).
        low_percentile: What becomes -1.
        high_percentile: What becomes +1.

    Raises:
        CardioDiTError: The images are blank.
    """
    every = 1
    while array[..., ::every, ::every].size > _ENOUGH_VOXELS and every < min(array.shape[-2:]) // 8:
        every += 1
    return robust_range(array[..., ::every, ::every], low_percentile, high_percentile)
