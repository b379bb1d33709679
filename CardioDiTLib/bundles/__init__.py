"""Model bundles: folders that hold a generator with everything that is needed to run and to judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

if TYPE_CHECKING:
    from CardioDiTLib.bundles.bundle import Bundle, load_bundle, write_bundle
    from CardioDiTLib.bundles.cardiodit_import import ImportReport, import_published
    from CardioDiTLib.bundles.catalogue import (
        CatalogueEntry,
        RemoteFile,
        add_source,
        find_entry,
        list_added,
        list_catalogue,
        read_source,
        remove_source,
    )
    from CardioDiTLib.bundles.download import discard_partial, download_bundle, import_bundle, partial_bytes
    from CardioDiTLib.bundles.http_stream import RetryPolicy, TransferProgress
    from CardioDiTLib.bundles.installation import bundle_size_bytes, remove_bundle
    from CardioDiTLib.bundles.manifest import BundleManifest, read_manifest
    from CardioDiTLib.bundles.manifest_parts import LatentSpec, Licence, NetworkSpec, Preset, PrivacySpec, TrainingData
    from CardioDiTLib.bundles.registry import (
        BundleEntry,
        accept,
        find_bundle,
        is_accepted,
        list_bundles,
        require_accepted,
        verify,
    )
    from CardioDiTLib.files import FileRecord
    from CardioDiTLib.grid import BundleGrid

_HOMES = {
    "Bundle": "bundle",
    "BundleEntry": "registry",
    "BundleGrid": "CardioDiTLib.grid",
    "BundleManifest": "manifest",
    "CatalogueEntry": "catalogue",
    "FileRecord": "CardioDiTLib.files",
    "ImportReport": "cardiodit_import",
    "LatentSpec": "manifest_parts",
    "Licence": "manifest_parts",
    "NetworkSpec": "manifest_parts",
    "Preset": "manifest_parts",
    "PrivacySpec": "manifest_parts",
    "RemoteFile": "catalogue",
    "RetryPolicy": "http_stream",
    "TrainingData": "manifest_parts",
    "TransferProgress": "http_stream",
    "accept": "registry",
    "add_source": "catalogue",
    "bundle_size_bytes": "installation",
    "discard_partial": "download",
    "download_bundle": "download",
    "find_bundle": "registry",
    "find_entry": "catalogue",
    "import_bundle": "download",
    "import_published": "cardiodit_import",
    "is_accepted": "registry",
    "list_added": "catalogue",
    "list_bundles": "registry",
    "list_catalogue": "catalogue",
    "load_bundle": "bundle",
    "partial_bytes": "download",
    "read_manifest": "manifest",
    "read_source": "catalogue",
    "remove_bundle": "installation",
    "remove_source": "catalogue",
    "require_accepted": "registry",
    "verify": "registry",
    "write_bundle": "bundle",
}

__all__ = [
    "Bundle",
    "BundleEntry",
    "BundleGrid",
    "BundleManifest",
    "CatalogueEntry",
    "FileRecord",
    "ImportReport",
    "LatentSpec",
    "Licence",
    "NetworkSpec",
    "Preset",
    "PrivacySpec",
    "RemoteFile",
    "RetryPolicy",
    "TrainingData",
    "TransferProgress",
    "accept",
    "add_source",
    "bundle_size_bytes",
    "discard_partial",
    "download_bundle",
    "find_bundle",
    "find_entry",
    "import_bundle",
    "import_published",
    "is_accepted",
    "list_added",
    "list_bundles",
    "list_catalogue",
    "load_bundle",
    "partial_bytes",
    "read_manifest",
    "read_source",
    "remove_bundle",
    "remove_source",
    "require_accepted",
    "verify",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    """Import torch only where a network is really wanted: listing bundles does without."""
    return imported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
