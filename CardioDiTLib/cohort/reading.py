"""Reading hearts of a cohort: images, labels and what was asked for, out of their shards."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.cohort.claims import shard_name
from CardioDiTLib.cohort.heart import heart_name
from CardioDiTLib.cohort.heart_record import CINE, EMBEDDING, LABELS, HeartFunction, HeartRecord
from CardioDiTLib.cohort.plan import SHARDS, read_plan
from CardioDiTLib.cohort.shard import TAR_NAME, ShardRecord, problem_of_shard, read_shard_record
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.schema import parse_json

_HINT = "Check the cohort with 'cardiodit cohort run --verify', which makes damaged shards again."


@dataclass(frozen=True, eq=False, repr=False)
class CohortHeart:
    """A heart in a shard; images are read when they are asked for.

    Attributes:
        record: What is known of it.
        places: Where its files lie in the tar: offset and size, by what they are.
    """

    record: HeartRecord
    _tar: Path = field(repr=False)
    places: Mapping[str, tuple[int, int]]

    def __repr__(self) -> str:
        """One line."""
        return f"CohortHeart({self.number}, {self.record.name})"

    @property
    def number(self) -> int:
        """Its number in the cohort."""
        return self.record.heart.number

    @property
    def request(self) -> GenerationRequest:
        """The order that makes it again, in the same precision, as `Generator.generate` takes it; gate and redraws
        aside.
        """
        heart, name = self.record.heart, str(self.record.provenance["model"])
        asked: dict[str, Any] = heart.asked
        without = ("batch_size",) if heart.has_aim else ("batch_size", "guidance")
        return GenerationRequest(
            seed=heart.seed,
            first_index=heart.index,
            pathology=heart.pathology,
            bundle=name,
            precision=self.record.provenance.get("precision"),
            **asked,
            **{key: value for key, value in self.record.settings.items() if key not in without},
        )

    @property
    def cine(self) -> Cine:
        """(T, Z, Y, X) int16, with geometry, times and provenance.

        Raises:
            CardioDiTError: It cannot be read.
        """
        return self._loaded(CINE, load_cine)

    @property
    def segmentation(self) -> Segmentation | None:
        """The labels that were made with it; None where the model makes none.

        Raises:
            CardioDiTError: They cannot be read.
        """
        return self._loaded(LABELS, load_segmentation) if LABELS in self.places else None

    @property
    def function(self) -> Mapping[str, HeartFunction]:
        """What was measured, by what it was measured on: "labels", "network"."""
        return self.record.function

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """(poses, d), what the encoder of the audit made of it; None where that was not kept."""
        if EMBEDDING not in self.places:
            return None
        return np.asarray(np.load(io.BytesIO(self.content(EMBEDDING)), allow_pickle=False), np.float32)

    def content(self, kind: str) -> bytes:
        """Bytes of one of its files: "cine", "labels", "embedding" or "record".

        Raises:
            CardioDiTError: They cannot be read.
        """
        offset, size = self.places[kind]
        try:
            with self._tar.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(size)
        except OSError as error:
            raise CardioDiTError(f"'{self._tar}' cannot be read: {error.strerror or error}.", _HINT) from error
        if len(data) != size:
            raise CardioDiTError(f"'{self._tar}' is cut off.", _HINT)
        known = self.record.files.get(kind)
        if known is not None and hashlib.sha256(data).hexdigest() != known.sha256:
            raise CardioDiTError(f"'{self.record.member(kind)}' in '{self._tar}' is damaged.", _HINT)
        return data

    def _loaded(self, kind: str, load: Any) -> Any:
        with tempfile.TemporaryDirectory(prefix="cardiodit-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / self.record.member(kind)
            path.write_bytes(self.content(kind))
            return load(path)


class Shard:
    """The hearts of a shard, in the order of their numbers.

    Args:
        folder: Of the shard.

    Raises:
        CardioDiTError: There is none, or it is damaged.

    Examples:
        >>> with open_shard("hearts/shards/shard-00000") as shard:  # doctest: +SKIP
        ...     for heart in shard:
        ...         print(heart.number, heart.cine.shape, heart.request.pathology)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        record = read_shard_record(folder)
        if record is None:
            raise CardioDiTError(f"'{folder}' holds no shard of a cohort.", "Give a folder below 'shards'.")
        self.record: ShardRecord = record
        self._hearts = _index(folder / TAR_NAME)

    def __enter__(self) -> Shard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held open in between: readers in other processes may have the same shard."""

    def __len__(self) -> int:
        return len(self._hearts)

    def __iter__(self) -> Iterator[CohortHeart]:
        return iter(self._hearts.values())

    def __getitem__(self, number: int) -> CohortHeart:
        """The heart of a number.

        Raises:
            CardioDiTError: It is not in this shard.
        """
        if number not in self._hearts:
            raise CardioDiTError(
                f"Heart {number} is not in '{self.folder}'.", f"It holds {self.record.made} of {self.record.count}."
            )
        return self._hearts[number]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the hearts that are there."""
        return tuple(self._hearts)


def open_shard(path: str | os.PathLike[str], *, verify: bool = False) -> Shard:
    """Open a shard of a cohort.

    Args:
        path: Its folder, or the tar in it.
        verify: Compare every byte with its fingerprint first.

    Raises:
        CardioDiTError: There is none, or it is damaged.
    """
    folder = Path(path)
    shard = Shard(folder.parent if folder.name == TAR_NAME else folder)
    problem = problem_of_shard(shard.folder, shard.record.number) if verify else None
    if problem is not None:
        raise CardioDiTError(problem, _HINT)
    return shard


def open_heart(folder: str | os.PathLike[str], number: int) -> CohortHeart:
    """One heart of a cohort.

    Raises:
        CardioDiTError: There is no such heart, or its shard is not made yet.
    """
    plan = read_plan(folder)
    if not 0 <= number < plan.count:
        raise CardioDiTError(f"There is no heart {number}.", f"The cohort has 0 to {plan.count - 1}.")
    place = Path(folder) / SHARDS / shard_name(number // plan.shard_size)
    if read_shard_record(place) is None:
        raise CardioDiTError(f"The shard of heart {number} is not whole yet.", "Run the cohort first.")
    return Shard(place)[number]


def _index(tar_path: Path) -> dict[int, CohortHeart]:
    """Hearts by number: headers are read, images are not."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(tar_path, mode="r:") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                places.setdefault(key, {})[suffix] = (member.offset_data, member.size)
        hearts: dict[int, CohortHeart] = {}
        with tar_path.open("rb") as stream:
            for key, found in places.items():
                offset, size = found["json"]
                stream.seek(offset)
                record = HeartRecord.from_dict(parse_json(stream.read(size)))
                if heart_name(record.heart.number) != key:
                    raise ValueError("a record of another heart")
                by_kind = {kind: found[record.member(kind).partition(".")[2]] for kind in (*record.files, "record")}
                hearts[record.heart.number] = CohortHeart(record, tar_path, by_kind)
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise CardioDiTError(f"'{tar_path}' cannot be read as a shard.", _HINT) from error
    return dict(sorted(hearts.items()))
