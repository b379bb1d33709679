"""Embeddings of a set of cines, checked, with what belongs to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.nearest import (
    DEFAULT_MEMORY_MB,
    MIN_DIMENSION,
    Neighbours,
    directions,
    nearest_neighbours,
)
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.progress import StepCallback as Progress

HASH_DIGITS = 16


@dataclass(frozen=True, eq=False)
class EmbeddingSet:
    """Embeddings of some cines.

    Attributes:
        values: (n, d) float32.
        groups: (n,) text that names the patient of each embedding; None where each is of another patient.
        names: (n,) names of the cines, shown only where somebody asks for names; None where there are none.
        picture: Gives a picture (Y, X) uint8 of a cine by its number; None where the images are not at hand.
        encoder_sha256: Of the encoder that made them; empty where it is not known.
        poses: (n, p, d) float32, embeddings of each cine in all poses in which it may be a copy, `values` among them;
            None where there are `values` alone.
        notes: What was passed over where the cines were looked for, in plain sentences that name none.
    """

    values: NDArray[np.float32]
    groups: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    picture: Callable[[int], NDArray[np.uint8]] | None = None
    encoder_sha256: str = ""
    poses: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def kept(self, mask: NDArray[np.bool_]) -> EmbeddingSet:
        """Only some of them."""
        places = np.flatnonzero(mask)
        picture = self.picture
        return EmbeddingSet(
            self.values[mask],
            None if self.groups is None else tuple(self.groups[i] for i in places),
            None if self.names is None else tuple(self.names[i] for i in places),
            None if picture is None else lambda i: picture(int(places[i])),
            self.encoder_sha256,
            None if self.poses is None else self.poses[mask],
            self.notes,
        )

    def nearest(
        self,
        references: NDArray[Any],
        *,
        groups: NDArray[np.int64] | None = None,
        reference_groups: NDArray[np.int64] | None = None,
        memory_mb: float = DEFAULT_MEMORY_MB,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Neighbours:
        """The nearest reference of each cine, in whichever pose it is nearest: the largest similarity counts.

        Args:
            references: (m, d) embeddings.
            groups: (n,) whole numbers; with `reference_groups`, references of a cine's own group are passed over.
            reference_groups: (m,) whole numbers.
            memory_mb: As `nearest_neighbours` takes it.
            progress: Told how many of how many cines are done.
            cancel: Asked now and then.

        Returns:
            (n, 1) index and similarity.
        """
        table = self.values[:, None] if self.poses is None else self.poses
        count = table.shape[1]
        found = nearest_neighbours(
            table.reshape(-1, table.shape[2]),
            references,
            query_groups=None if groups is None else np.repeat(groups, count),
            reference_groups=reference_groups,
            memory_mb=memory_mb,
            progress=None if progress is None else lambda done, of: progress(done // count, of // count),
            cancel=cancel,
        )
        similarity = found.similarity.reshape(-1, count)
        rows, best = np.arange(len(table)), similarity.argmax(axis=1)
        return Neighbours(
            found.index.reshape(-1, count)[rows, best][:, None], np.ascontiguousarray(similarity[rows, best][:, None])
        )


def checked(values: ArrayLike, what: str, groups: Sequence[Any] | None = None, **more: Any) -> EmbeddingSet:
    """Make a set of embeddings, checked.

    Args:
        values: (n, d) numbers.
        what: Name of the set, for messages, such as "training".
        groups: (n,) patient of each embedding.
        more: Further entries of :class:`EmbeddingSet`.

    Raises:
        CardioDiTError: Another number of dimensions, no row, values that are not finite, or an embedding whose numbers
            are all the same.
    """
    try:
        table = np.asarray(values)
        numeric = table.dtype.kind in "fiu"
    except ValueError:  # rows of different lengths
        numeric = False
    if not numeric:
        raise CardioDiTError(f"The {what} embeddings are not a table of numbers.", "Give an array (samples, numbers).")
    if table.ndim != 2:
        raise CardioDiTError(
            f"The {what} embeddings have {table.ndim} dimensions, not two: {table.shape}.",
            "Give an array (samples, numbers).",
        )
    if not len(table):
        raise CardioDiTError(f"There is no {what} embedding.", "Give at least one.")
    if table.shape[1] < MIN_DIMENSION:
        raise CardioDiTError(
            f"The {what} embeddings have {table.shape[1]} numbers each, with which nothing can be told apart.",
            f"Give at least {MIN_DIMENSION}.",
        )
    wrong = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(wrong):
        raise CardioDiTError(
            f"{len(wrong)} of the {len(table)} {what} embeddings hold numbers that are not finite, the first in row "
            f"{wrong[0]}.",
            "Leave these cines out, or embed them again.",
        )
    # in float64: large finite numbers may not fit into float32
    if table.dtype.itemsize > 4 and float(np.abs(table).max()) > float(np.finfo(np.float32).max):
        raise CardioDiTError(f"The {what} embeddings hold numbers above 3e38.", "Scale them down.")
    flat = np.flatnonzero(~directions(table).any(axis=1))
    if len(flat):
        raise CardioDiTError(
            f"{len(flat)} of the {len(table)} {what} embeddings are constant, the first in row {flat[0]}: they "
            "correlate with nothing.",
            "Leave these cines out, or look why the encoder sees nothing in them.",
        )
    if groups is not None and len(groups) != len(table):
        raise CardioDiTError(
            f"There are {len(table)} {what} embeddings, but {len(groups)} groups.", "Give one patient an embedding."
        )
    names = None if groups is None else tuple(str(group) for group in groups)
    return EmbeddingSet(np.ascontiguousarray(table, np.float32), names, **more)


def check_dimensions(**sets: EmbeddingSet | None) -> None:
    """See that sets come from one encoder.

    Raises:
        CardioDiTError: Their dimensions or their encoders differ.
    """
    present = {name: one for name, one in sets.items() if one is not None}
    (first, one), *others = present.items()
    for name, other in others:
        if other.values.shape[1] != one.values.shape[1]:
            raise CardioDiTError(
                f"The {first} embeddings have {one.values.shape[1]} numbers each, the {name} ones "
                f"{other.values.shape[1]}.",
                "Embed all of them with one encoder.",
            )
        if one.encoder_sha256 and other.encoder_sha256 and one.encoder_sha256 != other.encoder_sha256:
            raise CardioDiTError(
                f"The {first} and the {name} embeddings come from different encoders.",
                "Embed all of them with one encoder.",
            )


def embedding_hash(row: NDArray[Any]) -> str:
    """Short name of an embedding, without information on the patient: the beginning of a SHA-256 of its numbers."""
    data = np.ascontiguousarray(row, np.dtype("<f4")).tobytes()
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def patient_numbers(*sets: EmbeddingSet) -> list[NDArray[np.int64]]:
    """Number of the patient of each embedding; one numbering for all sets that name their patients.

    In a set without groups each embedding is a patient of its own, and none of another set.
    """
    named = sorted({name for one in sets for name in (one.groups or ())})
    number = {name: i for i, name in enumerate(named)}
    fresh = len(named)
    result = []
    for one in sets:
        if one.groups is None:
            result.append(np.arange(fresh, fresh + len(one), dtype=np.int64))
            fresh += len(one)
        else:
            result.append(np.array([number[name] for name in one.groups], np.int64))
    return result
