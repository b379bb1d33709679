"""What is known about a bundle that can be downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from CardioDiTLib.bundles.manifest import MANIFEST_NAME, BundleManifest
from CardioDiTLib.bundles.manifest_check import check_portable
from CardioDiTLib.bundles.manifest_parts import (
    FileRecord,
    Licence,
    ManifestPart,
    check_entries,
    check_file_name,
    check_texts,
    plain,
)
from CardioDiTLib.bundles.web_address import beside, check_address
from CardioDiTLib.errors import CardioDiTError

_WHAT = "catalogue entry"
_REPAIR = "Add the source of the bundle again."


@dataclass(frozen=True)
class RemoteFile(ManifestPart):
    """A file on the web.

    Args:
        name: Name in the bundle's folder.
        url: Its address, https.
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    title: ClassVar[str] = "file entry"

    name: str
    url: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        check_file_name(self.name, self.title)
        check_texts(self, self.title, "url")
        check_address(self.url)
        FileRecord(self.sha256, self.bytes)

    @property
    def record(self) -> FileRecord:
        """Its fingerprint."""
        return FileRecord(self.sha256, self.bytes)


@dataclass(frozen=True)
class CatalogueEntry:
    """A bundle that can be downloaded.

    Args:
        name: Name of the bundle.
        version: Its version.
        title: Name for people.
        description: What it makes.
        licence: Terms of use.
        class_names: Short names of its classes.
        size_bytes: All files together.
        source: Where it lies, as a user writes it.
        files: Every file, ``bundle.json`` among them.
        notes: What was assumed when it was added, one sentence each.

    Raises:
        CardioDiTError: A value is not possible, or values contradict each other.
    """

    name: str
    version: str
    title: str
    description: str
    licence: Licence
    class_names: tuple[str, ...]
    size_bytes: int
    source: str
    files: tuple[RemoteFile, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        what = _WHAT
        check_file_name(self.name, what)
        check_portable([self.name])
        check_texts(self, what, "version", "title", "description", "source")
        for name in ("class_names", "notes"):
            texts = getattr(self, name)
            if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
                raise CardioDiTError(f"'{name}' in the {what} of a bundle is not a list of texts.", _REPAIR)
            object.__setattr__(self, name, tuple(texts))
        object.__setattr__(self, "files", tuple(self.files))
        names = [file.name for file in self.files]
        check_portable(names)
        if MANIFEST_NAME not in names:
            raise CardioDiTError(f"The {what} of '{self.name}' does not list {MANIFEST_NAME}.", _REPAIR)
        total = sum(file.bytes for file in self.files)
        if self.size_bytes != total:
            raise CardioDiTError(
                f"The {what} of '{self.name}' says {self.size_bytes!r} bytes, its files have {total}.", _REPAIR
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CatalogueEntry:
        """Read what :meth:`to_dict` wrote.

        Raises:
            CardioDiTError: An entry is missing, unknown or not possible.
        """
        check_entries(values, cls, _WHAT)
        entries = dict(values)
        entries["licence"] = Licence.from_dict(entries["licence"])
        if not isinstance(entries["files"], list | tuple):
            raise CardioDiTError(f"'files' in the {_WHAT} of a bundle is not a list.", _REPAIR)
        entries["files"] = tuple(RemoteFile.from_dict(file) for file in entries["files"])
        return cls(**entries)

    @classmethod
    def of_manifest(
        cls,
        manifest: BundleManifest,
        record: FileRecord,
        *,
        manifest_url: str,
        source: str,
        notes: tuple[str, ...] = (),
    ) -> CatalogueEntry:
        """The entry of a bundle whose manifest was read.

        Args:
            manifest: It.
            record: Fingerprint of its ``bundle.json``.
            manifest_url: Address of that; the other files lie beside it.
            source: Where the bundle lies, as a user writes it.
            notes: What was assumed.
        """
        files = (
            RemoteFile(MANIFEST_NAME, manifest_url, record.sha256, record.bytes),
            *(
                RemoteFile(name, beside(manifest_url, name), file.sha256, file.bytes)
                for name, file in manifest.files.items()
            ),
        )
        return cls(
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            description=manifest.description,
            licence=manifest.licence,
            class_names=manifest.class_names,
            size_bytes=sum(file.bytes for file in files),
            source=source,
            files=files,
            notes=notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}

    @property
    def sha256(self) -> str:
        """SHA-256 of ``bundle.json``: the fingerprint of the whole."""
        return next(file.sha256 for file in self.files if file.name == MANIFEST_NAME)
