"""Bundles brought into the user's folder, over the web, from a folder or from a zip: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from CardioDiTLib.bundles.catalogue import CatalogueEntry, find_entry, is_source, read_source
from CardioDiTLib.bundles.http_stream import DEFAULT_POLICY, RetryPolicy, TransferCallback, TransferMeter, check_address
from CardioDiTLib.bundles.installation import (
    IMPORT_SUFFIX,
    BundleFolder,
    BundleZip,
    bundle_size_bytes,
    changing,
    check_not_hidden,
    refuse_busy,
)
from CardioDiTLib.bundles.manifest import (
    GENERATOR,
    MANIFEST_LIMIT_BYTES,
    MANIFEST_NAME,
    BundleManifest,
    check_portable,
    parse_manifest,
)
from CardioDiTLib.bundles.registry import cache_folder, user_bundles_folder
from CardioDiTLib.bundles.transfer import Transfer, matches
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import FileRecord, atomic_folder, check_room, free_bytes, replace_folder
from CardioDiTLib.progress import CancelSource, Stop

_SUFFIX = ".download"

_COMPLETE = "complete"

_PARTS = "parts"
_CHUNK = 1 << 20


def download_bundle(
    name_or_source: str | CatalogueEntry,
    *,
    destination: str | os.PathLike[str] | None = None,
    progress: TransferCallback | None = None,
    cancel: CancelSource = None,
    overwrite: bool = False,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Path:
    """Download a bundle.

    Everything is collected in a hidden folder beside the destination. Only once each file has the fingerprint that the
    catalogue says, and the manifest fits, the folder gets its name. What a cancelled or broken download has collected
    is kept, and the next one goes on from there. An older version of the bundle is replaced.

    Args:
        name_or_source: Name from the catalogue, an entry of it, or a source as
            :func:`~CardioDiTLib.bundles.add_source` takes it.
        destination: The folder to make; under the bundle's name in the user's folder where it is None.
        progress: Told how far it is.
        cancel: Says when to stop: a function, or an event.
        overwrite: Replace also a bundle that is no older version of this one.
        policy: How patient it is with the server.

    Returns:
        The folder.

    Raises:
        Cancelled: It was stopped.
        CardioDiTError: It cannot be had, is not what it should be, or cannot be put there.

    Examples:
        >>> download_bundle("heart", progress=lambda p: print(f"{p.fraction:.0%}"))  # doctest: +SKIP
    """
    stop = Stop(cancel)
    stop.check()
    entry = _entry(name_or_source, progress, stop, policy)
    final = _destination(entry.name, destination)
    if destination is None:
        check_not_hidden(entry.name)
    meter = TransferMeter(entry.name, entry.size_bytes, progress)
    collecting = _collecting(final)
    with changing(final, stop, lambda: meter.waiting(bundle_size_bytes(collecting))):
        meter.restart()
        if _is_there(final, entry, stop):
            shutil.rmtree(collecting, ignore_errors=True)
            _finish(meter, entry)
            return final
        _check_place(final, entry, overwrite)
        try:
            complete = _collect(entry, collecting, meter, stop, policy)
        except BaseException:
            if not bundle_size_bytes(collecting):  # nothing to go on from
                shutil.rmtree(collecting, ignore_errors=True)
            raise
        _check(complete, entry)
        stop.check()
        replace_folder(complete, final)
        shutil.rmtree(collecting, ignore_errors=True)
    _finish(meter, entry)
    return final


def partial_bytes(name: str, *, destination: str | os.PathLike[str] | None = None) -> int:
    """Bytes that an unfinished download has collected; 0 where there is none.

    Args:
        name: Name of the bundle.
        destination: As for :func:`download_bundle`.
    """
    collecting = _collecting(_destination(name, destination))
    return sum(bundle_size_bytes(collecting / part) for part in (_COMPLETE, _PARTS))


def discard_partial(name: str, *, destination: str | os.PathLike[str] | None = None) -> bool:
    """Delete what an unfinished download has collected.

    Args:
        name: Name of the bundle.
        destination: As for :func:`download_bundle`.

    Returns:
        True where there was something.

    Raises:
        CardioDiTError: Another process is downloading the bundle right now, or the disk refuses.
    """
    final = _destination(name, destination)
    collecting = _collecting(final)
    if not collecting.is_dir():
        return False

    with changing(final, Stop(), lambda: refuse_busy(name)):
        shutil.rmtree(collecting)
    return True


def _entry(
    name_or_source: str | CatalogueEntry, progress: TransferCallback | None, stop: Stop, policy: RetryPolicy
) -> CatalogueEntry:
    if isinstance(name_or_source, CatalogueEntry):
        return name_or_source
    if is_source(name_or_source):
        return read_source(name_or_source, None, stop.wanted, policy=policy)
    return find_entry(name_or_source)


def _destination(name: str, destination: str | os.PathLike[str] | None) -> Path:
    if destination is not None:
        return Path(destination).expanduser().absolute()
    if not name or Path(name).name != name or name.startswith("."):
        raise CardioDiTError(f"{name!r} cannot be the name of a bundle.", "Give the name from the catalogue.")
    check_portable([name])
    return user_bundles_folder() / name


def _collecting(final: Path) -> Path:
    # always the same name, so that the next download finds what this one has collected
    return final.with_name(f".{final.name}{_SUFFIX}")


def _is_there(final: Path, entry: CatalogueEntry, stop: Stop) -> bool:
    # the fingerprint of the manifest first: it is small, and almost always enough to see that it is another
    files = sorted(entry.files, key=lambda file: file.name != MANIFEST_NAME)
    return all(matches(final / file.name, file.record, stop) for file in files)


def _check_place(final: Path, entry: CatalogueEntry, overwrite: bool) -> None:
    """Replace an older version, or a damaged copy of this one; anything else may be somebody's work."""
    GENERATOR.check_destination(final, overwrite=True)
    if overwrite or not GENERATOR.is_one(final):
        return
    try:
        there = GENERATOR.read(final)
    except CardioDiTError as error:
        raise CardioDiTError(
            f"The bundle '{final}' cannot be read and may be something else.", "Remove it, or ask for overwriting."
        ) from error
    manifest_file = next(file for file in entry.files if file.name == MANIFEST_NAME)
    same = matches(final / MANIFEST_NAME, manifest_file.record, Stop())
    if not same and (there.name != entry.name or _numbers(there.version) >= _numbers(entry.version)):
        raise CardioDiTError(
            f"There is another bundle '{there.name}' {there.version} in '{final}'; it is not older than "
            f"{entry.name} {entry.version}.",
            "Remove it, give another folder, or ask for overwriting.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    digits = version.replace("-", ".").replace("+", ".").split(".")[:3]
    return tuple(int(part) if part.isdigit() else 0 for part in digits)


def _collect(entry: CatalogueEntry, collecting: Path, meter: TransferMeter, stop: Stop, policy: RetryPolicy) -> Path:
    complete, parts = collecting / _COMPLETE, collecting / _PARTS
    for folder in (complete, parts):
        folder.mkdir(parents=True, exist_ok=True)
    _drop_strangers(complete, entry)
    there = bundle_size_bytes(complete) + sum(path.stat().st_size for path in parts.glob("*.part"))
    check_room(collecting.parent, entry.size_bytes - there, entry.name)
    # the manifest comes first: where it has changed, nothing else need be fetched
    for file in sorted(entry.files, key=lambda file: file.name != MANIFEST_NAME):
        stop.check()
        target = complete / file.name
        if matches(target, file.record, stop):
            meter.begin(file.name)
            meter.at(file.bytes)
            continue
        try:
            Transfer(file.url, parts, target, meter=meter, stop=stop, record=file.record, policy=policy).run()
        except Cancelled as error:
            raise Cancelled(
                f"The download of '{entry.name}' was cancelled.",
                "What has come is kept; the next one goes on from there.",
            ) from error
    return complete


def _drop_strangers(complete: Path, entry: CatalogueEntry) -> None:
    """Files of another version that an earlier download left."""
    names = {file.name for file in entry.files}
    for path in complete.iterdir():
        if path.name in names and path.is_file() and not path.is_symlink():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check(complete: Path, entry: CatalogueEntry) -> None:
    """The manifest that came has to be that of the entry: each says the same of every file."""
    manifest = parse_manifest((complete / MANIFEST_NAME).read_bytes(), entry.name)
    expected = {file.name: file.record for file in entry.files if file.name != MANIFEST_NAME}
    if (manifest.name, manifest.version) != (entry.name, entry.version) or manifest.files != expected:
        raise CardioDiTError(
            f"The catalogue says {entry.name} {entry.version}, the bundle is {manifest.name} {manifest.version} or "
            "lists other files.",
            "Add the source again.",
        )


def _finish(meter: TransferMeter, entry: CatalogueEntry) -> None:
    meter.restart()
    meter.at(entry.size_bytes)
    meter.tell("done")


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
