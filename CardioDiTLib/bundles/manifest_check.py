"""Manifests that come from elsewhere: read from bytes, and fit to be put on any disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from CardioDiTLib.bundles.manifest import MANIFEST_NAME, BundleManifest
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.json_text import parse_json

MANIFEST_LIMIT_BYTES = 1 << 20
"""No manifest is anywhere near as large."""

FILES_LIMIT = 256
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_AGAIN = "Tell the publisher of the bundle."


def parse_manifest(content: bytes, place: str) -> BundleManifest:
    """Read the bytes of a ``bundle.json``, strictly.

    Args:
        content: At most :data:`MANIFEST_LIMIT_BYTES`.
        place: Where it comes from, for messages.

    Raises:
        CardioDiTError: It is too large, not JSON, not possible, or lists files that cannot be those of a bundle.
    """
    if len(content) > MANIFEST_LIMIT_BYTES:
        raise CardioDiTError(f"The {MANIFEST_NAME} of '{place}' is larger than 1 MB.", _AGAIN)
    try:
        values: Any = parse_json(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise CardioDiTError(
            f"The {MANIFEST_NAME} of '{place}' is not JSON.", "Check that this is the place of a bundle."
        ) from error
    try:
        manifest = BundleManifest.from_dict(values)
        check_files(manifest)
    except CardioDiTError as error:
        raise CardioDiTError(f"'{place}': {error.message}", error.hint) from error
    return manifest


def check_files(manifest: BundleManifest) -> None:
    """See that the files of a manifest make a bundle, on any system.

    Raises:
        CardioDiTError: A needed file is not listed, the manifest lists itself, or a name is not possible everywhere.
    """
    absent = sorted(set(manifest.needed_files) - set(manifest.files))
    if absent:
        raise CardioDiTError(
            f"The bundle '{manifest.name}' does not list its files: {', '.join(absent)} is missing.", _AGAIN
        )
    check_portable([MANIFEST_NAME, *manifest.files])
    check_portable([manifest.name])


def check_portable(names: Iterable[str]) -> None:
    """Refuse names that mean something else on another system, or the same as one of the others.

    Raises:
        CardioDiTError: Naming the first of them.
    """
    seen: set[str] = set()
    for name in names:
        if _RESERVED.fullmatch(name) or name.endswith((".", " ")):
            raise CardioDiTError(f"'{name}' cannot be the name of a file on every system.", _AGAIN)
        if name.lower() in seen:
            raise CardioDiTError(f"The bundle lists the file '{name}' twice.", _AGAIN)
        seen.add(name.lower())
    if len(seen) > FILES_LIMIT:
        raise CardioDiTError(f"The bundle lists {len(seen)} files; at most {FILES_LIMIT} are possible.", _AGAIN)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
