"""Bundles from a folder or a zip file: copied into the user's folder once all of them has been checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from CardioDiTLib.bundles.http_stream import DEFAULT_POLICY, RetryPolicy, check_address
from CardioDiTLib.bundles.installation import (
    IMPORT_SUFFIX,
    BundleFolder,
    BundleZip,
    bundle_size_bytes,
    changing,
    check_not_hidden,
    remove_bundle,
)
from CardioDiTLib.bundles.json_store import cache_folder
from CardioDiTLib.bundles.manifest import (
    GENERATOR,
    MANIFEST_LIMIT_BYTES,
    MANIFEST_NAME,
    BundleManifest,
    parse_manifest,
)
from CardioDiTLib.bundles.registry import user_bundles_folder
from CardioDiTLib.bundles.transfer_progress import TransferCallback, TransferMeter
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileRecord, atomic_folder, check_room, free_bytes
from CardioDiTLib.progress import CancelSource, Stop

__all__ = ["bundle_size_bytes", "import_bundle", "remove_bundle"]

_CHUNK = 1 << 20


def import_bundle(
    path_or_url: str | os.PathLike[str],
    *,
    progress: TransferCallback | None = None,
    cancel: CancelSource = None,
    overwrite: bool = False,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Path:
    """Copy a bundle into the user's folder.

    Args:
        path_or_url: A folder, a ``.zip`` with the bundle at its root or in its one top folder, or the https address of
            a zip.
        progress: Told how far it is.
        cancel: Says when to stop: a function, or an event.
        overwrite: Replace a bundle of the same name.
        policy: How patient it is with a server.

    Returns:
        The bundle's new folder.

    Raises:
        Cancelled: It was stopped.
        CardioDiTError: It is damaged, incomplete, more than a bundle, or its name is taken; nothing was changed.

    Examples:
        >>> import_bundle("heart.zip")  # doctest: +SKIP
    """
    stop = Stop(cancel)
    stop.check()
    text = os.fspath(path_or_url)
    try:
        if "://" in text:
            return _from_web(text, progress, stop, overwrite, policy)
        return _from_path(Path(text).expanduser(), progress, stop, overwrite)
    except OSError as error:
        raise CardioDiTError(
            f"'{text}' could not be imported: {error.strerror or error}.",
            "Check the files, their permissions and the free disk space.",
        ) from error


def _from_path(path: Path, progress: TransferCallback | None, stop: Stop, overwrite: bool) -> Path:
    if path.name == MANIFEST_NAME and path.is_file():
        path = path.parent
    if not path.exists():
        raise CardioDiTError(f"There is no '{path}'.", "Give the folder or the zip of a bundle.")
    if path.is_dir():
        with BundleFolder(path) as folder:
            return _import(folder, progress, stop, overwrite)
    with BundleZip(path) as archive:
        return _import(archive, progress, stop, overwrite)


def _from_web(
    address: str, progress: TransferCallback | None, stop: Stop, overwrite: bool, policy: RetryPolicy
) -> Path:
    parts = check_address(address)
    if not parts.path.lower().endswith(".zip"):
        raise CardioDiTError(
            f"'{address}' is not the address of a zip.",
            "Give the address of a .zip; the address of a bundle.json or its folder is for 'models download'.",
        )
    from CardioDiTLib.bundles.transfer import Transfer

    # one folder an address, so that a cancelled transfer can go on
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    folder = cache_folder() / "downloads" / key
    name = urlsplit(address).path.rpartition("/")[2]
    target = folder / "bundle.zip"
    meter = TransferMeter(name, None, progress)
    with changing(folder, stop, lambda: meter.waiting(bundle_size_bytes(folder))):
        folder.mkdir(exist_ok=True)
        try:
            Transfer(
                address, folder, target, meter=meter, stop=stop, limit_bytes=free_bytes(folder), policy=policy
            ).run()
        except BaseException:
            with suppress(OSError):  # stays where something can be gone on from
                folder.rmdir()
            raise
        try:
            with BundleZip(target, name) as archive:
                return _import(archive, progress, stop, overwrite)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _import(source: BundleFolder | BundleZip, progress: TransferCallback | None, stop: Stop, overwrite: bool) -> Path:
    content = source.read_manifest()
    manifest = parse_manifest(content, source.title)
    sizes = source.sizes
    _check_files(source.title, sizes, manifest)
    check_not_hidden(manifest.name)
    final = user_bundles_folder() / manifest.name
    total = len(content) + sum(record.bytes for record in manifest.files.values())
    meter = TransferMeter(manifest.name, total, progress)
    with changing(final, stop, lambda: meter.waiting(0)):
        meter.restart()
        GENERATOR.check_destination(final, overwrite)
        check_room(final.parent, total, manifest.name)
        with atomic_folder(final, IMPORT_SUFFIX) as staging:
            (staging / MANIFEST_NAME).write_bytes(content)
            for name, record in manifest.files.items():
                meter.begin(name)
                _copy(source, name, record, staging / name, meter, stop)
            stop.check()
    meter.restart()
    meter.at(total, state="import")
    meter.tell("done")
    return final


def _check_files(title: str, sizes: dict[str, int], manifest: BundleManifest) -> None:
    strangers = sorted(set(sizes) - {MANIFEST_NAME, *manifest.files})
    if strangers:
        raise CardioDiTError(
            f"'{strangers[0]}' in '{title}' does not belong to the bundle.", "Take it out, or get the bundle again."
        )
    missing = sorted(set(manifest.files) - set(sizes))
    if missing:
        raise CardioDiTError(f"'{missing[0]}' is missing in '{title}'.", "Get the bundle again.")
    if sizes[MANIFEST_NAME] > MANIFEST_LIMIT_BYTES:
        raise CardioDiTError(f"The {MANIFEST_NAME} of '{title}' is larger than 1 MB.", "Get the bundle again.")
    for name, record in manifest.files.items():
        if sizes[name] != record.bytes:
            raise CardioDiTError(
                f"'{name}' in '{title}' has {sizes[name]} bytes instead of {record.bytes}.", "Get the bundle again."
            )


def _copy(
    source: BundleFolder | BundleZip, name: str, record: FileRecord, target: Path, meter: TransferMeter, stop: Stop
) -> None:
    """Copy a file; not a byte more than it should have is taken, whatever comes out of the zip."""
    digest, size = hashlib.sha256(), 0
    with source.open(name) as reader, target.open("xb") as writer:
        while chunk := reader.read(min(_CHUNK, record.bytes - size + 1)):
            stop.check()
            size += len(chunk)
            if size > record.bytes:
                break
            digest.update(chunk)
            writer.write(chunk)
            meter.at(size, state="import", came=len(chunk))
        writer.flush()
        os.fsync(writer.fileno())
    if size != record.bytes:
        raise CardioDiTError(
            f"'{name}' in '{source.title}' does not unpack to {record.bytes} bytes.", "Get the bundle again."
        )
    if digest.hexdigest() != record.sha256:
        raise CardioDiTError(
            f"'{name}' in '{source.title}' has been changed: its SHA-256 differs from the manifest.",
            "Get the bundle again.",
        )
