"""One file a shard: an uncompressed tar of the files that `cardiodit generate` writes, with its SHA-256 beside it.

A shard is a folder that gets its name once it is whole: ``hearts.tar`` and ``shard.json``. Until then each of its
hearts lies in a file of its own, a piece of that tar. The same hearts give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from CardioDiTLib.cohort.claims import give_name, shard_name
from CardioDiTLib.cohort.heart import Whole, heart_name
from CardioDiTLib.cohort.heart_record import RECORD, HeartFailure, HeartRecord
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileRecord, atomic_path, own_name, problem_of, replace_folder
from CardioDiTLib.schema import Record, parse_json

TAR_NAME, RECORD_NAME = "hearts.tar", "shard.json"
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
PART, FAILED = ".part", ".failed.json"
_LARGEST_RECORD = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Machine(Record):
    """What a shard was made on, as far as it may decide a bit: the same seed gives the same bytes on the same kind.

    Args:
        device: "cpu", "cuda" or "mps".
        hardware: The instructions that a CPU offers, or the name of the card.
        precision: "fp32", "bf16" or "int8".
        backend: What ran the networks, with its version where it is not torch.
        threads: Of torch.
        cardiodit_version, torch_version: Of the software.
    """

    record_name: ClassVar[str] = "machine of a shard"

    device: str
    hardware: str
    precision: str
    backend: str
    threads: int
    cardiodit_version: str
    torch_version: str

    def __str__(self) -> str:
        return (
            f"{self.device} ({self.hardware}, {self.backend}, {self.precision}, {self.threads} "
            f"thread{'' if self.threads == 1 else 's'}, torch {self.torch_version}, CardioDiT {self.cardiodit_version})"
        )


@dataclass(frozen=True, kw_only=True)
class ShardRecord(Record):
    """What is known of a whole shard.

    Args:
        number: Of the shard.
        first, count: Hearts of the plan that belong here.
        tar: Size and SHA-256 of the file.
        failed: Hearts that could not be made.
        seconds: What hearts took, in all, gate and measurement included.
        timed: How many hearts these seconds are of: fewer than `count` where a worker was killed in between.
        finished: When, UTC.
        machine: What it was made on.
    """

    record_name: ClassVar[str] = "record of a shard"
    record_hint: ClassVar[str] = "Make it again with 'cardiodit cohort run --verify'."
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit.cohort-shard/1")
    all_needed: ClassVar[bool] = True

    number: Whole
    first: Whole
    count: Whole
    tar: FileRecord
    failed: tuple[HeartFailure, ...]
    seconds: float
    timed: Whole
    finished: str
    machine: Machine

    @property
    def made(self) -> int:
        """Hearts that are there."""
        return self.count - len(self.failed)


class Parts:
    """The hearts of a shard that is not whole yet, each in a file.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """File of a heart."""
        return self.folder / f"{heart_name(number)}{PART}"

    def keep(self, number: int, files: Mapping[str, bytes]) -> None:
        """Keep a heart: its files by their names in the shard."""
        self._write(self.path(number), b"".join(_members(files)))

    def copy(self, number: int, content: bytes) -> None:
        """Keep a heart that was in a shard."""
        self._write(self.path(number), content)

    def fail(self, failure: HeartFailure) -> None:
        """Note that a heart could not be made."""
        self._write(self._failed(failure.number), failure.to_json().encode("utf-8"))

    def failure(self, number: int) -> HeartFailure | None:
        """Why a heart could not be made; None where nobody said so."""
        path = self._failed(number)
        if not path.is_file():
            return None
        try:
            return HeartFailure.read(path)
        except CardioDiTError:
            path.unlink(missing_ok=True)  # torn: then it is tried
            return None

    def forgive(self, number: int) -> None:
        """Forget that a heart could not be made."""
        self._failed(number).unlink(missing_ok=True)

    def whole(self, number: int) -> HeartRecord | None:
        """A heart that is there to the byte; what is torn is removed."""
        path = self.path(number)
        try:
            with path.open("rb") as stream:
                return checked_part(stream, number)
        except FileNotFoundError:
            return None
        except (CardioDiTError, OSError, tarfile.TarError, ValueError):
            path.unlink(missing_ok=True)
            return None

    def _failed(self, number: int) -> Path:
        return self.folder / f"{heart_name(number)}{FAILED}"

    def _write(self, path: Path, content: bytes) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            _to_disk(stream)


def checked_part(stream: BinaryIO, number: int) -> HeartRecord:
    """See that all files of a heart are what its record says.

    Raises:
        CardioDiTError, OSError, TarError, ValueError: They are not.
    """
    content = stream.read()
    digests: dict[str, FileRecord] = {}
    record: HeartRecord | None = None
    with tarfile.open(fileobj=BytesIO(content + bytes(2 * _BLOCK)), mode="r:") as tar:
        for member in tar:
            data = _content(tar, member)
            digests[member.name] = FileRecord(hashlib.sha256(data).hexdigest(), len(data))
            if member.name.endswith(".json"):
                record = HeartRecord.from_dict(parse_json(data))
    if record is None or record.heart.number != number:
        raise CardioDiTError(f"'{heart_name(number)}' has no record.")
    if digests != {record.member(RECORD): digests[record.member(RECORD)]} | {
        record.member(kind): file for kind, file in record.files.items()
    }:
        raise CardioDiTError(f"'{heart_name(number)}' is not what its record says.")
    return record


def write_shard(
    shards: Path, record_of: Any, parts: Iterable[Path], number: int, *, replacing: bool = False
) -> ShardRecord | None:
    """Make one file of the hearts of a shard, and give both their names at once.

    Args:
        shards: Folder of all shards.
        record_of: Gives the `ShardRecord` of the size and fingerprint of the file.
        parts: Files of the hearts that are there, in order.
        number: Of the shard.
        replacing: Replace the shard that is there; without it the first one stays.

    Returns:
        The record; None where another worker was first.

    Raises:
        CardioDiTError: The disk refuses.
    """
    hidden, final = shards / own_name(), shards / shard_name(number)
    try:
        hidden.mkdir(parents=True)
        digest, size = hashlib.sha256(), 0
        with (hidden / TAR_NAME).open("wb") as stream:
            for chunk in _tar_chunks(parts):
                stream.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            _to_disk(stream)
        record: ShardRecord = record_of(FileRecord(digest.hexdigest(), size))
        with (hidden / RECORD_NAME).open("wb") as stream:
            stream.write(record.to_json().encode("utf-8"))
            _to_disk(stream)
        if replacing and final.exists():
            replace_folder(hidden, final)
            return record
        return record if give_name(hidden, final) else None
    except OSError as error:
        raise CardioDiTError(
            f"'{final}' could not be written: {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        import shutil

        shutil.rmtree(hidden, ignore_errors=True)


def read_shard_record(folder: Path) -> ShardRecord | None:
    """The record of a shard; None where the shard is not there.

    Raises:
        CardioDiTError: It is damaged.
    """
    path = folder / RECORD_NAME
    return ShardRecord.read(path) if path.is_file() else None


def problem_of_shard(folder: Path, number: int) -> str | None:
    """What is wrong with a shard that is there, in a sentence: every byte of it is read."""
    try:
        record = read_shard_record(folder)
    except CardioDiTError as error:
        return error.message
    if record is None or record.number != number:
        return f"{folder.name} has no record of its own."
    found = problem_of(folder / TAR_NAME, record.tar)
    return None if found is None else f"{folder.name}: {found}".replace("the manifest", "its record")


def parts_of(tar_path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and piece of each heart of a whole shard, as `Parts` keeps them."""
    with tarfile.open(tar_path, mode="r:") as tar, tar_path.open("rb") as stream:
        begins: dict[str, tuple[int, int]] = {}
        for member in tar:
            key = member.name.partition(".")[0]
            end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            begins[key] = (begins.get(key, (member.offset, 0))[0], end)
        for key, (begin, end) in begins.items():
            stream.seek(begin)
            yield int(key.rpartition("-")[2]), stream.read(end - begin)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    if stream is None:
        raise CardioDiTError(
            f"'{member.name}' is no file.", "Make the shard again with 'cardiodit cohort run --verify'."
        )
    data = stream.read()
    if len(data) != member.size:
        raise CardioDiTError(
            f"'{member.name}' is cut off.", "Make the shard again with 'cardiodit cohort run --verify'."
        )
    return data


def _members(files: Mapping[str, bytes]) -> Iterator[bytes]:
    for name, data in files.items():
        info = tarfile.TarInfo(name)  # neither owner nor time: the same hearts, the same bytes
        info.size = len(data)
        yield info.tobuf(format=tarfile.USTAR_FORMAT)
        yield data
        yield bytes(-len(data) % _BLOCK)


def _tar_chunks(parts: Iterable[Path]) -> Iterator[bytes]:
    size = 0
    for part in parts:
        with part.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                yield chunk
    end = 2 * _BLOCK
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)


def _to_disk(stream: BinaryIO) -> None:
    """What has its name has its bytes, also where the power goes."""
    stream.flush()
    os.fsync(stream.fileno())
