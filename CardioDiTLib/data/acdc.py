"""ACDC (Bernard et al., IEEE TMI 2018): reading the ED/ES volumes and expert labels, and making one training pack of
them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from CardioDiTLib.data.cine_from_pair import PosedPair, pose_pair
from CardioDiTLib.data.packing import write_pairs
from CardioDiTLib.errors import CardioDiTError

ABOUT = (
    "Made from ACDC ED/ES volumes (Bernard et al., IEEE TMI 2018), CC BY-NC-SA 4.0: "
    "research only, not to be shared as images."
)
# Two of every sixteen patients of a group are held out, the same ones every time.
HELD_OUT_EVERY, HELD_OUT_PLACE = 8, 7


def read_pair(folder: Path, name: str, row: dict[str, str], size: int) -> PosedPair:
    """Reads `<name>_ED.nii.gz`, `_ED_gt`, `_ES`, `_ES_gt` and brings them into the common pose."""
    volumes = {}
    spacing: tuple[float, ...] = ()
    for part in ("ED", "ES", "ED_gt", "ES_gt"):
        path = folder / f"{name}_{part}.nii.gz"
        try:
            image = nib.load(path)
            assert isinstance(image, nib.Nifti1Image)  # the suffix says so
            volumes[part] = np.asarray(image.dataobj).T
            spacing = tuple(float(v) for v in image.header.get_zooms()[:3])
        except (OSError, EOFError, nib.filebasedimages.ImageFileError) as error:
            raise CardioDiTError(f"'{path.name}' is missing or cannot be read.", "Check the ACDC folder.") from error
    frames = int(float(row["n_frames"]))
    return pose_pair(
        volumes["ED"],
        volumes["ES"],
        volumes["ED_gt"],
        volumes["ES_gt"],
        np.diag([*spacing, 1.0]),
        size=size,
        systole=(int(float(row["es_frame"])) - int(float(row["ed_frame"]))) / frames,
        group=row["pathology"],
    )


def make_pack(
    source: str | Path,
    destination: str | Path,
    *,
    size: int = 152,
    held_out_only: bool = False,
    more: Sequence[PosedPair] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Makes one training pack of an ACDC folder.

    Args:
        source: Folder with `metadata.csv` (pid, pathology, n_frames, ed_frame, es_frame) and the volumes.
        destination: The `.npz` pack.
        size: Rows and columns that are kept, pixels of 1.5 mm; 12 pixels more than the grid on every side leave room
            for augmentation.
        held_out_only: Only the patients that training holds out, for measuring.
        more: Pairs of other patients, without a class, to learn from too (`data.contoured_slices`).
        progress: Called with (done, of).

    Raises:
        CardioDiTError: The folder is not what is expected, or a volume cannot be read.
    """
    source = Path(source)
    table = source / "metadata.csv"
    if not table.is_file():
        raise CardioDiTError(
            f"'{source}' has no metadata.csv.", "Give the folder with the ACDC volumes and their table."
        )
    with open(table, newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    if size % 2:
        raise CardioDiTError(f"A size of {size} pixels is odd.", "Give an even number.")
    held_out = []
    seen: dict[str, int] = {}
    for row in rows:
        place = seen.get(row["pathology"], 0)
        seen[row["pathology"]] = place + 1
        held_out.append(place % HELD_OUT_EVERY == HELD_OUT_PLACE)
    if held_out_only:
        rows = [row for row, kept in zip(rows, held_out) if kept]
        held_out = [True] * len(rows)
    pairs = []
    for index, row in enumerate(rows):
        pairs.append(read_pair(source, row["pid"], row, size))
        if progress:
            progress(index + 1, len(rows))
    about = f"{ABOUT} {len(more)} more pairs are from elsewhere." if more else ABOUT
    return write_pairs(destination, [*pairs, *more], [*held_out, *[False] * len(more)], about)
