"""``cardiodit models``, the part that brings bundles here and takes them away."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from CardioDiTLib.bundles.catalogue import (
    CatalogueEntry,
    add_source,
    find_entry,
    is_source,
    list_added,
    list_catalogue,
    read_source,
    remove_source,
)
from CardioDiTLib.bundles.download import discard_partial, download_bundle, import_bundle, partial_bytes
from CardioDiTLib.bundles.http_stream import TransferCallback, TransferProgress
from CardioDiTLib.bundles.installation import remove_bundle
from CardioDiTLib.bundles.manifest import read_manifest
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import accept, is_accepted, list_bundles, require_accepted, user_bundles_folder
from CardioDiTLib.commands.showing import show
from CardioDiTLib.errors import CardioDiTError

if TYPE_CHECKING:
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

_SOURCE_HELP = "https address of a bundle.json or its folder, or hf:owner/name@revision[/subfolder]"
_STATES = {"retry": "trying again", "wait": "waiting for another process", "check": "checking", "import": "copying"}


def add_actions(actions: Actions) -> None:
    """Arguments of these actions."""
    available = actions.add_parser("available", help="bundles that can be downloaded")
    available.add_argument("--json", action="store_true", help="as JSON")
    adding = actions.add_parser("add", help="add a bundle on the web to the catalogue")
    adding.add_argument("source", help=_SOURCE_HELP)
    forgetting = actions.add_parser("forget", help="take a bundle out of the catalogue")
    forgetting.add_argument("name", help="name of the bundle")
    downloading = actions.add_parser("download", help="download a bundle; a download that was cut off goes on")
    downloading.add_argument("bundle", metavar="NAME|SOURCE", help=f"name from the catalogue, or {_SOURCE_HELP}")
    downloading.add_argument("--accept-licence", action="store_true", help="agree to the terms without being asked")
    importing = actions.add_parser("import", help="copy a bundle from a folder or zip")
    importing.add_argument("source", metavar="PATH|URL", help="folder, .zip, or https address of a .zip")
    for parser in (downloading, importing):
        parser.add_argument("--overwrite", action="store_true", help="replace a bundle of the same name")
        parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    removing = actions.add_parser("remove", help="delete a bundle, or what a download that was cut off has left")
    removing.add_argument("name", help="name of the bundle")


def _available(arguments: argparse.Namespace) -> int:
    entries = list_catalogue()
    added = {entry.name for entry in list_added()}
    installed = {entry.name: entry.manifest.version for entry in list_bundles() if entry.manifest is not None}
    if arguments.json:
        values = [
            {
                **entry.to_dict(),
                "added": entry.name in added,
                "installed": installed.get(entry.name),
                "accepted": is_accepted(entry.name, entry.version, entry.licence),
                "partial_bytes": partial_bytes(entry.name),
            }
            for entry in entries
        ]
        print(json.dumps(values, indent=2))
        return 0
    if not entries:
        print("The catalogue is empty; add a bundle with 'cardiodit models add SOURCE'.", file=sys.stderr)
    for entry in entries:
        here = f"  [{installed[entry.name]} is here]" if entry.name in installed else ""
        show(
            f"{entry.name}  {entry.version}  {entry.size_bytes / 1e6:.1f} MB  {entry.title}; {entry.licence.name}; "
            f"{entry.source}{here}"
        )
    return 0


def _add(arguments: argparse.Namespace) -> int:
    entry = add_source(arguments.source)
    for note in entry.notes:
        show(f"note: {note}", file=sys.stderr)
    show(f"{entry.name}  {entry.version}  {entry.size_bytes / 1e6:.1f} MB  {entry.title}; {entry.licence.name}")
    return 0


def _forget(arguments: argparse.Namespace) -> int:
    remove_source(arguments.name)
    show(f"{arguments.name} is no longer in the catalogue.")
    return 0


def _download(arguments: argparse.Namespace) -> int:
    entry = read_source(arguments.bundle) if is_source(arguments.bundle) else find_entry(arguments.bundle)
    _agree(entry, arguments.accept_licence)
    with _bar(arguments.quiet) as bar:
        folder = download_bundle(entry, progress=bar, overwrite=arguments.overwrite)
    show(folder)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    with _bar(arguments.quiet) as bar:
        folder = import_bundle(arguments.source, progress=bar, overwrite=arguments.overwrite)
    manifest = read_manifest(folder)
    _show_terms(manifest.name, manifest.version, manifest.licence)
    show(folder)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    name = arguments.name
    partial = partial_bytes(name)
    if partial and not (user_bundles_folder() / name).exists():
        discard_partial(name)
        show(f"What a download of {name} had left is removed ({partial / 1e6:.1f} MB).")
        return 0
    freed = remove_bundle(name)
    show(f"{name} is removed ({freed / 1e6:.1f} MB).")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "available": _available,
    "add": _add,
    "forget": _forget,
    "download": _download,
    "import": _import,
    "remove": _remove,
}
"""What each action does."""


def _agree(entry: CatalogueEntry, flag: bool) -> None:
    """Show the terms; where they ask for it, have the user agree once."""
    _show_terms(entry.name, entry.version, entry.licence)
    if not entry.licence.needs_acceptance or is_accepted(entry.name, entry.version, entry.licence):
        return
    if not flag and sys.stdin.isatty():
        print("Do you accept these terms? [y/N] ", end="", file=sys.stderr, flush=True)
        flag = sys.stdin.readline().strip().lower() in ("y", "yes")
    if flag:
        accept(entry.name, entry.version, entry.licence)
    try:
        require_accepted(entry.name, entry.version, entry.licence)
    except CardioDiTError as error:
        raise CardioDiTError(error.message, "Read them above; agree with --accept-licence.") from error


def _show_terms(name: str, version: str, licence: Licence) -> None:
    show(f"Terms of {name} {version}: {licence.name}. {licence.conditions}".strip(), file=sys.stderr)


@contextmanager
def _bar(quiet: bool) -> Iterator[TransferCallback]:
    """A bar of bytes, only where somebody looks at it."""
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, file=sys.stderr, disable=True if quiet else None, leave=False) as bar:

        def show(progress: TransferProgress) -> None:
            if bar.total != progress.total_bytes:
                bar.total = progress.total_bytes
            bar.set_description_str(_STATES.get(progress.state, progress.file or progress.name), refresh=False)
            bar.update(progress.done_bytes - bar.n)
            bar.refresh()  # signs come at most ten times a second, and the last one counts

        yield show
