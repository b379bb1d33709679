"""The ways in which a user may say where a bundle lies on the web."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlunsplit

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.web_address import check_address
from CardioDiTLib.errors import CardioDiTError

HUB_PREFIX = "hf:"
HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"
"""Names a mirror of the hub; the hub's own programs know it too."""

DEFAULT_REVISION = "main"
_HUB_SOURCE = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(@(?P<revision>[A-Za-z0-9][A-Za-z0-9._%-]*))?(?P<folder>(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)/?"
)


@dataclass(frozen=True)
class BundleSource:
    """Where a bundle lies on the web.

    Attributes:
        text: How it is written down.
        manifest_url: Address of its ``bundle.json``; the other files lie beside it.
        notes: What was assumed, one sentence each.
    """

    text: str
    manifest_url: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_text(cls, text: str) -> BundleSource:
        """Read what a user wrote.

        Args:
            text: https address of a ``bundle.json`` or of its folder, or ``hf:owner/name@revision[/subfolder]``.

        Raises:
            CardioDiTError: It is neither.

        Examples:
            >>> BundleSource.from_text("hf:lab/heart@v1").manifest_url
            'https://huggingface.co/lab/heart/resolve/v1/bundle.json'
        """
        text = text.strip()
        return cls._of_hub(text) if text.lower().startswith(HUB_PREFIX) else cls._of_address(text)

    @classmethod
    def _of_hub(cls, text: str) -> BundleSource:
        found = _HUB_SOURCE.fullmatch(text[len(HUB_PREFIX) :])
        if found is None:
            raise CardioDiTError(f"'{text}' does not name a repository.", "Write hf:owner/name@revision.")
        revision, folder = found["revision"] or DEFAULT_REVISION, found["folder"]
        notes: tuple[str, ...] = ()
        if revision == DEFAULT_REVISION:
            notes = (
                f"The revision '{DEFAULT_REVISION}' may change; what counts are the files that it holds now. "
                "Name a tag or commit to be sure of them.",
            )
        hub = os.environ.get(HUB_VARIABLE, "").rstrip("/") or HUB
        repository = f"{found['owner']}/{found['name']}"
        address = f"{hub}/{repository}/resolve/{revision}{folder}/{MANIFEST_NAME}"
        check_address(address)
        return cls(f"{HUB_PREFIX}{repository}@{revision}{folder}", address, notes)

    @classmethod
    def _of_address(cls, text: str) -> BundleSource:
        parts = check_address(text)
        path = parts.path
        if path.rpartition("/")[2].lower().endswith(".zip"):
            raise CardioDiTError(
                f"'{text}' is a zip file, not the folder of a bundle.", "Import it: 'cardiodit models import ADDRESS'."
            )
        if path.rpartition("/")[2] != MANIFEST_NAME:
            path = f"{path.rstrip('/')}/{MANIFEST_NAME}"
        return cls(text, urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")))


def is_source(text: str) -> bool:
    """True for what :meth:`BundleSource.from_text` is meant for, False for the name of a bundle."""
    return "://" in text or text.strip().lower().startswith(HUB_PREFIX)
