"""What a request is about: a cine or labels at hand, or the file that they lie in and how it is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.device import check_device_name
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.schema import Record


@dataclass(frozen=True)
class CineFile(Record):
    """The file or folder of a cine; the entries are those of `load_cine`."""

    record_name = "place of a cine"

    path: str
    frame_interval_s: float | None = None
    square_axes: bool = False
    series_uid: tuple[str, ...] | None = None
    allow_incomplete: bool = False

    @property
    def name(self) -> str:
        """Last part of the path."""
        return Path(self.path).name

    def load(self) -> Cine:
        """Read it; raises as `load_cine` does."""
        return load_cine(self.path, frame_interval_s=self.frame_interval_s, square_axes=self.square_axes, **self._dicom)

    def dicom_headers(self) -> list[list[Any]]:
        """What is told of its DICOM images, for results that refer to them."""
        from CardioDiTLib.io.dicom import dicom_headers

        return dicom_headers(Path(self.path), **self._dicom)

    def dicom_source(self) -> dict[str, Any]:
        """What `save_segmentation` has to know to write a DICOM SEG.

        Raises:
            CardioDiTError: The cine is no DICOM.
        """
        from CardioDiTLib.io.dicom_frames import is_multi_frame_file

        source = Path(self.path)
        # what else `load_cine` reads is no DICOM
        if not (source.is_dir() or source.suffix.lower() == ".zip" or is_multi_frame_file(source)):
            raise CardioDiTError(
                "A DICOM segmentation must name the DICOM images it belongs to.",
                "Convert the cine first: cardiodit convert CINE CINE.dcm.",
            )
        return {"source": source, **self._dicom}

    @property
    def _dicom(self) -> dict[str, Any]:
        series = None if self.series_uid is None else list(self.series_uid)
        return {"series_uid": series, "allow_incomplete": self.allow_incomplete}


@dataclass(frozen=True)
class LabelFile(Record):
    """The file of labels; the entries are those of `load_segmentation`."""

    record_name = "place of labels"

    path: str
    label_map: str | None = None
    square_axes: bool = False

    @property
    def name(self) -> str:
        """Last part of the path."""
        return Path(self.path).name

    def load(self) -> Segmentation:
        """Read it; raises as `load_segmentation` does."""
        return load_segmentation(self.path, label_map=self.label_map, square_axes=self.square_axes)


@dataclass(frozen=True, eq=False)
class FolderResult:
    """What came of the cines of a folder.

    Attributes:
        place: Where results lie: a table, or a folder.
        count: Cines in the folder.
        kept: How many of them had been done before.
        failed: Why others could not be done, by name.
        passed_over: Files that are no cine: how many, by reason.
    """

    place: Path
    count: int
    kept: int
    failed: Mapping[str, str]
    passed_over: Mapping[str, int]


CineSource = CineFile | Cine
LabelSource = LabelFile | Segmentation


def cine_at(source: CineSource) -> Cine:
    """The cine itself."""
    return source.load() if isinstance(source, CineFile) else source


def labels_at(source: LabelSource) -> Segmentation:
    """The labels themselves."""
    return source.load() if isinstance(source, LabelFile) else source


def name_of(source: object) -> str:
    """What sentences call it."""
    return source.name if isinstance(source, CineFile | LabelFile) else "the cine"


def on_one_grid(first: Cine | Segmentation, second: Cine | Segmentation) -> bool:
    """Whether two have the same voxels."""
    return first.shape == second.shape and bool(np.allclose(first.affine, second.affine, atol=1e-2))


def check_models(*folders: str | None, device: str = "auto") -> None:
    """See that models in place of the embedded ones, and the device, can be there; told before torch is loaded.

    Raises:
        CardioDiTError: A folder is none, or the device has an impossible name.
    """
    for folder in folders:
        if folder is not None and not Path(folder).is_dir():
            raise CardioDiTError(f"'{folder}' is no folder.", "Give the folder of a model.")
    check_device_name(device)


def check_destination(path: Path, overwrite: bool, *, folders: bool = False) -> None:
    """See that a file can be written, before the work and not after it.

    Raises:
        CardioDiTError: Its folder cannot be written to, or it is there (see `refuse_existing`).
    """
    check_folder(path.parent)
    refuse_existing([path], overwrite, folders=folders)


def reading_notes(meta: Mapping[str, Any]) -> list[str]:
    """What should be known about how a file was read, a sentence each; files that were passed over are counted."""
    notes = [str(note) for note in meta.get("notes", [])]
    files = meta.get("files")
    if isinstance(files, dict) and files.get("passed_over"):
        passed = ", ".join(f"{count} {reason}" for reason, count in files["passed_over"].items())
        notes.append(f"{files['seen']} files were seen, {files['used']} images used; passed over: {passed}.")
    return notes
