"""One packed file with everything that training needs: posed cines, labels, groups, split. No patient's name is in it.

Two kinds of entries fit in one pack: an ED/ES pair with its motion (frames are made when the pack is opened; 100
patients then take less than 40 MB), or the frames themselves where a true 4D cine is at hand.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.motion import bilinear_planes
from CardioDiTLib.data.preprocess import to_grid
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.grid import ModelGrid
from CardioDiTLib.io import load_cine
from CardioDiTLib.io.cine_files import cines_by_name
from CardioDiTLib.io.name_table import read_name_table
from CardioDiTLib.schema import parse_json

FORMAT = "cardiodit-pack"

VERSION = 1

MOTION_STEP_PX = 0.2


def _pack_labels(labels: np.ndarray) -> np.ndarray:
    """Four labels a byte."""
    padding = np.zeros(-labels.size % 4, np.uint8)
    flat = np.concatenate([labels.reshape(-1).astype(np.uint8), padding]).reshape(-1, 4)
    return flat[:, 0] | (flat[:, 1] << 2) | (flat[:, 2] << 4) | (flat[:, 3] << 6)


def _unpack_labels(packed: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    flat = np.stack([(packed >> shift) & 3 for shift in (0, 2, 4, 6)], axis=1).reshape(-1)
    return flat[: int(np.prod(shape))].reshape(tuple(shape))


@dataclass(frozen=True, eq=False, repr=False)
class PackedCines:
    """Cines of a pack, ready for training.

    Attributes:
        images: (N, T, Z, Y, X) uint8.
        labels: (N, T, Z, Y, X) uint8, or None where the pack has none.
        slice_valid: (N, Z) bool.
        groups: (N,) int index into `group_names`; -1 unknown.
        group_names: Names of the pathology groups.
        validation: (N,) bool; True for cines kept aside.
        spacing: (x, y, z) mm.
        cycle_s: (N,) seconds.
        turn_deg: (N,) in-plane turn into the common pose, degrees; zeros where cines were not turned.
        affine: (N, 4, 4) from (x, y, z) index to the source's world, which turns a cine back; None for whole cines.
    """

    images: np.ndarray
    labels: np.ndarray | None
    slice_valid: np.ndarray
    groups: np.ndarray
    group_names: tuple[str, ...]
    validation: np.ndarray
    spacing: tuple[float, float, float]
    cycle_s: np.ndarray
    turn_deg: np.ndarray
    affine: np.ndarray | None

    def __repr__(self) -> str:
        """One line."""
        count, frames, slices, rows, columns = self.images.shape
        size = f"{frames} frames, {slices} slices, {columns} x {rows} pixels"
        return f"PackedCines({count} cines, {int(self.validation.sum())} kept aside, {size})"


def write_pairs(path: str | Path, pairs: Sequence[PosedPair], validation: Sequence[bool], about: str) -> Path:
    """Writes posed ED/ES pairs with their motion; the order of the pairs is kept, nothing else of the patients. Pairs
    whose group is empty have no class.

    Args:
        path: Destination, `.npz`.
        pairs: Posed pairs on one grid.
        validation: True for each pair to keep aside.
        about: One sentence on the source and its terms.
    """
    path = Path(path)
    names = sorted({pair.group for pair in pairs if pair.group})
    images = np.stack([pair.images for pair in pairs])
    motion = np.stack([pair.displacement[..., ::2, ::2] + pair.displacement[..., 1::2, 1::2] for pair in pairs]) / 2
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "pairs",
        "about": about,
        "group_names": names,
        "spacing": list(pairs[0].spacing),
        "labels_shape": list(images.shape),
    }
    arrays = {
        "images": images,
        "labels": _pack_labels(np.stack([pair.labels for pair in pairs])),
        "motion": np.clip(np.rint(motion / MOTION_STEP_PX), -127, 127).astype(np.int8),
        "slice_valid": np.stack([pair.slice_valid for pair in pairs]),
        "systole": np.array([pair.systole for pair in pairs], np.float32),
        "cycle_s": np.array([pair.cycle_s for pair in pairs], np.float32),
        "turn_deg": np.array([pair.turn_deg for pair in pairs], np.float32),
        "affine": np.stack([pair.affine for pair in pairs]),
        "groups": np.array([names.index(pair.group) if pair.group else -1 for pair in pairs], np.int8),
        "validation": np.asarray(validation, bool),
    }
    return _write(path, header, arrays)


def write_cines(
    path: str | Path,
    images: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    groups: Sequence[str] | None = None,
    validation: Sequence[bool] | None = None,
    labels: np.ndarray | None = None,
    slice_valid: np.ndarray | None = None,
    cycle_s: Sequence[float] | None = None,
    about: str = "",
) -> Path:
    """Writes whole cines (N, T, Z, Y, X) uint8, for owners of true 4D data; an empty group is no class."""
    count = len(images)
    own = [""] * count if groups is None else groups
    names = sorted({group for group in own if group})
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "cines",
        "about": about,
        "group_names": names,
        "spacing": list(spacing),
        "labels_shape": list(images.shape),
    }
    arrays = {
        "images": images.astype(np.uint8),
        "slice_valid": np.ones((count, images.shape[2]), bool) if slice_valid is None else slice_valid,
        "cycle_s": np.full(count, 0.9, np.float32) if cycle_s is None else np.asarray(cycle_s, np.float32),
        "groups": np.array([names.index(group) if group else -1 for group in own], np.int8),
        "validation": np.zeros(count, bool) if validation is None else np.asarray(validation, bool),
    }
    if labels is not None:
        arrays["labels"] = _pack_labels(labels)
    return _write(Path(path), header, arrays)


def _write(path: Path, header: dict, arrays: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with atomic_path(path) as partial:
        np.savez_compressed(partial, header=text, **arrays)  # type: ignore[arg-type]  # arrays by name
    return path


class FramesNotMade(CardioDiTError):
    """The deadline passed before all frames of a pack's pairs were made; the next call continues from there."""


def read_pack(
    path: str | Path,
    frames: int = 16,
    cache: bool = True,
    *,
    deadline: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PackedCines:
    """Opens a pack; frames of ED/ES pairs are made once and kept beside it (`<name>.frames<T>.npz`) if possible.

    Args:
        path: The `.npz` file.
        frames: Frames a cycle for pairs; packs of whole cines keep theirs.
        cache: Keep the made frames for the next time.
        deadline: `time.monotonic()` after which no further cine is begun; what was made is kept. Where nothing can be
            kept, all frames are made nevertheless, since no later call could continue.
        progress: Called with (cines made, of) while frames are made.

    Raises:
        FramesNotMade: The deadline has passed.
        CardioDiTError: Not a pack, or of a newer version.
    """
    path = Path(path)
    header, arrays = _opened(path)
    labels: np.ndarray | None
    if header["kind"] == "pairs":
        images, labels = _made_frames(path, header, arrays, frames, cache, deadline, progress)
    else:
        images = arrays["images"]
        labels = arrays.get("labels")
    spacing = header["spacing"]
    return PackedCines(
        images=images,
        labels=labels,
        slice_valid=arrays["slice_valid"],
        groups=arrays["groups"].astype(np.int64),
        group_names=tuple(header["group_names"]),
        validation=arrays["validation"],
        spacing=(spacing[0], spacing[1], spacing[2]),
        cycle_s=arrays["cycle_s"],
        turn_deg=arrays.get("turn_deg", np.zeros(len(images), np.float32)),
        affine=arrays.get("affine"),
    )


def read_pairs(path: str | Path, indices: Sequence[int] | None = None) -> list[PosedPair]:
    """The ED/ES pairs of a pack with their motion, in the pack's order; poses are not kept (`affine` is the identity).

    Args:
        path: The pack.
        indices: Numbers of the pairs that are wanted, in the order in which they are wanted; None for all.

    Raises:
        CardioDiTError: Not a pack, of a newer version, or a pack of whole cines.
    """
    header, arrays = _opened(Path(path))
    if header["kind"] != "pairs":
        raise CardioDiTError(
            f"'{Path(path).name}' holds whole cines, not ED/ES pairs.", "Make it with 'cardiodit prepare acdc'."
        )
    wanted = range(header["labels_shape"][0]) if indices is None else indices
    return [_pair_of(header, arrays, int(index)) for index in wanted]


def _pair_of(header: dict, arrays: dict[str, np.ndarray], index: int) -> PosedPair:
    _, _, _, height, width = header["labels_shape"]
    group = int(arrays["groups"][index])
    return PosedPair(
        images=arrays["images"][index],
        labels=arrays["labels"][index],
        displacement=_full_motion(arrays["motion"][index], height, width),
        slice_valid=arrays["slice_valid"][index],
        spacing=tuple(header["spacing"]),
        turn_deg=0.0,
        affine=np.eye(4),
        systole=float(arrays["systole"][index]),
        cycle_s=float(arrays["cycle_s"][index]),
        group=header["group_names"][group] if group >= 0 else "",
    )


def _opened(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays of a pack, labels unpacked."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = parse_json(arrays.pop("header").tobytes().decode())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CardioDiTError(
            f"'{path.name}' cannot be read as a training pack.", "Make it with 'cardiodit prepare'."
        ) from error
    if header.get("format") != FORMAT or header.get("version", 0) > VERSION:
        raise CardioDiTError(
            f"'{path.name}' is no pack that this version can read.", "Make it anew with 'cardiodit prepare'."
        )
    if "labels" in arrays:
        arrays["labels"] = _unpack_labels(arrays["labels"], header["labels_shape"])
    return header, arrays


def _made_frames(
    path: Path,
    header: dict,
    arrays: dict[str, np.ndarray],
    frames: int,
    cache: bool,
    deadline: float | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    kept = path.with_name(f"{path.stem}.frames{frames}.npz")
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    if cache:
        whole = _read_frames(kept, source)
        if whole is not None:
            return whole
    count, _, slices, height, width = header["labels_shape"]
    images = np.empty((count, frames, slices, height, width), np.uint8)
    labels = np.empty_like(images)
    parts = path.with_name(f".{path.stem}.frames{frames}.{source[:12]}")
    made_now = 0
    for index in range(count):
        part = _read_frames(parts / f"{index:05d}.npz", source) if cache else None
        if part is None:
            if cache and made_now and deadline is not None and time.monotonic() > deadline:
                raise FramesNotMade(
                    f"The frames of {index} of {count} cines are made.", "The same command goes on from here."
                )
            part = _pair_of(header, arrays, index).frames(frames)
            made_now += 1
            cache = cache and _keep_frames(parts / f"{index:05d}.npz", *part, source)
            if progress:
                progress(index + 1, count)
        images[index], labels[index] = part
    if cache:
        _keep_frames(kept, images, labels, source)
    shutil.rmtree(parts, ignore_errors=True)
    return images, labels


def _read_frames(path: Path, source: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames that were kept, if they are of this very pack."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if str(archive["source"]) == source:
                return archive["images"], archive["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # made anew
    return None


def _keep_frames(path: Path, images: np.ndarray, labels: np.ndarray, source: str) -> bool:
    """Keeps frames for the next time; False where that is not possible: a full disk, a folder only to be read."""
    try:
        with atomic_path(path) as partial:
            np.savez(partial, images=images, labels=labels, source=np.array(source))
    except (OSError, CardioDiTError):
        return False
    return True


def _full_motion(motion: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-resolution int8 steps -> (2, Z, Y, X) pixels."""
    coarse = motion.astype(np.float32) * MOTION_STEP_PX
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    slices = coarse.shape[1]
    place_y = np.broadcast_to((rows - 0.5) / 2, (slices, height, width))
    place_x = np.broadcast_to((columns - 0.5) / 2, (slices, height, width))
    return bilinear_planes(coarse, place_y, place_x)


def patients_of(images: NDArray[np.uint8], same: float = 0.9) -> NDArray[np.int64]:
    """A number for each cine, the same for cines that show the same images.

    Data sets hold some patients twice under two names; as negative pairs they would train the encoder to separate
    copies.

    Args:
        images: (N, T, Z, Y, X).
        same: Correlation of mean images from which on two cines are of one patient.

    Returns:
        (N,) the index of the first cine of the patient.
    """
    flat = images.mean(axis=1, dtype=np.float32).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    alike = flat @ flat.T >= same
    first = np.arange(len(images))
    for index in range(len(images)):
        first[index] = first[int(np.argmax(alike[index, : index + 1]))] if alike[index, :index].any() else index
    return first


def kept_aside(count: int, share: float) -> list[bool]:
    """Which of so many patients are kept for validation: the share, evenly along their order; of a share above 0 one at
    least, and never all.
    """
    aside = min(max(1, round(share * count)), count - 1) if share > 0 else 0
    places = {int((number + 0.5) * count / aside) for number in range(aside)}
    return [place in places for place in range(count)]


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

    A table `groups.csv` with the columns `file` and `group` gives pathology groups; without it, or where its cell is
    empty, a cine is of none. Cines are not turned in plane: only labels tell how far (see `cine_from_pair`).

    Args:
        folder: Files that `load_cine` reads, and folders of DICOM images. Label maps are left out.
        destination: The `.npz` pack.
        size, slices, frames, spacing: The grid to keep.
        keep_aside: Share of cines for validation, see `kept_aside`, in the order of file names.
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
    return write_cines(
        destination,
        images,
        spacing,
        groups=groups,
        validation=kept_aside(len(paths), keep_aside),
        slice_valid=valid,
        cycle_s=cycles,
        about="Whole cines.",
    )
