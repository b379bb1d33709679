"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from CardioDiTLib.bundles.manifest_parts import FileRecord

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record_of(path: Path) -> FileRecord:
    """Fingerprint of a file."""
    return FileRecord(sha256_of(path), path.stat().st_size)


def problem_of(path: Path, record: FileRecord) -> str | None:
    """What is wrong with a file, in one sentence; None where nothing is."""
    if not path.is_file():
        return f"{path.name} is missing."
    size = path.stat().st_size
    if size != record.bytes:
        return f"{path.name} has {size} bytes instead of {record.bytes}."
    if sha256_of(path) != record.sha256:
        return f"{path.name} has been changed: its SHA-256 differs from the manifest."
    return None
