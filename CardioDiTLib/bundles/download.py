"""A whole bundle over the web: all of it, or nothing that anybody could take for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from CardioDiTLib.bundles.catalogue import CatalogueEntry, find_entry, is_source, read_source
from CardioDiTLib.bundles.http_stream import DEFAULT_POLICY, RetryPolicy
from CardioDiTLib.bundles.installation import (
    bundle_size_bytes,
    changing,
    check_not_hidden,
    refuse_busy,
)
from CardioDiTLib.bundles.manifest import GENERATOR, MANIFEST_NAME, check_portable, parse_manifest
from CardioDiTLib.bundles.registry import user_bundles_folder
from CardioDiTLib.bundles.transfer import Transfer, matches
from CardioDiTLib.bundles.transfer_progress import TransferCallback, TransferMeter
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import check_room, replace_folder
from CardioDiTLib.progress import CancelSource, Stop

_SUFFIX = ".download"
_COMPLETE = "complete"
_PARTS = "parts"


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
