"""Patients of whom only the slices at end-diastole and end-systole in which a reader drew the left cavity are at hand.

Such are the files of Sunnybrook Cardiac Data (CC0) beside ACDC: patients without a class. The cavity is the reader's;
right ventricle and myocardium are labelled by a network, so these pairs are for training only, not for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.cine_from_pair import PosedPair, pose_pair
from CardioDiTLib.data.morph import BLOOD_GREY
from CardioDiTLib.data.packing import kept_aside, write_pairs
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LV, MYOCARDIUM

PHASES = 20
"""Instances a slice: instance // 20 is the slice, the rest the phase."""

SPACING_MM = (1.33, 1.33, 9.0)
"""Between what the scanners of this data set have (1.25 to 1.37 in plane, 8 to 10 along the stack); no file says it."""

_ABOUT = (
    "Made from end-diastolic and end-systolic slices with a reader's contours of the left cavity; the other tissues "
    "were named by a segmentation network."
)
_FEWEST_SLICES = 5
_FEWEST_PIXELS = 30
_LEAST_AGREEMENT = 0.75  # Dice of both cavities: where they lie apart, the other tissues are wrong too


Labeller = Callable[[Cine], NDArray[np.uint8]]
"""Names the tissues of a cine, (T, Z, Y, X): 1 RV, 2 myocardium, 3 LV cavity."""


def read_contoured_pair(path: str | Path, labeller: Labeller, size: int = 152) -> PosedPair | None:
    """One patient in the common pose.

    Args:
        path: `.npz` with `images` (N, Y, X) uint8, `lv_endo` (N, Y, X) mask and `instance` (N,).
        labeller: What names right ventricle and myocardium.
        size: Rows and columns of the result, pixels of 1.5 mm.

    Returns:
        The pair; None where fewer than five slices show the cavity in both phases, where the cavities of reader and
        labeller have a Dice below 0.75, or where no right ventricle is found.

    Raises:
        CardioDiTError: The file cannot be read.
    """
    images, cavities = _stacks(Path(path))
    if images.shape[1] < _FEWEST_SLICES:
        return None
    cine = Cine(images.astype(np.float32), np.diag([*SPACING_MM, 1.0]), np.array([0.0, 0.4]))
    labels = np.array(labeller(cine), np.uint8)
    agreed = 2 * (cavities & (labels == LV)).sum() / max(cavities.sum() + (labels == LV).sum(), 1)
    if agreed < _LEAST_AGREEMENT:
        return None
    labels[(labels == LV) & ~cavities] = MYOCARDIUM
    labels[cavities] = LV
    if any((labels[phase] == name).sum() < _FEWEST_PIXELS for phase in (0, 1) for name in (1, 2, 3)):
        return None
    affine = np.diag([*SPACING_MM, 1.0])
    return pose_pair(images[0], images[1], labels[0], labels[1], affine, size=size, blood_grey=BLOOD_GREY)


def _stacks(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Images and cavities (2, Z, Y, X), end-diastole first, of the slices that were drawn in both phases."""
    try:
        with np.load(path, allow_pickle=False) as content:
            images, masks, instance = (np.asarray(content[name]) for name in ("images", "lv_endo", "instance"))
    except (OSError, ValueError, KeyError) as error:
        raise CardioDiTError(
            f"'{path.name}' does not hold slices with contours.", "Give .npz files with images, lv_endo and instance."
        ) from error
    drawn = masks > 0
    slices, phases = (instance - 1) // PHASES, (instance - 1) % PHASES
    area = {phase: drawn[phases == phase].sum() / max((phases == phase).sum(), 1) for phase in np.unique(phases)}
    # The two phases that were drawn in most slices; the larger cavity is end-diastole.
    usual = sorted(area, key=lambda phase: -(phases == phase).sum())[:2]
    if len(usual) < 2:
        return np.zeros((2, 0, *images.shape[1:]), np.uint8), np.zeros((2, 0, *images.shape[1:]), bool)
    diastole, systole = sorted(usual, key=lambda phase: -area[phase])
    where = {(int(z), int(phase)): place for place, (z, phase) in enumerate(zip(slices, phases))}
    both = [z for z in sorted(set(slices.tolist())) if (z, diastole) in where and (z, systole) in where]
    order = [[where[z, phase] for z in both] for phase in (diastole, systole)]
    return images[order], drawn[order]


def read_contoured_pairs(
    folder: str | Path, labeller: Labeller, size: int = 152, progress: Callable[[int, int], None] | None = None
) -> list[PosedPair]:
    """All patients of a folder that can be used, in the order of their names.

    Raises:
        CardioDiTError: There is no such file, one cannot be read, or the size is odd: motion is kept for 2 x 2 pixels.
    """
    if size % 2:
        raise CardioDiTError(f"A size of {size} pixels is odd.", "Give an even number.")
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise CardioDiTError(f"'{folder}' has no .npz files.", "Give the folder with slices and contours.")
    pairs = []
    for done, path in enumerate(paths, start=1):
        pair = read_contoured_pair(path, labeller, size)
        if pair is not None:
            pairs.append(pair)
        if progress is not None:
            progress(done, len(paths))
    return pairs


def write_contoured_pairs(path: str | Path, pairs: Sequence[PosedPair], keep_aside: float) -> Path:
    """Writes a training pack of such patients alone, none with a class.

    Args:
        path: The `.npz` pack.
        pairs: The patients.
        keep_aside: Share of them for validation, see `packing.kept_aside`.

    Raises:
        CardioDiTError: Fewer than two patients.
    """
    if len(pairs) < 2:
        raise CardioDiTError(
            f"{len(pairs)} patients can be used; a pack needs two.",
            f"Each needs {_FEWEST_SLICES} slices drawn at end-diastole and end-systole.",
        )
    return write_pairs(path, pairs, kept_aside(len(pairs), keep_aside), _ABOUT)
