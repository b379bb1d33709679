"""Points from small label blobs, as the published detector draws and reads them, and the component filters it uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CardioDiTLib.errors import CardioDiTError

ANTERIOR, INFERIOR = 1, 2

Point = tuple[float, float]


def published_points_from_label_mask(labels: ArrayLike, both_only: bool) -> tuple[Point | None, Point | None]:
    """Mean pixel of each label in one slice, as published, quirks included.

    * All pixels count: with two components of one label the point lies between them (filter first).
    * The smallest value present is taken for background, so a mask without background loses that label.
    * ``both_only`` counts distinct labels: 1 and 3 pass as two, 1, 2 and 3 do not.

    Args:
        labels: (Y, X); 0 background, 1 anterior, 2 inferior.
        both_only: No points unless exactly two distinct labels are present ("line"); otherwise each point by itself
            ("points").

    Returns:
        The anterior and the inferior point (y, x) in pixels, None where there is none.

    Raises:
        CardioDiTError: The mask is not two-dimensional.
    """
    plane = np.asarray(labels)
    if plane.ndim != 2:
        raise CardioDiTError(f"The mask of a slice has two dimensions, this one has {plane.ndim}.", "Give one slice.")
    present = np.unique(plane)[1:]
    if both_only and len(present) != 2:
        return None, None

    def mean_of(label: int) -> Point | None:
        if label not in present:
            return None
        y, x = np.argwhere(plane == label).mean(axis=0)
        return float(y), float(x)

    return mean_of(ANTERIOR), mean_of(INFERIOR)


def largest_component_per_slice(labels: ArrayLike) -> NDArray[np.generic]:
    """Keep the largest 8-connected component of each label in each slice, the first in raster order on ties.

    Args:
        labels: (Z, Y, X).

    Returns:
        (Z, Y, X), everything else 0.
    """
    volume = _volume(labels)
    return np.stack([_filtered(plane, np.ones((3, 3))) for plane in volume])


def largest_component_per_volume(labels: ArrayLike) -> NDArray[np.generic]:
    """Keep the largest 26-connected component of each label in the volume, the first in raster order on ties.

    Args:
        labels: (Z, Y, X).

    Returns:
        (Z, Y, X), everything else 0.
    """
    return _filtered(_volume(labels), np.ones((3, 3, 3)))


def _volume(labels: ArrayLike) -> NDArray[np.generic]:
    volume = np.asarray(labels)
    if volume.ndim != 3:
        raise CardioDiTError(f"A label volume has three dimensions, this one has {volume.ndim}.", "Give (Z, Y, X).")
    return volume


def _filtered(labels: NDArray[np.generic], structure: NDArray[np.generic]) -> NDArray[np.generic]:
    kept = np.zeros_like(labels)
    for label in np.unique(labels):
        if label == 0:
            continue
        parts, _ = ndimage.label(labels == label, structure=structure)
        kept[parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))] = label
    return kept
