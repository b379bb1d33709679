"""A training pack from a folder of true 4D cines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import CardioDiTError
from ..io import load_cine
from ..io.cine_files import cines_by_name
from ..io.name_table import read_name_table
from .grid import ModelGrid
from .packing import write_cines
from .preprocess import to_grid


def make_pack(
    folder: str | Path,
    destination: str | Path,
    *,
    size: int = 152,
    slices: int = 8,
    frames: int = 16,
    spacing: tuple[float, float, float] = (1.5, 1.5, 10.0),
    keep_aside: float = 0.125,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Makes a pack of every cine in a folder: heart centred, base first, one cycle, frame 0 end-diastole if it shows.

    A table `groups.csv` with the columns `file` and `group` gives pathology groups; without it all cines are of one
    group. Cines are not turned in plane: only labels tell how far (see `cine_from_pair`).

    Args:
        folder: Files that `load_cine` reads, and folders of DICOM images. Label maps are left out.
        destination: The `.npz` pack.
        size, slices, frames, spacing: The grid to keep.
        keep_aside: Share of cines for validation, spread evenly over the sorted file names.
        progress: Called with (done, of).

    Raises:
        CardioDiTError: No cine is found, or one cannot be used; the sentence names the file.
    """
    if frames < 2:
        raise CardioDiTError(f"A cycle of {frames} frames does not move.", "Ask for two frames or more; 16 is usual.")
    folder = Path(folder)
    cines = cines_by_name(folder)
    paths = list(cines.values())
    named = read_name_table(folder / "groups.csv", cines, "group")
    groups = None if named is None else list(named.values())
    grid = ModelGrid(slices=slices, height=size, width=size, frames=frames, spacing_mm=spacing)
    images = np.empty((len(paths), frames, slices, size, size), np.uint8)
    valid = np.ones((len(paths), slices), bool)
    cycles = []
    for index, path in enumerate(paths):
        try:
            block, transform = to_grid(load_cine(path), grid, base_first=True, level=True)
        except CardioDiTError as error:
            raise CardioDiTError(f"'{path.name}': {error.message}", error.hint) from error
        images[index] = np.rint((block + 1) * 127.5).clip(0, 255)
        valid[index] = transform.slice_valid
        cycles.append(transform.cycle_s)
        if progress:
            progress(index + 1, len(paths))
    every = max(2, round(1 / keep_aside)) if keep_aside > 0 else len(paths) + 1
    aside = [index % every == every - 1 for index in range(len(paths))]
    return write_cines(
        destination,
        images,
        spacing,
        groups=groups,
        validation=aside,
        slice_valid=valid,
        cycle_s=cycles,
        about="Whole cines.",
    )
