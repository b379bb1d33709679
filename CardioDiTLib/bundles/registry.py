"""Where bundles lie on this machine.

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
from pathlib import Path

from CardioDiTLib.bundles.manifest import MANIFEST_NAME, BundleManifest, read_manifest
from CardioDiTLib.errors import CardioDiTError

BUNDLES_VARIABLE = "CARDIODIT_BUNDLES"
CACHE_VARIABLE = "CARDIODIT_CACHE"


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
