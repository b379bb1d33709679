"""Where bundles lie on this machine, whether they are whole, and whose terms the user has agreed to.

===========  ====================================================================================================
origin       folder
===========  ====================================================================================================
environment  folders in the variable CARDIODIT_BUNDLES, separated as in PATH
embedded     ``Resources/Bundles`` inside the package, else beside it
user         ``bundles`` in CARDIODIT_CACHE, else in ``.cache/cardiodit`` of the home folder
===========  ====================================================================================================

Where two bundles have the same name, the one further up is taken.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.manifest import GENERATOR, MANIFEST_NAME, BundleManifest, read_manifest
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.locks import JsonStore

BUNDLES_VARIABLE = "CARDIODIT_BUNDLES"

CACHE_VARIABLE = "CARDIODIT_CACHE"
ACCEPTANCE_NAME = "accepted_licences.json"


@dataclass(frozen=True)
class BundleEntry:
    """A bundle on this machine.

    Attributes:
        name: Name of its folder, by which it is asked for.
        folder: Where it lies.
        origin: "environment", "embedded" or "user".
        manifest: Its manifest; None where that cannot be read.
        problem: Why not; empty where it can.
    """

    name: str
    folder: Path
    origin: str
    manifest: BundleManifest | None
    problem: str = ""


def embedded_bundles_folder() -> Path:
    """Folder of the bundles that come with the software.

    In an installed extension they lie inside the package: ``Resources`` beside it is shared with all modules. In the
    source tree they lie beside it.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "Resources" / "Bundles"
    return inside if inside.is_dir() else package.parent / "Resources" / "Bundles"


def user_bundles_folder() -> Path:
    """Folder of the bundles that a user imported; may not exist yet."""
    given = os.environ.get(CACHE_VARIABLE)
    return (Path(given).expanduser() if given else Path.home() / ".cache" / "cardiodit") / "bundles"


def cache_folder() -> Path:
    """Folder of everything that is kept for the user; may not exist yet."""
    return user_bundles_folder().parent


def bundle_folders() -> list[tuple[str, Path]]:
    """(origin, folder) of every place where bundles are looked for, in order."""
    named = [Path(part).expanduser() for part in os.environ.get(BUNDLES_VARIABLE, "").split(os.pathsep) if part]
    return [
        *(("environment", folder) for folder in named),
        ("embedded", embedded_bundles_folder()),
        ("user", user_bundles_folder()),
    ]


def list_bundles() -> list[BundleEntry]:
    """All bundles on this machine, each name once, damaged ones included; no weight is read."""
    entries: dict[str, BundleEntry] = {}
    for origin, place in bundle_folders():
        for folder in _bundles_in(place):
            if folder.name not in entries:
                entries[folder.name] = _entry(folder, origin)
    return list(entries.values())


def find_bundle(name_or_folder: str | os.PathLike[str]) -> Path:
    """Folder of a bundle.

    Args:
        name_or_folder: A name, or the path of a folder. A name never means a folder of the working directory;
            ``./name`` does.

    Raises:
        CardioDiTError: There is none.
    """
    text = os.fspath(name_or_folder)
    is_path = isinstance(name_or_folder, Path) or any(mark and mark in text for mark in ("/", os.sep, os.altsep))
    if is_path:
        folder = Path(text)
        if not (folder / MANIFEST_NAME).is_file():
            raise CardioDiTError(f"'{folder}' holds no {MANIFEST_NAME}.", "Give the folder of a bundle.")
        return folder
    names = []
    for _, place in bundle_folders():
        for folder in _bundles_in(place):
            if folder.name == text:
                return folder
            names.append(folder.name)
    here = Path(text)
    if (here / MANIFEST_NAME).is_file():
        raise CardioDiTError(
            f"There is no bundle called {text!r}; a folder of this name is here.", f"Say ./{text} for the folder."
        )
    known = f"Known are {', '.join(dict.fromkeys(names))}." if names else "There are none on this machine."
    raise CardioDiTError(f"There is no bundle called {text!r}.", known)


def is_called(folder: Path, name: str, name_or_folder: str) -> bool:
    """Whether this is what somebody calls a bundle: a heart knows its own by name, wherever the folder lies.

    Args:
        folder: Of the bundle.
        name: Of the bundle.
        name_or_folder: What it is called.

    Raises:
        CardioDiTError: No bundle is called so.
    """
    try:
        return find_bundle(name_or_folder).resolve() == folder.resolve()
    except CardioDiTError:
        if name_or_folder != name:
            raise
        return True


def _bundles_in(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    # a leading dot marks a bundle that is still being written
    return sorted(p for p in place.iterdir() if not p.name.startswith(".") and (p / MANIFEST_NAME).is_file())


def _entry(folder: Path, origin: str) -> BundleEntry:
    try:
        return BundleEntry(folder.name, folder, origin, read_manifest(folder))
    except CardioDiTError as error:
        return BundleEntry(folder.name, folder, origin, None, str(error))


def verify(bundle: str | Path) -> list[str]:
    """Compare every file of a bundle with its manifest.

    Args:
        bundle: Name of a bundle, or its folder.

    Returns:
        What is wrong, one sentence each; empty where all is well.

    Raises:
        CardioDiTError: There is no such bundle.

    Examples:
        >>> verify("acdc-mini")  # doctest: +SKIP
        []
    """
    folder = find_bundle(bundle)
    try:
        manifest = GENERATOR.read(folder)
    except CardioDiTError as error:
        return [str(error)]
    problems = GENERATOR.problems(folder, manifest)
    listed = {MANIFEST_NAME, *manifest.files}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in listed)
    problems += [f"{name} does not belong to the bundle." for name in strangers]
    return problems


def is_accepted(name: str, version: str, licence: Licence | None = None) -> bool:
    """Has the user agreed to the terms of a bundle?

    Args:
        name: Name of the bundle.
        version: Its version.
        licence: Its terms. Given, an agreement to other terms of the same version does not count.

    Raises:
        CardioDiTError: The file with the agreements is damaged.
    """
    return any(
        record.get("name") == name
        and record.get("version") == version
        and (licence is None or record.get("licence") in (None, licence.to_dict()))
        for record in _acceptances().read()
    )


def accept(name: str, version: str, licence: Licence | None = None) -> None:
    """Remember that the user has agreed to the terms of a bundle.

    Args:
        name: Name of the bundle.
        version: Its version.
        licence: Its terms, kept with the agreement: they may change while the version stays.

    Raises:
        CardioDiTError: The agreement cannot be written, or the file with earlier ones is damaged.
    """
    made = {
        "name": name,
        "version": version,
        "licence": None if licence is None else licence.to_dict(),
        "accepted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }

    def edit(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [r for r in records if (r.get("name"), r.get("version")) != (name, version)] + [made]

    if not is_accepted(name, version, licence):
        _acceptances().change(edit)


def require_accepted(name: str, version: str, licence: Licence) -> None:
    """Refuse to go on where terms ask for an agreement and there is none.

    Raises:
        CardioDiTError: There is none, or the file with the agreements is damaged.
    """
    if licence.needs_acceptance and not is_accepted(name, version, licence):
        raise CardioDiTError(
            f"The terms of {name} {version} ({licence.name}) have not been accepted.",
            "Read them, and agree to them first.",
        )


def _acceptances() -> JsonStore:
    return JsonStore(cache_folder() / ACCEPTANCE_NAME, "accepted", "list of accepted licences")
