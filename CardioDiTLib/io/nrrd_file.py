"""NRRD files as such: the fields of the header, and the voxels, attached or in files beside the header.

Read here and not by a library, because a header may name any file of the machine as its data: only files in the
header's own folder are opened. Fields and encodings: the NRRD definition, http://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import bz2
import io
import math
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.memory import Gunzip, check_size

_MAX_HEADER = 16 * 1024**2
_MOST_TRAILING = 256 * 1024**2
_AGAIN = "Copy or export the file again."
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_SYNONYMS = {
    "datafile": "data file",
    "byteskip": "byte skip",
    "lineskip": "line skip",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "centerings": "centers",
}
_ENCODINGS = {
    "raw": "raw",
    **dict.fromkeys(("gz", "gzip"), "gzip"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
    **dict.fromkeys(("txt", "text", "ascii"), "text"),
    "hex": "hex",
}


@dataclass(frozen=True)
class NrrdHeader:
    """The header of a NRRD file.

    Args:
        fields: Text of each ``field: text``, names in lower case, one spelling each.
        pairs: The ``key:=value`` pairs, escapes undone.
        sizes: Number of samples along each axis, the fastest axis first.
        dtype: Of one sample.
        end: Bytes of the header, the empty line included.
    """

    fields: dict[str, str]
    pairs: dict[str, str]
    sizes: tuple[int, ...]
    dtype: np.dtype[np.generic]
    end: int = 0

    def words(self, name: str) -> list[str]:
        """Words of a field, one an axis; empty where it is missing."""
        return self.fields.get(name, "").split()

    def quoted(self, name: str) -> list[str]:
        """Quoted texts of a field, one an axis; empty where it is missing or its quotes do not close."""
        try:
            return shlex.split(self.fields.get(name, ""))
        except ValueError:
            return []

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Numbers of a field; what is no number becomes NaN."""
        return np.array([_number(word) for word in self.words(name)], dtype=np.float64)

    def vectors(self, name: str) -> list[NDArray[np.float64] | None] | None:
        """Vectors of a field, None for "none" and for vectors that are not finite; None where the field is missing."""
        text = self.fields.get(name)
        if text is None:
            return None
        vectors: list[NDArray[np.float64] | None] = []
        for match in re.finditer(r"\(([^)]*)\)|none", text, re.IGNORECASE):
            values = None if match.group(1) is None else [_number(word) for word in match.group(1).split(",")]
            vector = None if values is None else np.array(values, dtype=np.float64)
            vectors.append(vector if vector is not None and np.isfinite(vector).all() else None)
        return vectors


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def read_nrrd_file(path: Path) -> tuple[NDArray[np.generic], NrrdHeader]:
    """Voxels with the slowest axis first, and the header.

    Args:
        path: ``.nrrd`` with its voxels, or ``.nhdr`` that names files beside it.

    Raises:
        CardioDiTError: Not a NRRD file, damaged, too large, or its voxels lie elsewhere than beside it.
    """
    try:
        with path.open("rb") as stream:
            header = _header(path, stream)
            size = check_size(path.name, header.sizes, header.dtype.itemsize)
            named = header.fields.get("data file")
            if named is None:
                content = _unpacked(path, stream, header, size)
            else:
                files = _data_files(path, named, header, stream)
                content = _from_files(path, files, header, size)
    except OSError as error:
        if isinstance(error, EOFError) or error.strerror is None:
            raise _damaged(path) from error
        raise CardioDiTError(
            f"'{path}' could not be read: {error.strerror}.", "Check its permissions and the disk."
        ) from error
    except (EOFError, zlib.error) as error:
        raise _damaged(path) from error
    data = np.frombuffer(content, header.dtype).astype(header.dtype.newbyteorder("=")).reshape(header.sizes[::-1])
    return data, header


def _damaged(path: Path, why: str = "") -> CardioDiTError:
    return CardioDiTError(
        f"'{path.name}' is truncated or damaged{why and ': '}{why}.", "Copy or download the file again."
    )


def _header(path: Path, stream: BinaryIO) -> NrrdHeader:
    first = stream.readline(80)
    if not re.match(rb"NRRD\d{4}\s*$", first):
        raise CardioDiTError(f"'{path.name}' is not a NRRD image.", _AGAIN)
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    end = len(first)
    while True:
        raw = stream.readline(_MAX_HEADER)
        end += len(raw)
        if end > _MAX_HEADER:
            raise _damaged(path, "its header does not end")
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            break
        if line.startswith("#"):
            continue
        key, colon, text = line.partition(":")
        if not colon:
            raise _damaged(path, f"'{_shown(line)}' is no line of a NRRD header")
        if text.startswith("="):
            # a key that comes twice: the later value counts, as in the reference implementation
            pairs[_unescaped(key)] = _unescaped(text[1:])
            continue
        name = _SYNONYMS.get(key.strip().lower(), key.strip().lower())
        text = text.strip()
        if fields.get(name, text) != text:
            raise CardioDiTError(f"'{path.name}' gives '{_shown(name)}' twice, with different values.", _AGAIN)
        fields[name] = text
        if name == "data file" and text.upper().split()[:1] == ["LIST"]:
            break  # the names follow, one a line, to the end of the file
    return NrrdHeader(fields, pairs, _sizes(path, fields), _dtype(path, fields), end)


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:40])


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\\\", "\\") if "\\" in text else text


def _sizes(path: Path, fields: dict[str, str]) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word) for word in fields.get("sizes", "").split())
        dimension = int(fields.get("dimension", ""))
    except ValueError as error:
        raise _damaged(path, "its header has no dimension or sizes") from error
    if not sizes or len(sizes) != dimension:
        raise _damaged(path, f"{dimension} dimensions, {len(sizes)} sizes")
    return sizes


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[np.generic]:
    name = " ".join(fields.get("type", "").lower().split())
    if name not in _TYPES:
        raise CardioDiTError(f"'{path.name}' holds samples of type '{_shown(name)}', which is not read here.", _AGAIN)
    dtype = np.dtype(_TYPES[name])
    endian = fields.get("endian", "").lower()
    encoding = fields.get("encoding", "").lower()
    if encoding not in _ENCODINGS:
        raise CardioDiTError(
            f"'{path.name}' is packed in the encoding '{_shown(encoding)}', which is not read here.",
            "Save it again with gzip or raw encoding.",
        )
    if dtype.itemsize > 1 and _ENCODINGS[encoding] != "text":
        if endian not in ("little", "big"):
            raise CardioDiTError(f"'{path.name}' does not say in which order its bytes come (endian).", _AGAIN)
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    return dtype


# ---------------------------------------------------------------------------------------------- files beside the header


def _data_files(path: Path, named: str, header: NrrdHeader, stream: BinaryIO) -> list[Path]:
    """The files that the header names, each of them in the header's folder or below it."""
    words = named.split()
    most = 10_000
    if words and words[0].upper() == "LIST":
        names = [line.strip() for line in stream.read(_MAX_HEADER).decode("utf-8", "replace").splitlines()]
        names = [name for name in names if name]
    elif len(words) in (4, 5) and "%" in words[0]:
        if not re.fullmatch(r"[^%]*%0?\d{0,2}[du][^%]*", words[0]):
            raise _damaged(path, "its pattern of data files is none")
        try:
            start, stop, step = (int(word) for word in words[1:4])
            numbers = range(start, stop + (1 if step > 0 else -1), step)
        except ValueError as error:
            raise _damaged(path, "its pattern of data files is none") from error
        if len(numbers) > most:
            raise _damaged(path, f"it names {len(numbers)} data files")
        names = [words[0] % number for number in numbers]
    else:
        names = [named]
    if not 1 <= len(names) <= most:
        raise _damaged(path, f"it names {len(names)} data files")
    folder = path.resolve().parent
    files = []
    for name in names:
        file = folder / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts and ":" not in name and "\0" not in name
        if not inside or not file.resolve().is_relative_to(folder):
            raise CardioDiTError(
                f"'{path.name}' says that its voxels are in another folder.",
                "Put the data file beside the header, and its bare name into 'data file'.",
            )
        if not file.is_file():
            raise CardioDiTError(f"'{path.name}' needs the file '{_shown(name)}', which is not beside it.", _AGAIN)
        files.append(file)
    return files


def _from_files(path: Path, files: list[Path], header: NrrdHeader, size: int) -> bytes:
    if size % len(files):
        raise _damaged(path, f"{size} bytes do not fill {len(files)} data files evenly")
    each = size // len(files)
    parts = []
    for file in files:
        with file.open("rb") as stream:
            parts.append(_unpacked(path, stream, header, each))
    return parts[0] if len(parts) == 1 else b"".join(parts)


# ---------------------------------------------------------------------------------------------- voxels


def _skip(path: Path, header: NrrdHeader, name: str, lowest: int) -> int:
    text = header.fields.get(name, "0")
    try:
        count = int(text)
    except ValueError as error:
        raise _damaged(path, f"'{name}' is '{_shown(text)}'") from error
    if count < lowest:
        raise _damaged(path, f"'{name}' is {count}")
    return count


def _unpacked(path: Path, stream: BinaryIO, header: NrrdHeader, size: int) -> bytes:
    """``size`` bytes of samples, from where the stream stands."""
    encoding = _ENCODINGS[header.fields["encoding"].lower()]
    for _ in range(min(_skip(path, header, "line skip", 0), 1_000_000)):
        if not stream.readline(_MAX_HEADER):
            raise EOFError
    bytes_first = _skip(path, header, "byte skip", -1 if encoding == "raw" else 0)
    if encoding in ("text", "hex"):
        return _from_text(path, stream, header, size, encoding == "hex")
    if bytes_first == -1:  # the samples are the last bytes of the file
        start = stream.tell()
        if stream.seek(0, io.SEEK_END) - start < size:
            raise EOFError
        stream.seek(-size, io.SEEK_END)
        bytes_first = 0
    with _opened(stream, encoding) as source:
        left = bytes_first
        while left > 0:
            skipped = len(source.read(min(left, 1 << 20)))
            if not skipped:
                raise EOFError
            left -= skipped
        content = source.read(size)
        if len(content) < size:
            raise EOFError
        if isinstance(source, Gunzip) and not source.finish(_MOST_TRAILING):
            raise _damaged(path, "it holds far more data than its header says")
    return content


@contextmanager
def _opened(stream: BinaryIO, encoding: str) -> Iterator[Gunzip | BinaryIO | bz2.BZ2File]:
    if encoding == "gzip":
        yield Gunzip(stream)
    elif encoding == "bzip2":
        with bz2.BZ2File(stream) as unpacked:
            yield unpacked
    else:
        yield stream


def _from_text(path: Path, stream: BinaryIO, header: NrrdHeader, size: int, hexadecimal: bool) -> bytes:
    count = size // header.dtype.itemsize
    text = stream.read(64 * count + 1024)  # numbers as text are shorter than this
    try:
        if hexadecimal:
            content = bytes.fromhex(text.decode("ascii"))[:size]
            if len(content) < size:
                raise EOFError
            return content
        values = np.array(text.split()[:count], dtype=np.float64)
    except ValueError as error:
        raise _damaged(path) from error
    if len(values) < count:
        raise EOFError
    with np.errstate(invalid="ignore"):
        return values.astype(header.dtype).tobytes()
