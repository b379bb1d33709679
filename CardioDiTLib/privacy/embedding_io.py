"""From what a user has (arrays, files of embeddings, folders of cines, training packs) to sets of embeddings.

================================  ============================================================================
given                             taken as
================================  ============================================================================
array (n, d)                      embeddings
``.npy``                          the same
``.npz`` or ``.safetensors``      the array ``embeddings``; ``groups`` (whole numbers or text) names the patients
``.npz`` of `cardiodit prepare`   the training or the validation cines of the pack, embedded; all of them where they
                                  are synthetic
folder, or one cine file          cines, embedded; ``patients.csv`` (columns ``file``, ``patient``) says which
                                  cines are of one patient
================================  ============================================================================
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine
from CardioDiTLib.io.cine_files import CINE_SUFFIXES, cines_by_name, find_cines, stem_of
from CardioDiTLib.io.name_table import read_name_table
from CardioDiTLib.privacy.embedding_set import EmbeddingSet, checked
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.progress import StepCallback as Progress

_PATIENTS = "patients.csv"
_FILE_HINT = "Give a table 'embeddings' (samples, numbers) as .npy, .npz or .safetensors."


class Encoder(Protocol):
    """What embeds cines; `privacy.encoder.CineEncoder` is one.

    It may also have ``embed_poses``, taking the same and giving (n, poses, d): each cine in all poses in which it may
    be a copy, the one of ``embed`` first. Then every cine under test is compared in all of them; where it also has
    ``embed_likeliest``, which takes the (m, d) references after the cines, in those that this gives.
    """

    sha256: str

    def embed(self, cines: Any, progress: Any = None, cancel: Any = None) -> NDArray[np.float32]:
        """(n, d) embeddings of some cines."""


def embedded(
    encoder: Encoder,
    cines: Any,
    what: str,
    groups: Sequence[Any] | None = None,
    *,
    references: NDArray[Any] | None = None,
    **more: Any,
) -> EmbeddingSet:
    """Embeddings of a set of cines, in all poses that the encoder has.

    Args:
        encoder: The encoder.
        cines: The cines.
        what: Name of the set, for messages.
        groups: (n,) patient of each.
        references: (m, d) embeddings that the cines are going to be compared with, and with no others; then the poses
            in which they look like one of these are enough.
        more: ``progress`` and ``cancel`` of the encoder; further entries of :class:`EmbeddingSet`.

    Raises:
        CardioDiTError: A cine cannot be embedded.
    """
    watched = {name: more.pop(name) for name in ("progress", "cancel") if name in more}
    search = getattr(encoder, "embed_poses", None)
    if search is None:
        return checked(encoder.embed(cines, **watched), what, groups, encoder_sha256=encoder.sha256, **more)
    likeliest = getattr(encoder, "embed_likeliest", None)
    if references is not None and likeliest is not None:
        poses = likeliest(cines, references, **watched)
    else:
        poses = search(cines, **watched)
    return checked(poses[:, 0], what, groups, encoder_sha256=encoder.sha256, poses=poses, **more)


Source = ArrayLike | str | os.PathLike[str] | EmbeddingSet
"""What can be read as embeddings."""


class EncoderHolder:
    """An encoder that is loaded when it is first needed.

    Args:
        encoder: The encoder, its folder, or None for the one that comes with the software.
    """

    def __init__(self, encoder: Encoder | str | os.PathLike[str] | None = None) -> None:
        self._given = encoder
        self._loaded: Encoder | None = None

    def get(self) -> Encoder:
        """The encoder.

        Raises:
            CardioDiTError: It is not there or cannot be read.
        """
        if self._loaded is None:
            if self._given is not None and not isinstance(self._given, str | os.PathLike):
                self._loaded = self._given
            else:
                from CardioDiTLib.privacy.encoder import load_encoder

                self._loaded = load_encoder(self._given)
        return self._loaded


def read_embeddings(
    source: Source,
    what: str,
    encoder: EncoderHolder,
    *,
    groups: Sequence[Any] | None = None,
    part: str = "train",
    references: NDArray[Any] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> EmbeddingSet:
    """Read a set of embeddings, making them where cines are given.

    Args:
        source: See the table above.
        what: Name of the set, for messages: "training", "validation" or "synthetic".
        encoder: Embeds cines.
        groups: (n,) patient of each embedding, in place of what the source says.
        part: "train", "validation" or "all" of a training pack.
        references: As `embedded` takes them; of cine files alone.
        progress: Told how many of how many cines are embedded.
        cancel: Asked in between.

    Raises:
        Cancelled: The caller asked to stop.
        CardioDiTError: The source cannot be read, or its embeddings cannot be used.
    """
    if isinstance(source, EmbeddingSet):
        return checked(
            source.values,
            what,
            source.groups if groups is None else groups,
            names=source.names,
            picture=source.picture,
            encoder_sha256=source.encoder_sha256,
            poses=source.poses,
            notes=source.notes,
        )
    if not isinstance(source, str | os.PathLike):
        return checked(source, what, groups)
    path = Path(source)
    if path.is_dir() or path.name.lower().endswith(CINE_SUFFIXES):
        return _from_cines(path, what, encoder, groups, references, progress, cancel)
    if not path.is_file():
        raise CardioDiTError(f"There is no file or folder '{path}'.", "Check the path.")
    if is_pack(path):
        return _from_pack(path, what, encoder, part, groups, progress, cancel)
    values, own = _table(path)
    return checked(values, what, own if groups is None else groups)


def is_pack(source: object) -> bool:
    """Whether this is a training pack of `cardiodit prepare`."""
    if not isinstance(source, str | os.PathLike) or Path(source).suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(source) as archive:
            return {"header.npy", "images.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def has_validation_part(source: object) -> bool:
    """Whether this is a training pack that keeps cines aside."""
    if not is_pack(source):
        return False
    with np.load(source, allow_pickle=False) as archive:  # type: ignore[arg-type]  # is_pack says it is a path
        return "validation" in archive.files and bool(archive["validation"].any())


def needs_encoder(source: object) -> bool:
    """Whether reading this means embedding cines."""
    if not isinstance(source, str | os.PathLike):
        return False
    return Path(source).is_dir() or Path(source).name.lower().endswith(CINE_SUFFIXES) or is_pack(source)


def flat_picture(cine: Cine) -> NDArray[np.uint8]:
    """(Y, X) grey values of the middle slice of frame 0, base on as stored."""
    plane = np.asarray(cine.array[0, cine.n_slices // 2], np.float32)
    low, high = np.percentile(plane, (0.5, 99.5))
    return np.clip((plane - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)


def _table(path: Path) -> tuple[NDArray[Any], list[Any] | None]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False), None
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files if name in ("embeddings", "groups")}
        elif suffix == ".safetensors":
            arrays = dict(load_file(path))
        else:
            raise CardioDiTError(f"'{path.name}' is no file of embeddings.", _FILE_HINT)
        groups = arrays.get("groups")
        return arrays["embeddings"], None if groups is None else groups.tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise CardioDiTError(f"'{path.name}' cannot be read as embeddings.", _FILE_HINT) from error


def _from_pack(
    path: Path,
    what: str,
    encoder: EncoderHolder,
    part: str,
    groups: Sequence[Any] | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> EmbeddingSet:
    from CardioDiTLib.privacy.encoder import embed_pack
    from CardioDiTLib.privacy.pose_search import TURNS

    loaded = encoder.get()
    poses = embed_pack(loaded, path, which=part, progress=progress, cancel=cancel, turns=TURNS)  # type: ignore[arg-type]
    values = poses[:, 0]
    if not len(values):
        raise CardioDiTError(f"'{path.name}' has no cines for {part}.", "Give a pack that keeps some aside.")
    names = tuple(f"{path.stem}-{part}-{i:03d}" for i in range(len(values)))
    picture = _pack_pictures(path, part)
    if groups is None:
        groups = _pack_patients(path, part)
    return checked(values, what, groups, names=names, picture=picture, encoder_sha256=loaded.sha256, poses=poses)


def _pack_patients(path: Path, part: str) -> list[str]:
    """Patient of each cine: a pack holds no ids, but cines of the same images are of one patient.

    Numbers are those of the whole pack, so that a patient in both of its parts is seen; another pack may have its name.
    """
    from CardioDiTLib.data.packing import patients_of, read_pack

    pack = read_pack(path)
    numbers = patients_of(pack.images)[_of_part(pack.validation, part)]
    return [f"{path.resolve()}-{number}" for number in numbers]


def _of_part(validation: NDArray[np.bool_], part: str) -> NDArray[np.bool_]:
    """Which cines of a pack are of a part of it."""
    return np.ones(len(validation), bool) if part == "all" else validation == (part == "validation")


def _pack_pictures(path: Path, part: str) -> Any:
    images: list[NDArray[np.uint8]] = []

    def picture(index: int) -> NDArray[np.uint8]:
        if not images:
            from CardioDiTLib.data.packing import read_pack

            pack = read_pack(path)
            chosen = pack.images[_of_part(pack.validation, part)]
            images.append(chosen[:, 0, chosen.shape[2] // 2].copy())
        return images[0][index]

    return picture


def _from_cines(
    path: Path,
    what: str,
    encoder: EncoderHolder,
    groups: Sequence[Any] | None,
    references: NDArray[Any] | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> EmbeddingSet:
    paths = cine_files(path)
    return embedded(
        encoder.get(),
        _loaded(paths, path),
        what,
        _patients(path / _PATIENTS, paths) if groups is None else groups,
        references=references,
        progress=_counted(progress, len(paths)),
        cancel=cancel,
        names=tuple(file.name for file in paths),
        picture=lambda i: flat_picture(load_cine(paths[i])),
        notes=_passed_over(path, paths, what),
    )


def _passed_over(folder: Path, used: Sequence[Path], what: str) -> tuple[str, ...]:
    """What of a folder is not in its set, in a sentence: an audit says nothing of it."""
    if not folder.is_dir() or list(used) == [folder]:
        return ()
    passed = dict(find_cines(folder).passed_over)
    below = sum(
        path.is_dir() and not path.name.startswith((".", "__")) and path not in used for path in folder.iterdir()
    )
    if below:
        passed["folders in it"] = below
    told = ", ".join(f"{reason} ({count})" for reason, count in passed.items() if reason != "labels, by name")
    return (f"Not looked at in the folder of {what} cines: {told}.",) if told else ()


def _counted(progress: Progress | None, total: int) -> Any:
    """Progress with the number of cines in all, which the encoder does not know."""
    if progress is None:
        return None
    return lambda done, *_: progress(int(done), total)


def cine_files(folder: Path) -> list[Path]:
    """Cine files of a folder by name, label maps left out; or the one file that is given.

    Raises:
        CardioDiTError: There is none.
    """
    if not folder.is_dir():
        if not folder.is_file():
            raise CardioDiTError(f"There is no file or folder '{folder}'.", "Check the path.")
        return [folder]
    return list(cines_by_name(folder).values())


def _loaded(paths: Sequence[Path], folder: Path) -> Iterator[Cine]:
    for number, path in enumerate(paths, start=1):
        try:
            yield load_cine(path)
        except CardioDiTError as error:
            # by its number: a file may be called like its patient
            raise CardioDiTError(
                f"Cine {number} of {len(paths)} (by name) in '{folder}': {error.message}", error.hint
            ) from error


def _patients(table: Path, paths: Sequence[Path]) -> list[str] | None:
    known = read_name_table(table, {stem_of(path) or path.name: path for path in paths}, "patient")
    return None if known is None else list(known.values())
