"""Missing slices and frames of a cine, and their interpolation, from which a model starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.grid_transform import GridTransform
from CardioDiTLib.data.time import cycle_seconds, resample_cycle
from CardioDiTLib.errors import CardioDiTError

NEAR_ENOUGH = 1 / 3
"""A grid slice this share of the grid's slice distance away from a recorded one shows the same."""

_MOST_OF_A_GAP = 0.25
"""A frame of the grid that takes more than this from a missing frame is missing itself."""

_FEWEST = 2


def parse_indices(text: str, what: str) -> tuple[int, ...]:
    """Whole numbers such as "1,3,5" or "4-7" or both, each once, rising.

    Args:
        text: What a user wrote.
        what: How the numbers are called in an error, such as "--missing-frames".

    Raises:
        CardioDiTError: It is neither.

    Examples:
        >>> parse_indices("4-6,1", "--missing-frames")
        (1, 4, 5, 6)
    """
    found: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        first, dash, last = part.partition("-")
        if not first.strip().isdecimal() or (dash and not last.strip().isdecimal()):
            raise CardioDiTError(f"{what} is '{text}'.", "Give numbers from 0 on such as 1,3,5 or a range such as 4-7.")
        begin, end = int(first), int(last) if dash else int(first)
        if end < begin or end - begin > 100_000:
            raise CardioDiTError(f"{what} holds the range '{part}'.", "Give the smaller number first.")
        found.update(range(begin, end + 1))
    return tuple(sorted(found))


def check_missing(cine: Cine, slices: Iterable[int], frames: Iterable[int]) -> tuple[NDArray[np.bool_], ...]:
    """Which slices (Z,) and frames (T,) of a cine are missing.

    Raises:
        CardioDiTError: A number lies outside the cine, or too little is left to start from.
    """
    masks = []
    for numbers, size, what in ((slices, cine.n_slices, "slice"), (frames, cine.n_frames, "frame")):
        mask = np.zeros(size, bool)
        for number in numbers:
            if isinstance(number, bool) or int(number) != number or not 0 <= number < size:
                raise CardioDiTError(
                    f"There is no {what} {number} in this cine.", f"Its {what}s are 0 to {size - 1}, counted from 0."
                )
            mask[int(number)] = True
        if size - mask.sum() < min(_FEWEST, size):
            raise CardioDiTError(
                f"{mask.sum()} of {size} {what}s are missing: too few are left.", f"Leave at least {_FEWEST} {what}s."
            )
        masks.append(mask)
    return tuple(masks)


def interpolated(cine: Cine, missing_slices: NDArray[np.bool_], missing_frames: NDArray[np.bool_]) -> NDArray[Any]:
    """The cine with what is missing interpolated: linearly between slices, in phase between frames.

    A missing slice beyond the last recorded one is that one again. What the cine holds at missing places is not read.

    Args:
        cine: The cine.
        missing_slices: (Z,) bool.
        missing_frames: (T,) bool.

    Returns:
        (T, Z, Y, X) float32.
    """
    values = np.array(cine.array, dtype=np.float32)
    kept = np.flatnonzero(~missing_slices)
    for z in np.flatnonzero(missing_slices):
        above = min(int(np.searchsorted(kept, z)), len(kept) - 1)
        low, high = int(kept[max(above - 1, 0)]), int(kept[above])
        share = float(np.clip((z - low) / (high - low), 0, 1)) if high > low else 0.0
        values[:, z] = (1 - share) * values[:, low] + share * values[:, high]
    kept = np.flatnonzero(~missing_frames)
    if len(kept) < cine.n_frames:
        cycle = cycle_seconds(cine.frame_times)
        begin = cine.frame_times[kept[0]]
        values[missing_frames] = resample_cycle(
            values[kept],
            frame_times=cine.frame_times[kept] - begin,
            cycle_s=cycle,
            method="linear",
            target_phases=np.mod((cine.frame_times[missing_frames] - begin) / cycle, 1.0),
        )
    return values


def grid_missing(
    transform: GridTransform, missing_slices: NDArray[np.bool_], missing_frames: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which slices (Z,) and frames (T,) of the grid were not recorded.

    A grid slice is there if a recorded slice lies within `NEAR_ENOUGH` of the grid's slice distance, or if it lies
    between two recorded slices that are no farther apart than slices of the grid.

    Args:
        transform: From `to_grid`.
        missing_slices: (Z,) of the source.
        missing_frames: (T,) of the source.
    """
    kept = np.flatnonzero(~missing_slices).astype(float)
    step = float(np.linalg.norm(transform.source_affine[:3, 2]))
    apart = transform.grid.spacing_mm[2]
    middle = np.array([(transform.grid.width - 1) / 2, (transform.grid.height - 1) / 2])
    m = transform.grid_to_source
    place = m[2, 2] * np.arange(transform.grid.slices) + m[2, 3] + m[2, :2] @ middle
    near = np.abs(place[:, None] - kept[None]).min(axis=1) * step <= NEAR_ENOUGH * apart + 1e-6
    after = np.clip(np.searchsorted(kept, place), 1, max(len(kept) - 1, 1))
    between = np.zeros(len(place), bool)
    if len(kept) > 1:
        low, high = kept[after - 1], kept[after]
        between = (place >= low) & (place <= high) & ((high - low) * step <= apart * 1.001)
    slices = ~(near | between)

    order = np.argsort(transform.source_phases)
    phases = np.append(transform.source_phases[order], 1.0)
    absent = np.append(missing_frames[order], missing_frames[order[0]])
    wanted = np.arange(transform.grid.frames) / transform.grid.frames
    left = np.clip(np.searchsorted(phases, wanted + 1e-9) - 1, 0, len(phases) - 2)
    share = (wanted - phases[left]) / (phases[left + 1] - phases[left])
    frames = (1 - share) * absent[left] + share * absent[left + 1] > _MOST_OF_A_GAP
    return slices, frames
