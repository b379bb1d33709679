"""Bundles that can be downloaded: those that the software knows, and those that a user added."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.bundle_source import BundleSource
from CardioDiTLib.bundles.catalogue_entry import CatalogueEntry, RemoteFile
from CardioDiTLib.bundles.json_store import JsonStore, cache_folder
from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.manifest_check import MANIFEST_LIMIT_BYTES, parse_manifest
from CardioDiTLib.bundles.manifest_parts import FileRecord
from CardioDiTLib.bundles.retry_policy import DEFAULT_POLICY, RetryPolicy
from CardioDiTLib.bundles.stopping import CancelSource, Stop
from CardioDiTLib.bundles.transfer_progress import TransferCallback, TransferMeter
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.json_text import parse_json

__all__ = [
    "CatalogueEntry",
    "RemoteFile",
    "add_source",
    "find_entry",
    "list_added",
    "list_catalogue",
    "read_source",
    "remove_source",
]

PACKAGED = Path(__file__).with_name("registry.json")
ADDED_NAME = "catalogue.json"


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
    try:
        return [CatalogueEntry.from_dict(item) for item in store.read()]
    except CardioDiTError as error:
        raise error if str(store.path) in error.message else store.damaged_entry(error) from error


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
    from CardioDiTLib.bundles.transfer import Transfer

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
        text: https address of a ``bundle.json`` or of its folder, or ``hf:owner/name@revision[/subfolder]``.
        progress: Told how far it is.
        cancel: Says when to stop.
        policy: How patient it is with the server.

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
