"""``cardiodit models``: bundles on this machine, and those that can be had."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from CardioDiTLib.bundles.manifest import MODEL_CARD_NAME, read_manifest
from CardioDiTLib.bundles.registry import BundleEntry, bundle_folders, find_bundle, list_bundles, verify
from CardioDiTLib.commands import model_transfers
from CardioDiTLib.commands.chosen_model import MODEL_HELP, chosen_model
from CardioDiTLib.commands.showing import show


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
    model_transfers.add_actions(actions)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; code 1 where a bundle is damaged."""
    actions = {"list": _list, "info": _info, "verify": _verify, **model_transfers.ACTIONS}
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
        ("presets", ", ".join(f"{n}: {p.steps} steps {p.sampler}" for n, p in manifest.presets.items())),
        ("quality", json.dumps(manifest.eval_metrics) if manifest.eval_metrics else ""),
        ("audit", json.dumps(manifest.audit) if manifest.audit else ""),
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
