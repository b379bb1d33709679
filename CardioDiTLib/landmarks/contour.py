"""Outlines of regions in one slice: through pixel centres, as published tools walk them, and along pixel edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Neighbours of a pixel, clockwise on the screen (y runs down), from the left one.
_CLOCKWISE = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))
_PLACE = {step: place for place, step in enumerate(_CLOCKWISE)}


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 4-connected component of a mask; the first in raster order where several are as large.

    Args:
        mask: (Y, X).

    Returns:
        (Y, X), all False where the mask is empty.
    """
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask.copy()
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def pixel_contour(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Outer border pixels of the component that comes last in raster order, walked anti-clockwise on the screen.

    Border following after Suzuki and Abe (CVGIP 1985), outer borders only. The walk starts at the component's topmost,
    then leftmost pixel and passes a pixel as often as the border does. Components are 8-connected; one that lies in a
    hole of another does not count. "Last" is the first entry of the list that widely used libraries return.

    Args:
        mask: (Y, X).

    Returns:
        (N, 2) pixel indices (y, x) in walking order; N is 0 where the mask is empty.
    """
    filled = ndimage.binary_fill_holes(mask)
    labels, count = ndimage.label(filled, structure=np.ones((3, 3)))
    if not count:
        return np.zeros((0, 2), np.int64)
    region = np.pad(labels == count, 1)  # label() numbers components by their first pixel in raster order
    start = tuple(int(v) for v in np.argwhere(region)[0])

    def next_pixel(centre: tuple[int, int], place: int, turn: int) -> tuple[int, int] | None:
        """First pixel of the region around ``centre`` from ``place`` on; turn 1 is clockwise, -1 anti-clockwise."""
        for step in range(8):
            dy, dx = _CLOCKWISE[(place + turn * step) % 8]
            if region[centre[0] + dy, centre[1] + dx]:
                return centre[0] + dy, centre[1] + dx
        return None

    last = next_pixel((start[0], start[1]), 0, 1)
    walk = [(start[0], start[1])]
    if last is not None:
        before, here = last, walk[0]
        while True:
            place = _PLACE[before[0] - here[0], before[1] - here[1]]
            following = next_pixel(here, place - 1, -1)
            assert following is not None  # `before` itself is a neighbour in the region
            if following == walk[0] and here == last:
                break
            walk.append(following)
            before, here = here, following
    return np.asarray(walk, np.int64) - 1


def edge_contour(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outline of a region without holes along the edges of its pixels, anti-clockwise on the screen.

    Unlike a walk through pixel centres it is the same whatever way the array is turned or mirrored, and it lies where
    the region ends.

    Args:
        mask: (Y, X), one 4-connected component without holes.

    Returns:
        (N, 2) midpoints (y, x) of the edges in pixels, a closed walk, and (N, 2) the pixel (y, x) outside at each edge,
        which may lie one pixel beyond the array.
    """
    region = np.pad(mask, 1)
    # side: offset of the pixel outside, corners where the edge starts and ends (pixel i spans corners i and i + 1)
    sides = (
        ((0, -1), (0, 0), (1, 0)),
        ((1, 0), (1, 0), (1, 1)),
        ((0, 1), (1, 1), (0, 1)),
        ((-1, 0), (0, 1), (0, 0)),
    )
    leaving: dict[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]] = {}
    for (oy, ox), (sy, sx), (ey, ex) in sides:
        for y, x in np.argwhere(region & ~np.roll(region, (-oy, -ox), axis=(0, 1))).tolist():
            edge = ((y, x), (y + oy, x + ox), (y + ey, x + ex))
            leaving.setdefault((y + sy, x + sx), []).append(edge)
    if not leaving:
        return np.zeros((0, 2)), np.zeros((0, 2), np.int64)
    start = min(leaving)
    corner, pixel = start, leaving[start][0][0]
    middles, outside = [], []
    while True:
        options = leaving[corner]
        # where two pixels touch by a corner only, the walk stays with the pixel that it came along
        edge = next((option for option in options if option[0] == pixel), options[0])
        pixel, beyond, end = edge
        middles.append(((corner[0] + end[0]) / 2.0, (corner[1] + end[1]) / 2.0))
        outside.append(beyond)
        corner = end
        if corner == start:
            break
    # corner k of the padded array lies at pixel coordinate k - 1.5 of the given one
    return np.asarray(middles) - 1.5, np.asarray(outside, np.int64) - 1
