"""Which files of a folder are cines, and which are labels of cines: one rule for all rooms.

A label map is told by its name (one of `LABEL_ENDINGS` before the suffix) or by its content (few whole numbers, see
`io.label_convention.are_labels`), since `heart_masks.nii.gz` would otherwise count as one more heart. Single volumes
are told by their header. Both are counted and passed over.
"""

from __future__ import annotations

import math
import os
import re
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.label_convention import are_labels

LABEL_SUFFIXES = (".nii.gz", ".seq.nrrd", ".nii", ".nrrd", ".nhdr")

CINE_SUFFIXES = (*LABEL_SUFFIXES, ".zip")
"""Files that are taken for cines; the longest suffix that fits is the one."""

LABEL_ENDINGS = ("_seg", "_labels", "_segmentation", "_label", "_gt", "_mask", "_labelmap")
"""What is added to a cine's name to name its labels: ``heart.nii.gz`` has ``heart_seg.nii.gz`` beside it; a hyphen does
as well as the underscore."""

_DICOM_SUFFIXES = (".dcm", ".ima")

_MOST_TRIED = 20

_LOOKED_INTO_BYTES = 2**30  # labels of a heart are a hundredth of this; what says it is larger is not opened here


@dataclass(frozen=True)
class CineFiles:
    """What a folder holds.

    Args:
        cines: Each cine, a file or a folder of DICOM images, by its name, in the order of the names; none where the
            folder itself is one DICOM cine, or holds nothing.
        passed_over: Number of files that are no cines, by reason.
    """

    cines: dict[str, Path]
    passed_over: dict[str, int] = field(default_factory=dict)


def stem_of(path: Path, suffixes: tuple[str, ...] = CINE_SUFFIXES) -> str | None:
    """Name of a file without its suffix; None where it has none of these."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None


def is_label_name(stem: str) -> bool:
    """Whether a name without suffix is that of labels."""
    return _with_underscores(stem).endswith(LABEL_ENDINGS)


def cines_by_name(folder: Path, *, below: bool = False) -> dict[str, Path]:
    """The cines of a folder.

    A folder of DICOM images in it is one; where all of it is one study, the folder itself is.

    Args:
        folder: The folder.
        below: See `find_cines`.

    Returns:
        Path of each cine by its name without suffix, in the order of the names.

    Raises:
        CardioDiTError: There is no such folder, no cine in it, or two of one name.
    """
    found = find_cines(folder, below=below)
    if not found.cines and _study(folder) is not None:
        return {folder.resolve().name: folder}
    if not found.cines:
        passed = "".join(f"; passed over: {count} ({reason})" for reason, count in found.passed_over.items())
        raise CardioDiTError(
            f"There is no cine in '{folder}'{passed}.",
            f"Give files ending in {', '.join(CINE_SUFFIXES)}, or folders of DICOM images.",
        )
    return found.cines


def find_cines(folder: Path, *, below: bool = False) -> CineFiles:
    """Look for cines in a folder.

    NIfTI, NRRD and zip files are taken, and folders of DICOM images where the folder holds such files beside them or
    images of several studies. Hidden files are left out; label maps and single volumes are counted and passed over.

    Args:
        folder: The folder.
        below: Look for files in the folders in it too. A cine is then named by its path, parts joined by ``_``, and
            names that come twice (``a.nii`` and ``a.nrrd``) get their suffix back; those that are the same even so
            (``a/b.nii`` and ``a_b.nii``) a number, from the second on.

    Returns:
        The cines; none where all is one DICOM cine.

    Raises:
        CardioDiTError: No such folder, a folder in it cannot be read, or two cines of one name (`below` False).
    """
    if not folder.is_dir():
        raise CardioDiTError(f"There is no folder '{folder}'.", "Check the path.")
    passed: Counter[str] = Counter()
    found: list[tuple[str, Path]] = []
    with_files: set[Path] = set()
    for place, names in _walk(folder, below):
        for file in (place / name for name in names):
            stem = stem_of(file)
            if not stem:
                continue
            with_files.add(place)
            reason = _no_cine(file, stem)
            if reason:
                passed[reason] += 1
            else:
                found.append((_name(folder, place / stem), file))
    studies = {part: study for part in _parts(folder, with_files) if (study := _study(part)) is not None}
    if found or len(set(studies.values()) - {""}) > 1:
        found += [(_name(folder, part), part) for part in studies]
    found.sort()
    return CineFiles(dict(_told_apart(found) if below else _each_once(folder, found)), dict(passed))


def find_labels(stems: Iterable[str], folder: Path, *, bare: bool) -> dict[str, Path]:
    """Label files of cines by the cine's name.

    Args:
        stems: Names of the cines.
        folder: Where to look.
        bare: Also take files that have the cine's very name; in the cines' own folder that is the cine.

    Raises:
        CardioDiTError: There are two for one cine.
    """
    endings = (*LABEL_ENDINGS, "") if bare else LABEL_ENDINGS
    wanted = {_with_underscores(f"{stem}{ending}"): stem for ending in reversed(endings) for stem in stems}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = wanted.get(_with_underscores(stem_of(path, LABEL_SUFFIXES) or ""))
        if stem is None or not path.is_file():
            continue
        if stem in found:
            raise CardioDiTError(
                f"'{folder}' holds labels of '{stem}' twice: '{found[stem].name}' and '{path.name}'.",
                "Keep one of the files.",
            )
        found[stem] = path
    return found


def is_label_map(path: Path) -> bool:
    """Whether a file holds labels; False for what cannot be read here.

    A grey picture is known by its first frame, so most of it need not be read.
    """
    suffix = next((one for one in LABEL_SUFFIXES if path.name.lower().endswith(one)), None)
    if suffix is None:
        return False
    try:
        if suffix in (".nii.gz", ".nii"):
            import nibabel

            image: Any = nibabel.load(path)
            data = image.dataobj
            size = math.prod(float(length) for length in data.shape) * data.dtype.itemsize
            if size > _LOOKED_INTO_BYTES:
                return False
            first = np.asanyarray(data[..., :1]) if len(data.shape) >= 4 else None
            if first is not None and first.any() and not are_labels(first):
                return False
            return are_labels(np.asanyarray(data))
        from CardioDiTLib.io.nrrd_sequence import read_nrrd

        return are_labels(read_nrrd(path, allow_volume=True).array)
    except Exception:  # whatever is wrong with it is told when it is read as a cine
        return False


def _no_cine(file: Path, stem: str) -> str:
    """Why a file is none; empty where it may be one."""
    if is_label_name(stem):
        return "labels, by name"
    if _dimensions(file) == 3:
        return "single volumes"
    return "labels, by content" if is_label_map(file) else ""


def composed(name: str) -> str:
    """A name with letters and their marks as one character: what macOS writes apart is the same name elsewhere."""
    return unicodedata.normalize("NFC", name)


def _with_underscores(stem: str) -> str:
    return composed(stem).lower().replace("-", "_")


def _walk(folder: Path, below: bool = True) -> list[tuple[Path, list[str]]]:
    """Folders with the names of their files; hidden ones are left out."""

    def failed(error: OSError) -> None:
        raise CardioDiTError(f"'{error.filename}' could not be read: {error.strerror}.", "Check its permissions.")

    seen: set[str] = set()
    places = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=failed):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if below and not name.startswith((".", "__")))
        places.append((Path(place), sorted(name for name in files if not name.startswith("."))))
    return places


def _name(folder: Path, path: Path) -> str:
    return "_".join(path.relative_to(folder).parts)


def _told_apart(found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Names that come twice (``a.nii`` and ``a.nrrd``) get their suffix back, and a number where that is not enough."""
    counts = Counter(name.lower() for name, _ in found)
    made: list[tuple[str, Path]] = []
    taken = {name for name, times in counts.items() if times == 1}
    for name, path in found:
        unique = name
        if counts[name.lower()] > 1:
            longer = f"{name}_{path.name.split('.', 1)[-1].replace('.', '_')}"
            numbers = (f"{longer}_{number}" for number in count(2))
            unique = next(one for one in chain([longer], numbers) if one.lower() not in taken)
            taken.add(unique.lower())
        made.append((unique, path))
    return made


def _each_once(folder: Path, found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    for (name, path), (other, again) in pairwise(found):
        if name == other:
            raise CardioDiTError(
                f"'{folder}' holds '{name}' twice: '{path.name}' and '{again.name}'.", "Keep one of the files."
            )
    return found


def _parts(folder: Path, with_files: set[Path]) -> list[Path]:
    """Folders just below that hold no image files."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith((".", "__"))]
    return [path for path in below if not any(place == path or path in place.parents for place in with_files)]


def _study(folder: Path) -> str | None:
    """Study of the first DICOM image of a folder; None where there is none among the first files.

    It is empty where images do not say it, or cannot be read but are called DICOM: whoever reads them says what is
    wrong.
    """
    from CardioDiTLib.io.dicom_files import study_of

    tried = 0
    called: str | None = None
    for place, names in _walk(folder):
        for name in names:
            study = study_of(place / name)
            tried += 1
            if study is not None:
                return study
            if name.lower().endswith(_DICOM_SUFFIXES):
                called = ""
            if tried >= _MOST_TRIED:
                return called
    return called


def _dimensions(file: Path) -> int | None:
    """Number of dimensions that the header gives, axes of length 1 at the end not counted; None where it is unclear."""
    name = file.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            with file.open("rb") as stream:
                start = stream.read(2048)
            if start[:2] == b"\x1f\x8b":
                start = zlib.decompressobj(wbits=31).decompress(start, 2048)
            order = "<" if struct.unpack_from("<i", start)[0] == 348 else ">"
            if struct.unpack_from(f"{order}i", start)[0] != 348:
                return None
            count, *sizes = struct.unpack_from(f"{order}8h", start, 40)
            sizes = sizes[:count]
            while len(sizes) > 3 and sizes[-1] == 1:
                sizes.pop()
            return len(sizes)
        if name.endswith((".nrrd", ".nhdr")):
            with file.open("rb") as stream:
                match = re.search(rb"^dimension:\s*(\d+)", stream.read(4096), re.MULTILINE | re.IGNORECASE)
            return int(match.group(1)) if match else None
    except (OSError, struct.error, zlib.error):
        return None  # whoever reads it says what is wrong
    return None


def file_stem(path: Path) -> str:
    """Name of a file without the suffixes of images; a folder's name as it is."""
    if path.is_dir():
        return path.resolve().name
    return stem_of(path) or path.stem
