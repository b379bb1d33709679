"""``cardiodit models``: bundles on this machine, and those that can be had."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from CardioDiTLib.bundles.manifest import MODEL_CARD_NAME, read_manifest
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import (
    BundleEntry,
    accept,
    bundle_folders,
    find_bundle,
    is_accepted,
    list_bundles,
    require_accepted,
    user_bundles_folder,
    verify,
)
from CardioDiTLib.commands.options import MODEL_HELP, chosen_model
from CardioDiTLib.commands.printing import show
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.audit_report import Share
from CardioDiTLib.privacy.report_text import percent, share

if TYPE_CHECKING:
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

_SOURCE_HELP = "https address of a bundle.json or its folder, or hf:owner/name@revision[/subfolder]"
_STATES = {"retry": "trying again", "wait": "waiting for another process", "check": "checking", "import": "copying"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="bundles on this machine")
    listing.add_argument("--json", action="store_true", help="as JSON")
    info = actions.add_parser("info", help="everything about a bundle")
    info.add_argument("bundle", help=MODEL_HELP)
    info.add_argument("--json", action="store_true", help="the manifest as JSON")
    checking = actions.add_parser("verify", help="compare files with their fingerprints")
    checking.add_argument("bundles", nargs="*", metavar="BUNDLE", help="names or folders; all bundles if not given")
    add_actions(actions)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; code 1 where a bundle is damaged."""
    actions = {"list": _list, "info": _info, "verify": _verify, **ACTIONS}
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    entries = list_bundles()
    if arguments.json:
        print(json.dumps([_entry_values(entry) for entry in entries], indent=2))
        return 0
    if not entries:
        places = ", ".join(f"'{folder}'" for _, folder in bundle_folders())
        show(f"There are no bundles in {places}.", file=sys.stderr)
    for entry in entries:
        if entry.manifest is None:
            show(f"{entry.name}  ({entry.origin})  cannot be read: {entry.problem}")
            continue
        manifest = entry.manifest
        classes = f"; {', '.join(manifest.class_names)}" if manifest.class_names else ""
        show(f"{entry.name}  {manifest.version}  ({entry.origin})  {manifest.title}; {manifest.licence.name}{classes}")
    return 0


def _entry_values(entry: BundleEntry) -> dict[str, object]:
    manifest = entry.manifest
    return {
        "name": entry.name,
        "folder": str(entry.folder),
        "origin": entry.origin,
        "version": None if manifest is None else manifest.version,
        "title": None if manifest is None else manifest.title,
        "licence": None if manifest is None else manifest.licence.to_dict(),
        "class_names": [] if manifest is None else list(manifest.class_names),
        "problem": entry.problem,
    }


def _audit_text(audit: Mapping[str, Any]) -> str:
    """What a bundle's audit found, in one line; as it stands where it is of another form."""
    try:
        copies = Share.from_dict(audit["copies"])
        return (
            f"{audit['verdict']}: {share(copies)} of the synthetic cines lie nearer to one of "
            f"{audit['n_train_patients']} training patients than {percent(1 - audit['false_alarm'])} of "
            f"{audit['n_calibration']} calibrating patients do"
        )
    except (CardioDiTError, KeyError, TypeError):
        return json.dumps(audit)


def _info(arguments: argparse.Namespace) -> int:
    folder = find_bundle(chosen_model(arguments.bundle))
    manifest = read_manifest(folder)
    if arguments.json:
        print(json.dumps(manifest.to_dict(), indent=2))
        return 0
    grid = manifest.grid
    spacing = " x ".join(f"{value:g}" for value in grid.spacing_mm)
    size_mb = sum(record.bytes for record in manifest.files.values()) / 1e6
    titles = manifest.class_titles or manifest.class_names
    lines = [
        ("name", f"{manifest.name} {manifest.version}"),
        ("title", manifest.title),
        ("description", manifest.description),
        ("use", manifest.intended_use),
        ("licence", f"{manifest.licence.name}. {manifest.licence.conditions}"),
        ("data", manifest.training_data.data_source),
        ("motion", manifest.training_data.motion),
        ("trained", " ".join(filter(None, [manifest.training_data.machine, manifest.training_data.duration]))),
        ("cine", f"{grid.width} x {grid.height} x {grid.slices} voxels, {spacing} mm, {grid.frames} frames"),
        ("cycle", f"{grid.cycle_s:g} s"),
        ("classes", ", ".join(f"{n} ({t})" if n != t else n for n, t in zip(manifest.class_names, titles))),
        (
            "steered by",
            ", ".join(
                f"{one.name} {one.low:g} to {one.high:g} {one.unit}".rstrip()
                for one in manifest.quantities
                if one.low < one.high
            ),
        ),
        ("presets", ", ".join(f"{n}: {p.steps} steps {p.sampler}" for n, p in manifest.presets.items())),
        ("quality", json.dumps(manifest.eval_metrics) if manifest.eval_metrics else ""),
        ("audit", _audit_text(manifest.audit) if manifest.audit else ""),
        ("size", f"{size_mb:.1f} MB"),
        ("folder", str(folder)),
        ("model card", str(folder / MODEL_CARD_NAME)),
    ]
    for title, text in lines:
        if text:
            show(f"{title + ':':13}{text}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    wanted: list[str | Path] = [chosen_model(name) for name in arguments.bundles] or [
        entry.folder for entry in list_bundles()
    ]
    damaged = False
    for bundle in wanted:
        problems = verify(bundle)
        damaged = damaged or bool(problems)
        name = bundle.name if isinstance(bundle, Path) else bundle
        show(f"{name}: {'whole and unchanged' if not problems else ' '.join(problems)}")
    if not wanted:
        print("There are no bundles on this machine.", file=sys.stderr)
    return 1 if damaged else 0


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
