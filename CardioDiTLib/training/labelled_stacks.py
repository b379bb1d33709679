"""Labelled stacks as recorded, beside the pack: ED and ES volumes of ACDC, and slices with contours of the cavity.

A pack's images were resampled before an expert's labels are compared with them; these are resampled once. Images of
other scanners, where only the left cavity was drawn, teach what is and what is not cavity, and nothing else.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.acdc import HELD_OUT_EVERY, HELD_OUT_PLACE
from CardioDiTLib.data.heart_roi import intensity_range
from CardioDiTLib.data.intensity import IntensityRange
from CardioDiTLib.data.orientation import base_end
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.nifti import read_nifti
from CardioDiTLib.labels import LV
from CardioDiTLib.segmentation.model import IntensityRule

NOT_CAVITY = 4
"""Label of pixels of which only so much is known: they are no left cavity."""

GRID_MM = 1.2
"""Finer than the network's spacing, so that resampling once more costs little."""


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """Frames of one patient about the heart.

    Attributes:
        images: (T, Z, H, W).
        labels: (T, Z, H, W) uint8, 0-3, or 3 and `NOT_CAVITY`.
        slice_mm: Distance of the slices.
        range: Their brightness.
        basal: Slices at the base end of what is labelled at ES, one to either side; empty where that cannot be told.
        whole: Every label is known.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    slice_mm: float
    range: IntensityRange
    basal: tuple[int, ...]
    whole: bool

    @property
    def systole(self) -> int:
        """The frame with least cavity."""
        return int((self.labels == LV).sum(axis=(1, 2, 3)).argmin())


def basal_slices(labels: NDArray[np.uint8], systole: int, valid: NDArray[np.bool_] | None = None) -> tuple[int, ...]:
    """Slices of which it is hardest to say whether they belong to a ventricle at end-systole.

    Args:
        labels: (T, Z, Y, X).
        systole: That frame.
        valid: (Z,), which slices hold images; None for all.

    Returns:
        From the last slice with both ventricles at ES on, two towards the base and one towards the apex.
    """
    end = base_end(np.eye(4), labels)
    both = np.flatnonzero((labels[systole] == 1).any(axis=(1, 2)) & (labels[systole] == LV).any(axis=(1, 2)))
    if end is None or not len(both):
        return ()
    there = np.ones(labels.shape[1], bool) if valid is None else valid
    top, way = (int(both[0]), -1) if end == "first" else (int(both[-1]), 1)
    return tuple(z for z in (top - way, top, top + way, top + 2 * way) if 0 <= z < len(there) and there[z])


def read_recorded(folder: str | Path, size: int, rule: IntensityRule) -> list[LabelledStack]:
    """ED and ES volumes of a folder of ACDC as recorded, those that packs hold out left out.

    Args:
        folder: `metadata.csv` and `NAME_ED.nii.gz`, `NAME_ED_gt.nii.gz`, `NAME_ES.nii.gz`, `NAME_ES_gt.nii.gz`.
        size: Rows and columns about the heart, pixels of `GRID_MM`.
        rule: How grey values are scaled.

    Raises:
        CardioDiTError: The table or a volume cannot be read.
    """
    folder = Path(folder)
    try:
        with open(folder / "metadata.csv", newline="", encoding="utf-8") as stream:
            rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise CardioDiTError(f"'{folder.name}' has no table metadata.csv.", "Give the folder of ACDC.") from error
    seen: dict[str, int] = {}
    stacks = []
    for row in rows:
        place = seen.get(row["pathology"], 0)
        seen[row["pathology"]] = place + 1
        if place % HELD_OUT_EVERY == HELD_OUT_PLACE:
            continue
        frames = [read_nifti(folder / f"{row['pid']}_{part}.nii.gz", allow_volume=True) for part in ("ED", "ES")]
        truth = [read_nifti(folder / f"{row['pid']}_{part}_gt.nii.gz", allow_volume=True) for part in ("ED", "ES")]
        images = np.concatenate([frame.array[:1] for frame in frames]).astype(np.float32)
        labels = np.concatenate([frame.array[:1] for frame in truth]).astype(np.uint8)
        x, y, z = np.linalg.norm(frames[0].affine[:3, :3], axis=0).tolist()
        stacks.append(_stack(images, labels, (x, y, z), size, rule, whole=True))
    if not stacks:
        raise CardioDiTError(f"'{folder.name}' holds no patient to train on.", "Give the folder of ACDC.")
    return stacks


def read_cavities(
    folder: str | Path, size: int, rule: IntensityRule, *, pixel_mm: float = 1.33, slice_mm: float = 10.0
) -> list[LabelledStack]:
    """Slices with contours of the left cavity: files `.npz` with images, lv_endo (N, Y, X) and instance (N,).

    Instances count frames of 20 a slice. Every third file is left out, to measure with.

    Args:
        folder: The files.
        size: Rows and columns about the heart, pixels of `GRID_MM`.
        rule: How grey values are scaled.
        pixel_mm: Pixel spacing; the files do not hold it.
        slice_mm: Distance of the slices, which they do not hold either.

    Raises:
        CardioDiTError: There are none, or one cannot be read.
    """
    stacks = []
    for number, path in enumerate(sorted(Path(folder).glob("*.npz"))):
        if number % 3 == 2:
            continue
        try:
            with np.load(path, allow_pickle=False) as archive:
                images, cavity, instance = archive["images"], archive["lv_endo"], archive["instance"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CardioDiTError(f"'{path.name}' cannot be read.", "Give a folder of contoured slices.") from error
        phases, slices = (instance - 1) % 20, (instance - 1) // 20
        drawn: dict[int, dict[int, int]] = {}
        for at, (z, phase) in enumerate(zip(slices, phases)):
            drawn.setdefault(int(z), {})[int(phase)] = at
        areas = {int(p): float(np.median(cavity[phases == p].sum(axis=(1, 2)))) for p in np.unique(phases)}
        diastole, systole = max(areas, key=areas.__getitem__), min(areas, key=areas.__getitem__)
        paired = [z for z in sorted(drawn) if diastole in drawn[z] and systole in drawn[z]]
        if len(paired) < 3 or diastole == systole:
            continue
        where = np.array([[drawn[z][phase] for z in paired] for phase in (diastole, systole)])
        labels = np.where(cavity[where] > 0, LV, NOT_CAVITY).astype(np.uint8)
        spacing = (pixel_mm, pixel_mm, slice_mm)
        stacks.append(_stack(images[where].astype(np.float32), labels, spacing, size, rule, whole=False))
    if not stacks:
        raise CardioDiTError(f"'{Path(folder).name}' holds no contoured slices.", "Give a folder with .npz files.")
    return stacks


def _stack(
    images: NDArray[np.float32],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    size: int,
    rule: IntensityRule,
    whole: bool,
) -> LabelledStack:
    """(T, Z, Y, X) -> a stack about the middle of the left cavity, on the grid."""
    y, x = (axis.mean() for axis in np.nonzero(labels == LV)[2:])
    reach = (np.arange(size) - (size - 1) / 2) * GRID_MM
    rows, columns = y + reach / spacing[1], x + reach / spacing[0]
    seen = intensity_range(images, 0.0, 100.0)
    grey = np.clip(127.5 * (seen.scale(images) + 1), 0, 255)
    resampled = np.rint(_sampled(grey, rows, columns)).astype(np.uint8)
    near_y, near_x = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = ((near_y >= 0) & (near_y < labels.shape[2]))[:, None] & ((near_x >= 0) & (near_x < labels.shape[3]))
    named = labels[:, :, near_y.clip(0, labels.shape[2] - 1)][..., near_x.clip(0, labels.shape[3] - 1)]
    named = np.where(inside, named, 0).astype(np.uint8)
    systole = int((named == LV).sum(axis=(1, 2, 3)).argmin())
    return LabelledStack(
        images=resampled,
        labels=named,
        slice_mm=spacing[2],
        range=intensity_range(resampled, rule.low_percentile, rule.high_percentile),
        basal=basal_slices(named, systole) if whole else (),
        whole=whole,
    )


def _sampled(
    planes: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Linear, at the crossings of rows and columns; 0 beyond the rim."""
    for axis, places in ((2, rows), (3, columns)):
        last = planes.shape[axis] - 1
        low = np.floor(places).astype(int)
        share = (places - low).reshape([-1 if a == axis else 1 for a in range(4)])
        outside = ((places < 0) | (places > last)).reshape(share.shape)
        first, second = (np.take(planes, (low + k).clip(0, last), axis) for k in (0, 1))
        planes = np.where(outside, 0.0, first * (1 - share) + second * share).astype(np.float32)
    return planes
