"""Any cine format that can be read to any that can be written, and to pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
from CardioDiTLib.io import save_cine
from CardioDiTLib.io.cine_files import find_cines
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.progress import Listener, Progress
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import CineFile

SUFFIXES = (".nii.gz", ".nii", ".seq.nrrd", ".dcm", ".gif", ".png")


@dataclass(frozen=True)
class ConvertRequest(Record):
    """An order for another file of a cine.

    Args:
        source: The cine, or with `to` a folder of cines.
        destination: The file, as its name ends; with `to` the folder of the files.
        multi_frame: DICOM: one enhanced multi-frame file in place of a folder of images.
        to: Ending of the file of each cine of a folder, among `SUFFIXES`.
        overwrite: Replace what is there.
    """

    record_name = "request for a conversion"

    source: CineFile
    destination: str
    multi_frame: bool = False
    to: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Converted:
    """A cine in another file.

    Attributes:
        cine: The cine.
        path: Its file.
    """

    cine: Cine
    path: Path


@dataclass(frozen=True, eq=False)
class FolderConverted:
    """What came of a folder.

    Attributes:
        folder: Where the files lie.
        count: Cines in the folder that was given.
        there: Files that were there already, and left.
        failed: Why others could not be converted, by name.
        passed_over: Files that are no cine: how many, by reason.
    """

    folder: Path
    count: int
    there: int
    failed: Mapping[str, str]
    passed_over: Mapping[str, int]


def run(request: ConvertRequest) -> Converted:
    """Convert one cine.

    Raises:
        CardioDiTError: It cannot be read or written, or the file is there already.
    """
    destination = Path(request.destination)
    check_folder(destination.parent)
    as_folder = destination.suffix.lower() == ".dcm" and not request.multi_frame
    refuse_existing([destination], request.overwrite, folders=as_folder)
    return _convert(request)


def run_folder(
    request: ConvertRequest, told: Callable[[Converted], object], *, progress: Listener | None = None
) -> FolderConverted:
    """Convert each cine of a folder; those that are there already are left, failures are told at the end.

    Args:
        request: The order; it says `to` what.
        told: Told of each cine that was converted.
        progress: Told of the stage "convert", in cines.

    Raises:
        CardioDiTError: There are no cines, or nothing can be written to the folder.
    """
    out = Path(request.destination)
    found = find_cines(Path(request.source.path), below=True)
    if not found.cines:
        raise CardioDiTError(
            f"'{request.source.path}' is no folder of several cines.", "Leave --to out to convert a single one."
        )
    check_folder(out)
    failed: dict[str, str] = {}
    there = 0
    for number, (name, path) in enumerate(found.cines.items(), start=1):
        destination = out / f"{name}{request.to}"
        if destination.exists() and not request.overwrite:
            there += 1
        else:
            try:
                source = replace(request.source, path=str(path))
                told(_convert(replace(request, source=source, destination=str(destination))))
            except CardioDiTError as error:
                failed[name] = str(error)
        if progress is not None:
            progress(Progress("convert", number, len(found.cines)))
    return FolderConverted(out, len(found.cines), there, failed, found.passed_over)


def _convert(request: ConvertRequest) -> Converted:
    cine, destination = request.source.load(), Path(request.destination)
    suffix = destination.suffix.lower()
    if suffix == ".png":
        contact_sheet(cine, destination)
    elif suffix == ".gif":
        animated_gif(cine, destination)
    else:
        save_cine(cine, destination, multi_frame=request.multi_frame)
    return Converted(cine, destination)
