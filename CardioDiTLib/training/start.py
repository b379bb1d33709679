"""Which bundle a run began from, kept in the run's folder, so that later pieces and the export begin from the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.bundle import Bundle, load_bundle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.schema import parse_json

START = "start.json"


def started_from(bundle: Bundle) -> dict[str, str]:
    """Name, version and fingerprint of a bundle, as they go into the provenance of what comes of it."""
    return {"name": bundle.manifest.name, "version": bundle.manifest.version, "sha256": bundle.sha256}


def remember_start(folder: Path, bundle: Bundle) -> None:
    """Notes in a run's folder which bundle it began from."""
    path = folder / START
    if not path.is_file():
        with atomic_path(path) as partial:
            record = {**started_from(bundle), "folder": str(bundle.folder.resolve())}
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def remembered_start(folder: Path, given: str | Path | None) -> Bundle | None:
    """The bundle that a run begins from: the one that is given, else the one that an earlier piece began from.

    Args:
        folder: The run's folder.
        given: Name or folder of a bundle, or None.

    Returns:
        The bundle, opened; None for a run from nothing.

    Raises:
        CardioDiTError: The run began from another bundle, or that bundle is no longer there.
    """
    record = _read(folder / START)
    if record is None:
        return None if given is None else load_bundle(given)
    title = f"{record['name']} {record['version']}"
    try:
        bundle = load_bundle(Path(record["folder"]) if given is None else given)
    except CardioDiTError as error:
        if given is not None:
            raise
        raise CardioDiTError(
            f"This run began from the bundle {title}, which is no longer in '{record['folder']}'.",
            "Say where it is now with --start-from.",
        ) from error
    if bundle.sha256 != record["sha256"]:
        raise CardioDiTError(
            f"This run began from the bundle {title}; '{bundle.folder}' is another one, or was changed since.",
            "Give the same bundle with --start-from, or take another folder for the run (--out).",
        )
    return bundle


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        if all(isinstance(record[name], str) for name in ("name", "version", "sha256", "folder")):
            return dict(record)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise CardioDiTError(f"'{path}' cannot be read.", "Remove it, and say with --start-from what the run began from.")
