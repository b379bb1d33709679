"""Small JSON files in the user's cache folder that several processes may change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.registry import user_bundles_folder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import holding
from CardioDiTLib.progress import Stop
from CardioDiTLib.schema import parse_json

STORE_VERSION = 1


def cache_folder() -> Path:
    """Folder of everything that is kept for the user; may not exist yet."""
    return user_bundles_folder().parent


class JsonStore:
    """A list of objects in a JSON file.

    Args:
        path: The file; it may be absent, which is an empty list.
        key: Name of the list in the file.
        title: What it is, for messages.
    """

    def __init__(self, path: Path, key: str, title: str) -> None:
        self.path = path
        self._key = key
        self._title = title

    def read(self) -> list[dict[str, Any]]:
        """The objects.

        Raises:
            CardioDiTError: The file cannot be read or is damaged; it is left as it is.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        try:
            values = parse_json(text)
        except ValueError as error:
            raise self._damaged("it is not JSON") from error
        if not isinstance(values, dict) or values.get("schema_version") != STORE_VERSION:
            found = values.get("schema_version") if isinstance(values, dict) else None
            raise self._damaged(f"its schema version is {found!r} instead of {STORE_VERSION}")
        items = values.get(self._key)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._damaged(f"'{self._key}' is not a list of objects")
        return items

    def change(self, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Replace the list by what a function makes of it; no other process changes it meanwhile.

        Raises:
            CardioDiTError: The file is damaged, or cannot be written.
        """
        from CardioDiTLib.files import atomic_path

        try:
            with holding(self.path.with_name(f".{self.path.name}.lock"), Stop()):
                items = edit(self.read())
                with atomic_path(self.path) as temporary:
                    content = {"schema_version": STORE_VERSION, self._key: items}
                    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise CardioDiTError(
                f"The {self._title} '{self.path}' could not be written: {error.strerror or error}.",
                "Check the folder, its permissions and the free disk space.",
            ) from error

    def damaged_entry(self, error: CardioDiTError) -> CardioDiTError:
        """The error for an object of the list that is not what it should be."""
        return self._damaged(error.message.rstrip("."))

    def _damaged(self, reason: str) -> CardioDiTError:
        return CardioDiTError(
            f"The {self._title} '{self.path}' is damaged: {reason}.", "Repair this file, or move it away."
        )
