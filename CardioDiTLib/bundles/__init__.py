"""Model bundles: folders that hold a generator with everything that is needed to run and to judge it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from CardioDiTLib.bundles.bundle import Bundle, load_bundle
    from CardioDiTLib.bundles.manifest import BundleManifest, read_manifest
    from CardioDiTLib.bundles.manifest_parts import (
        BundleGrid,
        FileRecord,
        LatentSpec,
        Licence,
        NetworkSpec,
        Preset,
        TrainingData,
    )
    from CardioDiTLib.bundles.published_import import ImportReport, import_published
    from CardioDiTLib.bundles.registry import BundleEntry, find_bundle, list_bundles
    from CardioDiTLib.bundles.verification import verify
    from CardioDiTLib.bundles.writer import write_bundle

_HOMES = {
    "Bundle": "bundle",
    "BundleEntry": "registry",
    "BundleGrid": "manifest_parts",
    "BundleManifest": "manifest",
    "FileRecord": "manifest_parts",
    "ImportReport": "published_import",
    "LatentSpec": "manifest_parts",
    "Licence": "manifest_parts",
    "NetworkSpec": "manifest_parts",
    "Preset": "manifest_parts",
    "TrainingData": "manifest_parts",
    "find_bundle": "registry",
    "import_published": "published_import",
    "list_bundles": "registry",
    "load_bundle": "bundle",
    "read_manifest": "manifest",
    "verify": "verification",
    "write_bundle": "writer",
}

__all__ = [
    "Bundle",
    "BundleEntry",
    "BundleGrid",
    "BundleManifest",
    "FileRecord",
    "ImportReport",
    "LatentSpec",
    "Licence",
    "NetworkSpec",
    "Preset",
    "TrainingData",
    "find_bundle",
    "import_published",
    "list_bundles",
    "load_bundle",
    "read_manifest",
    "verify",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    """Import torch only where a network is really wanted: listing bundles does without."""
    if name in _HOMES:
        return getattr(import_module(f"CardioDiTLib.bundles.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
