"""Any cine format that can be read to any that can be written, and to pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
from CardioDiTLib.io import save_cine
from CardioDiTLib.io.cine_files import find_cines
from CardioDiTLib.io.output_set import check_folder
from CardioDiTLib.progress import Listener, Progress
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import CineFile, FolderResult, check_destination

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


def run(request: ConvertRequest) -> Cine:
    """Convert one cine.

    Raises:
        CardioDiTError: It cannot be read or written, or the file is there already.
    """
    destination = Path(request.destination)
    as_folder = destination.suffix.lower() == ".dcm" and not request.multi_frame
    check_destination(destination, request.overwrite, folders=as_folder)
    return _convert(request)


def run_folder(
    request: ConvertRequest, told: Callable[[str, Cine], object], *, progress: Listener | None = None
) -> FolderResult:
    """Convert each cine of a folder; those that are there already are left, failures are told at the end.

    The folder of the files may lie in that of the cines: what is in it is not converted again.

    Args:
        request: The order; it says `to` what.
        told: Told of each file that was written, and its cine.
        progress: Told of the stage "convert", in cines.

    Raises:
        CardioDiTError: There are no cines, or nothing can be written to the folder.
    """
    out, source = Path(request.destination), Path(request.source.path)
    found = find_cines(source, below=True)
    cines = _not_within(out, source, found.cines)
    if not cines:
        raise CardioDiTError(
            f"'{request.source.path}' is no folder of several cines.", "Leave --to out to convert a single one."
        )
    check_folder(out)
    failed: dict[str, str] = {}
    there = 0
    for number, (name, path) in enumerate(cines.items(), start=1):
        destination = out / f"{name}{request.to}"
        if destination.exists() and not request.overwrite:
            there += 1
        else:
            one = replace(request, source=replace(request.source, path=str(path)), destination=str(destination))
            try:
                told(one.destination, _convert(one))
            except CardioDiTError as error:
                failed[name] = str(error)
        if progress is not None:
            progress(Progress("convert", number, len(cines)))
    return FolderResult(out, len(cines), there, failed, found.passed_over)


def _not_within(out: Path, source: Path, cines: dict[str, Path]) -> dict[str, Path]:
    """The cines without those in the folder of the results, where that lies in the folder of the cines: an earlier run
    may have written them."""
    results = out.resolve()
    if source.resolve() not in results.parents:
        return cines
    return {name: path for name, path in cines.items() if not path.resolve().is_relative_to(results)}


def _convert(request: ConvertRequest) -> Cine:
    cine, destination = request.source.load(), Path(request.destination)
    suffix = destination.suffix.lower()
    if suffix == ".png":
        contact_sheet(cine, destination)
    elif suffix == ".gif":
        animated_gif(cine, destination)
    else:
        save_cine(cine, destination, multi_frame=request.multi_frame)
    return cine
