"""Bundles that can be downloaded: those that the software knows, and those that a user added."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlunsplit

from CardioDiTLib.bundles.http_stream import (
    DEFAULT_POLICY,
    RetryPolicy,
    TransferCallback,
    TransferMeter,
    beside,
    check_address,
)
from CardioDiTLib.bundles.manifest import (
    MANIFEST_LIMIT_BYTES,
    MANIFEST_NAME,
    BundleManifest,
    check_portable,
    parse_manifest,
)
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import cache_folder
from CardioDiTLib.bundles.transfer import Transfer
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileName, FileRecord, Sha256
from CardioDiTLib.locks import JsonStore
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.schema import Bounds, Record, parse_json

HUB_PREFIX = "hf:"

HUB = "https://huggingface.co"

HUB_VARIABLE = "HF_ENDPOINT"
"""Names a mirror of the hub; the hub's own programs know it too."""

DEFAULT_REVISION = "main"

_HUB_SOURCE = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(@(?P<revision>[A-Za-z0-9][A-Za-z0-9._%-]*))?(?P<folder>(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)/?"
)
_WHAT = "catalogue entry"
_REPAIR = "Add the source of the bundle again."
ADDED_NAME = "catalogue.json"


@dataclass(frozen=True)
class BundleSource:
    """Where a bundle lies on the web.

    Attributes:
        text: How it is written down.
        manifest_url: Address of its ``bundle.json``; the other files lie beside it.
        notes: What was assumed, one sentence each.
    """

    text: str
    manifest_url: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_text(cls, text: str) -> BundleSource:
        """Read what a user wrote.

        Args:
            text: https address of a ``bundle.json`` or of its folder, or ``hf:owner/name@revision[/subfolder]``.

        Raises:
            CardioDiTError: It is neither.

        Examples:
            >>> BundleSource.from_text("hf:lab/heart@v1").manifest_url
            'https://huggingface.co/lab/heart/resolve/v1/bundle.json'
        """
        text = text.strip()
        return cls._of_hub(text) if text.lower().startswith(HUB_PREFIX) else cls._of_address(text)

    @classmethod
    def _of_hub(cls, text: str) -> BundleSource:
        found = _HUB_SOURCE.fullmatch(text[len(HUB_PREFIX) :])
        if found is None:
            raise CardioDiTError(f"'{text}' does not name a repository.", "Write hf:owner/name@revision.")
        revision, folder = found["revision"] or DEFAULT_REVISION, found["folder"]
        notes: tuple[str, ...] = ()
        if revision == DEFAULT_REVISION:
            notes = (
                f"The revision '{DEFAULT_REVISION}' may change; what counts are the files that it holds now. "
                "Name a tag or commit to be sure of them.",
            )
        hub = os.environ.get(HUB_VARIABLE, "").rstrip("/") or HUB
        repository = f"{found['owner']}/{found['name']}"
        address = f"{hub}/{repository}/resolve/{revision}{folder}/{MANIFEST_NAME}"
        check_address(address)
        return cls(f"{HUB_PREFIX}{repository}@{revision}{folder}", address, notes)

    @classmethod
    def _of_address(cls, text: str) -> BundleSource:
        parts = check_address(text)
        path = parts.path
        if path.rpartition("/")[2].lower().endswith(".zip"):
            raise CardioDiTError(
                f"'{text}' is a zip file, not the folder of a bundle.", "Import it: 'cardiodit models import ADDRESS'."
            )
        if path.rpartition("/")[2] != MANIFEST_NAME:
            path = f"{path.rstrip('/')}/{MANIFEST_NAME}"
        return cls(text, urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")))


def is_source(text: str) -> bool:
    """True for what :meth:`BundleSource.from_text` is meant for, False for the name of a bundle."""
    return "://" in text or text.strip().lower().startswith(HUB_PREFIX)


@dataclass(frozen=True)
class RemoteFile(Record):
    """A file on the web.

    Args:
        name: Name in the bundle's folder.
        url: Its address, https.
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    record_name: ClassVar[str] = "file entry of a bundle"
    record_hint: ClassVar[str] = _REPAIR

    name: FileName
    url: str
    sha256: Sha256
    bytes: Annotated[int, Bounds(least=0)]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_address(self.url)

    @property
    def record(self) -> FileRecord:
        """Its fingerprint."""
        return FileRecord(self.sha256, self.bytes)


@dataclass(frozen=True)
class CatalogueEntry(Record):
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

    record_name: ClassVar[str] = _WHAT
    record_hint: ClassVar[str] = _REPAIR

    name: FileName
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
        super().__post_init__()
        names = [file.name for file in self.files]
        check_portable([self.name])
        check_portable(names)
        if MANIFEST_NAME not in names:
            raise CardioDiTError(f"The {_WHAT} of '{self.name}' does not list {MANIFEST_NAME}.", _REPAIR)
        total = sum(file.bytes for file in self.files)
        if self.size_bytes != total:
            raise CardioDiTError(
                f"The {_WHAT} of '{self.name}' says {self.size_bytes!r} bytes, its files have {total}.", _REPAIR
            )

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

    @property
    def sha256(self) -> str:
        """SHA-256 of ``bundle.json``: the fingerprint of the whole."""
        return next(file.sha256 for file in self.files if file.name == MANIFEST_NAME)


PACKAGED = Path(__file__).with_name("registry.json")


def list_catalogue() -> list[CatalogueEntry]:
    """All bundles that can be downloaded, those that a user added last.

    Raises:
        CardioDiTError: The file with the user's additions is damaged; it is left as it is.
    """
    packaged = list_packaged()
    names = {entry.name for entry in packaged}
    return [*packaged, *(entry for entry in list_added() if entry.name not in names)]


def list_packaged() -> list[CatalogueEntry]:
    """The bundles that the software knows."""
    values = parse_json(PACKAGED.read_text(encoding="utf-8"))
    return [CatalogueEntry.from_dict(item) for item in values["bundles"]]


def list_added() -> list[CatalogueEntry]:
    """The bundles that the user added.

    Raises:
        CardioDiTError: Their file is damaged; it is left as it is.
    """
    store = _store()
    items = store.read()
    try:
        return [CatalogueEntry.from_dict(item) for item in items]
    except CardioDiTError as error:
        raise store.damaged_entry(error) from error


def find_entry(name: str) -> CatalogueEntry:
    """The entry of a bundle.

    Args:
        name: Name of the bundle.

    Raises:
        CardioDiTError: There is none, or the file with the user's additions is damaged.
    """
    entries = list_catalogue()
    for entry in entries:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in entries)
    raise CardioDiTError(
        f"There is no bundle called {name!r} to download.",
        f"Known are {known}." if known else "Add one by its address: 'cardiodit models add ADDRESS'.",
    )


def read_source(
    text: str,
    progress: TransferCallback | None = None,
    cancel: CancelSource = None,
    *,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> CatalogueEntry:
    """Look at a bundle on the web; only its manifest is fetched.

    Args:
        text: https address of a ``bundle.json`` or of its folder, or ``hf:owner/name@revision[/subfolder]``.
        progress: Told how far it is.
        cancel: Says when to stop.
        policy: How patient it is with the server.

    Raises:
        Cancelled: It was stopped.
        CardioDiTError: There is no bundle, or none that can be read.
    """
    source = BundleSource.from_text(text)
    try:
        with tempfile.TemporaryDirectory(prefix="cardiodit-") as folder:
            target = Path(folder) / MANIFEST_NAME
            Transfer(
                source.manifest_url,
                target.parent,
                target,
                meter=TransferMeter(source.text, None, progress),
                stop=Stop(cancel),
                limit_bytes=MANIFEST_LIMIT_BYTES,
                policy=policy,
            ).run()
            content = target.read_bytes()
    except OSError as error:
        raise CardioDiTError(
            f"The manifest of '{source.text}' could not be kept: {error.strerror or error}.",
            "Check the folder for temporary files and the free disk space.",
        ) from error
    return CatalogueEntry.of_manifest(
        parse_manifest(content, source.text),
        FileRecord(hashlib.sha256(content).hexdigest(), len(content)),
        manifest_url=source.manifest_url,
        source=source.text,
        notes=source.notes,
    )


def add_source(
    text: str,
    progress: TransferCallback | None = None,
    cancel: CancelSource = None,
    *,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> CatalogueEntry:
    """Add a bundle on the web to the user's catalogue. Added again, a source brings its entry up to date.

    Args:
        text, progress, cancel, policy: As in `read_source`.

    Returns:
        The new entry, with the fingerprint of every file.

    Raises:
        Cancelled: It was stopped.
        CardioDiTError: There is no bundle, its name is taken, or the catalogue cannot be written.

    Examples:
        >>> add_source("hf:lab/heart@v1").name  # doctest: +SKIP
        'heart'
    """
    list_added()  # a damaged file is told before anything is fetched
    entry = read_source(text, progress, cancel, policy=policy)
    if any(packaged.name == entry.name for packaged in list_packaged()):
        raise CardioDiTError(
            f"The catalogue of CardioDiT has a bundle called '{entry.name}' already.",
            "Download that one, or ask the publisher for another name.",
        )

    def edit(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items:
            if item.get("name") == entry.name and item.get("source") != entry.source:
                raise CardioDiTError(
                    f"There is a bundle '{entry.name}' from {item.get('source')} in the catalogue already.",
                    "Forget that one first.",
                )
        values = entry.to_dict()
        places = [i for i, item in enumerate(items) if item.get("name") == entry.name]
        if places:
            return [values if i == places[0] else item for i, item in enumerate(items)]
        return [*items, values]

    _store().change(edit)
    return entry


def remove_source(name: str) -> None:
    """Take a bundle out of the user's catalogue; what was downloaded stays.

    Args:
        name: Name of the bundle.

    Raises:
        CardioDiTError: The user has not added it, or the catalogue cannot be written.
    """

    def edit(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [item for item in items if item.get("name") != name]
        if len(kept) == len(items):
            if any(packaged.name == name for packaged in list_packaged()):
                raise CardioDiTError(
                    f"The bundle '{name}' belongs to the catalogue of CardioDiT.",
                    "Only bundles that you added can be forgotten.",
                )
            added = ", ".join(str(item.get("name")) for item in items)
            raise CardioDiTError(
                f"There is no bundle called {name!r} among those that you added.",
                f"You added {added}." if added else "You added none.",
            )
        return kept

    _store().change(edit)


def _store() -> JsonStore:
    return JsonStore(cache_folder() / ADDED_NAME, "bundles", "list of added bundles")
