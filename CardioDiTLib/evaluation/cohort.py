"""A cohort: cines one after the other, with labels and groups where there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.data.packing import PackedCines, read_pack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.io.cine_files import LABEL_ENDINGS, cines_by_name, find_labels
from CardioDiTLib.io.frame_times import take_back_assumed
from CardioDiTLib.io.name_table import read_name_table

PARTS = ("all", "training", "validation")
"""Parts of a training pack."""

_FRAMES = 16  # a pack of ED/ES pairs has no frames of its own


@dataclass(frozen=True, eq=False)
class CohortItem:
    """One cine of a cohort, read when it is wanted.

    Attributes:
        name: Of the cine.
        group: Pathology group; empty where it is not known.
        load: Gives the cine and its labels, or None for these.
    """

    name: str
    group: str
    load: Callable[[], tuple[Cine, Segmentation | None]]


@dataclass(frozen=True, eq=False, repr=False)
class Cohort:
    """Cines to compare with those of another cohort.

    Attributes:
        name: Of the cohort.
        items: Its cines.
        notes: What the reader of a comparison should know about it, one sentence each.
    """

    name: str
    items: tuple[CohortItem, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line."""
        groups = sorted({item.group for item in self.items if item.group})
        return f"Cohort({self.name}, {len(self.items)} cines{', ' + ', '.join(groups) if groups else ''})"

    @classmethod
    def from_cines(
        cls,
        cines: Sequence[Cine],
        segmentations: Sequence[Segmentation | None] | None = None,
        groups: Sequence[str] | None = None,
        name: str = "cohort",
    ) -> Cohort:
        """Make a cohort of cines in memory.

        Args:
            cines: The cines.
            segmentations: Labels of each, None where a cine has none.
            groups: Pathology group of each; without it the pathology that a generated cine says it has.
            name: Of the cohort.

        Raises:
            CardioDiTError: The lists differ in length.
        """
        for what, values in (("segmentations", segmentations), ("groups", groups)):
            if values is not None and len(values) != len(cines):
                raise CardioDiTError(f"There are {len(cines)} cines and {len(values)} {what}.", "Give one a cine.")
        labels = [None] * len(cines) if segmentations is None else list(segmentations)
        own = [str(cine.meta.get("pathology") or "") for cine in cines] if groups is None else list(groups)
        items = tuple(
            CohortItem(f"{name}-{i:03d}", own[i], lambda pair=(cine, labels[i]): pair)  # type: ignore[misc]
            for i, cine in enumerate(cines)
        )
        return cls(name, items)


def cohort_from_folder(folder: str | Path, labels: str | Path | None = None) -> Cohort:
    """A cohort of the cine files in a folder.

    Labels: without `labels`, the file beside a cine that has its name with ``_seg``, ``_labels``, ``_segmentation`` or
    the like added (`io.cine_files.LABEL_ENDINGS`); with it, the file in that folder that has the cine's name, with or
    without this addition. Suffixes may differ. Label maps, by name or content, are never taken for cines.

    Groups: the columns ``file`` and ``group`` of a ``groups.csv`` in the folder, else the pathology that a generated
    cine says it has.

    Args:
        folder: Files ending in .nii.gz, .nii, .seq.nrrd, .nrrd, or .zip (DICOM), or folders of DICOM images.
        labels: Folder with the labels.

    Returns:
        The cohort; files are read when they are measured.

    Raises:
        CardioDiTError: No such folder, no cine in it, two cines of one name, a `labels` folder that has none for any of
            them, or a groups.csv that does not name a cine.
    """
    folder = Path(folder)
    paths = cines_by_name(folder)
    beside = folder if labels is None else Path(labels)
    if not beside.is_dir():
        raise CardioDiTError(f"There is no folder '{beside}'.", "Give the folder with the label files.")
    # In the cines' own folder the file with the cine's very name is the cine.
    found = find_labels(paths, beside, bare=not beside.samefile(folder))
    if labels is not None and not found:
        raise CardioDiTError(
            f"'{beside}' holds no labels for the cines in '{folder}'.",
            f"Name them like the cines, or with {' or '.join(LABEL_ENDINGS)} added.",
        )
    groups = read_name_table(folder / "groups.csv", paths, "group")
    items = tuple(
        CohortItem(stem, "" if groups is None else groups[stem], _loader(path, found.get(stem)))
        for stem, path in paths.items()
    )
    return Cohort(folder.resolve().name, items)


def cohort_from_pack(path: str | Path, part: str = "all") -> Cohort:
    """A cohort of a training pack, with its labels and groups; slices that only stand in for missing ones are left out.

    Args:
        path: The `.npz` pack.
        part: "all", "training" or "validation".

    Returns:
        The cohort.

    Raises:
        CardioDiTError: Not a pack, another part, or a part without cines.
    """
    path = Path(path)
    if part not in PARTS:
        raise CardioDiTError(f"A pack has no part '{part}'.", f"Use one of {', '.join(PARTS)}.")
    # Frames that training has kept beside the pack are used; judging alone leaves no such file behind.
    pack = read_pack(path, _FRAMES, cache=path.with_name(f"{path.stem}.frames{_FRAMES}.npz").exists())
    chosen = [i for i in range(len(pack.images)) if part == "all" or bool(pack.validation[i]) == (part == "validation")]
    if not chosen:
        raise CardioDiTError(f"'{path.name}' has no cines for {part}.", "Choose another part of the pack.")
    notes = []
    if pack.affine is not None:
        notes.append(
            f"The frames of '{path.stem}' were made from pairs of end-diastole and end-systole: numbers about time and "
            "rates compare with that motion, not with a recorded one."
        )
    items = tuple(
        CohortItem(
            f"{path.stem}-{i:03d}",
            pack.group_names[pack.groups[i]] if pack.groups[i] >= 0 else "",
            lambda i=i: _from_pack(pack, i),  # type: ignore[misc]
        )
        for i in chosen
    )
    return Cohort(path.stem, items, tuple(notes))


def _from_pack(pack: PackedCines, index: int) -> tuple[Cine, Segmentation | None]:
    valid = pack.slice_valid[index]
    images = pack.images[index][:, valid]
    shape = (images.shape[1], images.shape[2], images.shape[3])
    affine = short_axis_affine(shape, pack.spacing)
    times = np.asarray(np.arange(len(images)) * (float(pack.cycle_s[index]) / len(images)), np.float64)
    labels = None if pack.labels is None else Segmentation(pack.labels[index][:, valid], affine, times)
    return Cine(images, affine, times), labels


def _loader(path: Path, labels: Path | None) -> Callable[[], tuple[Cine, Segmentation | None]]:
    def load() -> tuple[Cine, Segmentation | None]:
        cine = load_cine(path)
        if labels is None:
            return cine, None
        segmentation = load_segmentation(labels)
        if segmentation.shape[1:] != cine.shape[1:] or not np.allclose(segmentation.affine, cine.affine, atol=1e-2):
            raise CardioDiTError(
                f"The labels '{labels.name}' are not on the grid of '{path.name}'.", "Give labels of this very cine."
            )
        if segmentation.meta.get("frame_times_assumed") and segmentation.n_frames == cine.n_frames:
            meta = dict(segmentation.meta)
            if not cine.meta.get("frame_times_assumed"):
                take_back_assumed(meta)
            segmentation = Segmentation(segmentation.array, segmentation.affine, cine.frame_times, meta)
        return cine, segmentation

    return load
