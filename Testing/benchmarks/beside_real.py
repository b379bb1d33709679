"""Synthetic hearts on the left, real ones on the right, on one sheet: what still gives the synthetic ones away?

Run: ``python Testing/benchmarks/beside_real.py --synthetic FOLDER --contours PATH/TO/sunnybrook --out beside.png``.

Synthetic ones are the first cines of a folder that ``cardiodit generate`` wrote. Real ones are patients of Sunnybrook
Cardiac Data (CC0, so that the sheet may be shown), brought into the same pose and grid; none of them was chosen by eye.
Each row is a heart: a basal, a middle and an apical slice at end-diastole, then the same at end-systole.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import CardioDiTLib as cd
from CardioDiTLib.data.contoured_slices import read_contoured_pair
from CardioDiTLib.segmentation.segment import segment

SIDE = 112
GAP = 12


def tiles(ed: NDArray[np.float32], es: NDArray[np.float32], slices: tuple[int, int, int]) -> NDArray[np.float32]:
    """One row of six tiles from (Z, Y, X) stacks, brightness as within the heart."""
    edge = (ed.shape[-1] - SIDE) // 2
    shown = np.concatenate(
        [stack[z, edge : edge + SIDE, edge : edge + SIDE] for stack in (ed, es) for z in slices], axis=1
    )
    return np.clip(shown / max(float(np.percentile(shown, 99.5)), 1.0), 0, 1)


def synthetic_rows(folder: Path, count: int) -> list[NDArray[np.float32]]:
    """Rows of the first cines of a folder; end-systole is the frame of the smallest cavity by their own labels, or by
    the segmentation network where they have none.
    """
    rows = []
    for path in sorted(folder.glob("*.nii.gz")):
        if path.name.endswith("_segmentation.nii.gz"):
            continue
        labels_path = path.with_name(path.name.replace(".nii.gz", "_segmentation.nii.gz"))
        cine = cd.load_cine(path)
        array = cine.array.astype(np.float32)
        labels = (cd.load_segmentation(labels_path) if labels_path.is_file() else segment(cine)).array
        systole = int((labels == 3).sum(axis=(1, 2, 3)).argmin())
        rows.append(tiles(array[0], array[systole], (1, 3, 5)))
        if len(rows) == count:
            break
    return rows


def real_rows(folder: Path, count: int) -> list[NDArray[np.float32]]:
    """Rows of patients, every so many of the folder so that all kinds of hearts are there."""
    paths = sorted(folder.glob("*.npz"))
    chosen = [paths[int(place)] for place in np.linspace(0, len(paths) - 1, min(2 * count, len(paths)))]
    rows: list[NDArray[np.float32]] = []
    for path in chosen:
        pair = read_contoured_pair(path, lambda cine: segment(cine).array.astype(np.uint8))
        if pair is not None and len(rows) < count:
            last = int(np.flatnonzero(pair.slice_valid)[-1])
            rows.append(tiles(*pair.images.astype(np.float32), (1, (last + 1) // 2, max(last - 1, 2))))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--contours", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    left = synthetic_rows(arguments.synthetic, arguments.count)
    right = real_rows(arguments.contours, arguments.count)
    rows = [np.concatenate([one, np.ones((SIDE, GAP), np.float32), other], axis=1) for one, other in zip(left, right)]
    sheet = Image.fromarray((np.concatenate(rows) * 255).astype(np.uint8))
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3), Image.Resampling.LANCZOS).save(
        arguments.out, optimize=True
    )
    print(f"{arguments.out}: {len(rows)} synthetic hearts (left) beside {len(rows)} real ones")


if __name__ == "__main__":
    main()
