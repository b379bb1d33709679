"""Which terms of use a user has agreed to: asked once for each bundle and version, then remembered."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from CardioDiTLib.bundles.json_store import JsonStore, cache_folder
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.errors import CardioDiTError

ACCEPTANCE_NAME = "accepted_licences.json"


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
        for record in _store().read()
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
        _store().change(edit)


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


def _store() -> JsonStore:
    return JsonStore(cache_folder() / ACCEPTANCE_NAME, "accepted", "list of accepted licences")
