"""The published augmentation of the landmark detector: quarter turns, small shifts, a distorted grid, other histograms.

No mirror images: they would exchange the meaning of the two points.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import CardioDiTError


@dataclass(frozen=True)
class PublishedAugmentation:
    """Shares and sizes; the defaults are the published ones.

    Args:
        chain_share: Share of pictures that anything at all happens to.
        turn_share: Share of those that are turned by 0 to 3 quarters.
        shift_share: Share of those that are shifted.
        shift: Largest shift, as a share of the picture's side.
        distort_share: Share of those that are distorted.
        distort: Largest change of a cell's width, as a share.
        cells: Cells of the distorted grid along a side.

    Raises:
        CardioDiTError: A value is not possible.
    """

    chain_share: float = 0.8
    turn_share: float = 0.2
    shift_share: float = 0.8
    shift: float = 0.025
    distort_share: float = 0.8
    distort: float = 0.3
    cells: int = 5

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= 1 and item.name != "cells":
                raise CardioDiTError(f"The augmentation '{item.name}' is {value}, not 0 to 1.", "Give a share.")
        if self.cells < 1:
            raise CardioDiTError(f"A grid of {self.cells} cells is not possible.", "Give 1 or more.")


def published_augmented(
    picture: NDArray[np.float32], masks: NDArray[np.bool_], ranges: PublishedAugmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One draw.

    Args:
        picture: (Y, X).
        masks: (2, Y, X) blobs; they move along, nearest neighbour.
        ranges: What may happen.
        rng: Where the randomness comes from.

    Returns:
        The same shapes, but that a quarter turn exchanges rows and columns.
    """
    if rng.random() >= ranges.chain_share:
        return picture, masks
    if rng.random() < ranges.turn_share:
        turns = int(rng.integers(4))
        picture, masks = np.rot90(picture, turns), np.rot90(masks, turns, axes=(1, 2))
    rows, columns = (np.arange(size, dtype=np.float64) for size in picture.shape)
    if rng.random() < ranges.shift_share:
        shift = rng.uniform(-ranges.shift, ranges.shift, 2)
        rows, columns = rows - shift[0] * len(rows), columns - shift[1] * len(columns)
    if rng.random() < ranges.distort_share:
        rows, columns = (_distorted(axis, ranges, rng) for axis in (rows, columns))
    place = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    moved = ndimage.map_coordinates(np.asarray(picture, np.float32), place, order=1, mode="mirror")
    blobs = [ndimage.map_coordinates(mask.astype(np.uint8), place, order=0, mode="mirror") for mask in masks]
    return np.asarray(moved, np.float32), np.stack(blobs).astype(bool)


def _distorted(
    axis: NDArray[np.float64], ranges: PublishedAugmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Places along an axis, the cells between them made wider or narrower by turns."""
    size = len(axis)
    widths = size / ranges.cells * (1 + rng.uniform(-ranges.distort, ranges.distort, ranges.cells))
    ends = np.concatenate([[0.0], np.cumsum(widths)])
    even = np.linspace(0, size, ranges.cells + 1)
    beyond = np.where(axis < 0, axis, np.where(axis > size, axis - size, 0.0))
    return np.interp(axis, even, ends) + beyond


def histogram_matched(picture: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture with the grey values of another, rank by rank (exact matching of the distributions).

    Args:
        picture: Any shape.
        other: Any shape.
    """
    _, inverse, counts = np.unique(picture.ravel(), return_inverse=True, return_counts=True)
    wanted, wanted_counts = np.unique(other.ravel(), return_counts=True)
    ranks = np.cumsum(counts) / picture.size
    matched = np.interp(ranks, np.cumsum(wanted_counts) / other.size, wanted)
    return np.asarray(matched[inverse.ravel()].reshape(picture.shape), np.float32)
