"""Bundles on this machine and in the catalogue: list, fetch, check, remove."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from CardioDiTLib.bundles.catalogue import (
    CatalogueEntry,
    add_source,
    find_entry,
    is_source,
    list_catalogue,
    read_source,
)
from CardioDiTLib.bundles.download import download_bundle, import_bundle
from CardioDiTLib.bundles.http_stream import TransferProgress
from CardioDiTLib.bundles.installation import remove_bundle
from CardioDiTLib.bundles.manifest import MODEL_CARD_NAME, BundleManifest, most_slices_and_frames
from CardioDiTLib.bundles.registry import (
    BundleEntry,
    accept,
    find_bundle,
    is_accepted,
    list_bundles,
    require_accepted,
    user_bundles_folder,
    verify,
)
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.service.job import Job
from CardioDiTLib.workflow.import_published import ImportRequest
from CardioDiTLib.workflow.import_published import run as run_import

_PUBLISHED_FILES = ("stage1", "stage1_config", "dit", "dit_config")
_PUBLISHED_OPTIONS = (
    "name",
    "spacing_mm",
    "cycle_s",
    "scale_factor",
    "use_ema",
    "class_names",
    "data_source",
    "storage",
    "overwrite",
    "licence",
)


class LoadedBundles(Protocol):
    """Whoever keeps networks of bundles loaded."""

    def forget(self, folder: Path) -> None:
        """Let go of a bundle's networks."""


class ModelJobs:
    """Jobs about bundles.

    Args:
        loaded: Told before a bundle is removed or replaced.
    """

    def __init__(self, *loaded: LoadedBundles) -> None:
        self._loaded = loaded

    def models(self, job: Job) -> dict[str, Any]:
        """All bundles: those on this machine, then those of the catalogue that are not.

        Returns:
            ``models``: one object a bundle, see `describe_entry` and `describe_offer`; ``folder``: where the user's
            lie; ``problem``: why the catalogue cannot be read, empty where it can.
        """
        job.check_arguments()
        here = [describe_entry(entry) for entry in list_bundles()]
        names = {values["name"] for values in here}
        try:
            offers, problem = list_catalogue(), ""
        except CardioDiTError as error:
            # what is installed works without it
            offers, problem = [], str(error)
        there = [describe_offer(entry) for entry in offers if entry.name not in names]
        return {"models": here + there, "folder": str(user_bundles_folder()), "problem": problem}

    def model_card(self, job: Job) -> dict[str, Any]:
        """``text`` of a bundle's model card, Markdown, and the ``folder`` of the bundle."""
        job.check_arguments("name")
        folder = find_bundle(job.argument("name", str))
        path = folder / MODEL_CARD_NAME
        text = path.read_text(encoding="utf-8") if path.is_file() else "This bundle has no model card."
        return {"text": text, "folder": str(folder)}

    def verify(self, job: Job) -> dict[str, Any]:
        """``problems`` of a bundle, one sentence each."""
        job.check_arguments("name")
        job.progress("verify", step=0, of=1, fraction=0.0, eta_s=None)
        return {"problems": verify(job.argument("name", str))}

    def download(self, job: Job) -> dict[str, Any]:
        """Fetch a bundle of the catalogue, or of a source; ``name`` and ``folder`` of what was installed.

        Raises:
            CardioDiTError: Its terms have not been accepted, or it cannot be had.
        """
        job.check_arguments("name")
        name = job.argument("name", str)
        entry = read_source(name, cancel=job.cancel) if is_source(name) else find_entry(name)
        require_accepted(entry.name, entry.version, entry.licence)
        folder = download_bundle(entry, progress=_telling(job), cancel=job.cancel)
        return {"name": folder.name, "folder": str(folder)}

    def add_source(self, job: Job) -> dict[str, Any]:
        """Add a bundle to the user's catalogue; ``model`` as in `models`."""
        job.check_arguments("source")
        return {"model": describe_offer(add_source(job.argument("source", str), cancel=job.cancel))}

    def import_bundle(self, job: Job) -> dict[str, Any]:
        """Install a bundle from a folder, a zip file or the address of one."""
        job.check_arguments("path", "overwrite")
        overwrite = job.argument("overwrite", bool, False)
        folder = import_bundle(
            job.argument("path", str), progress=_telling(job), cancel=job.cancel, overwrite=overwrite
        )
        return {"name": folder.name, "folder": str(folder)}

    def import_published(self, job: Job) -> dict[str, Any]:
        """Make a bundle of published checkpoints; `ImportReport.to_dict`."""
        job.check_arguments(*_PUBLISHED_FILES, *_PUBLISHED_OPTIONS)
        files = {name: job.argument(name, str) for name in (*_PUBLISHED_FILES, "name")}
        request = ImportRequest(**{**job.given(*_PUBLISHED_OPTIONS), **files})
        request.destination()  # an impossible name is told before anything is begun
        job.progress("import", step=0, of=1, fraction=0.0, eta_s=None)
        return run_import(request, cancel=job.cancel).to_dict()

    def accept_licence(self, job: Job) -> dict[str, Any]:
        """Remember that the user accepted the terms of a bundle."""
        job.check_arguments("name")
        name = job.argument("name", str)
        for entry in list_bundles():
            if entry.name == name and entry.manifest is not None:
                # by its own name, by which it is looked for: its folder may be called otherwise
                accept(entry.manifest.name, entry.manifest.version, entry.manifest.licence)
                return {"name": name}
        for offer in list_catalogue():
            if offer.name == name:
                accept(name, offer.version, offer.licence)
                return {"name": name}
        raise CardioDiTError(f"There is no bundle called {name!r}.", "Update the list of models.")

    def remove(self, job: Job) -> dict[str, Any]:
        """Remove a bundle from the user's folder."""
        job.check_arguments("name")
        name = job.argument("name", str)
        for kept in self._loaded:
            kept.forget(find_bundle(name))
        remove_bundle(name)
        return {"name": name}


def describe_entry(entry: BundleEntry) -> dict[str, Any]:
    """A bundle on this machine as plain values; ``state`` is "installed" or "damaged".

    ``shape`` is (T, Z, Y, X) of its own grid; ``other_grids`` holds the most ``slices`` and ``frames`` that can be
    asked for, None where it makes its own grid alone.
    """
    manifest = entry.manifest
    values: dict[str, Any] = {
        "name": entry.name,
        "folder": str(entry.folder),
        "origin": entry.origin,
        "state": "damaged" if manifest is None else "installed",
        "problem": entry.problem,
        "removable": entry.origin == "user",
    }
    if manifest is None:
        return {**values, "title": entry.name, "version": "", "licence": None, "size_bytes": 0, "accepted": False}
    return {**values, **_describe_manifest(manifest), "other_grids": _other_grids(entry.folder, manifest)}


def describe_offer(entry: CatalogueEntry) -> dict[str, Any]:
    """A bundle of the catalogue as plain values; ``state`` is "available"."""
    licence = entry.licence
    return {
        "name": entry.name,
        "folder": "",
        "origin": "catalogue",
        "state": "available",
        "problem": "",
        "removable": False,
        "title": entry.title,
        "description": entry.description,
        "version": entry.version,
        "licence": licence.to_dict(),
        "accepted": not licence.needs_acceptance or is_accepted(entry.name, entry.version, licence),
        "size_bytes": entry.size_bytes,
        "class_names": list(entry.class_names),
        "source": entry.source,
    }


def _describe_manifest(manifest: BundleManifest) -> dict[str, Any]:
    grid, licence = manifest.grid, manifest.licence
    return {
        "title": manifest.title,
        "description": manifest.description,
        "version": manifest.version,
        "licence": licence.to_dict(),
        "accepted": not licence.needs_acceptance or is_accepted(manifest.name, manifest.version, licence),
        "size_bytes": sum(record.bytes for record in manifest.files.values()),
        "class_names": list(manifest.class_names),
        "class_titles": list(manifest.class_titles or manifest.class_names),
        "presets": {name: preset.to_dict() for name, preset in manifest.presets.items()},
        "intended_use": manifest.intended_use,
        "shape": [grid.frames, grid.slices, grid.height, grid.width],
        "spacing_mm": list(grid.spacing_mm),
        "cycle_s": grid.cycle_s,
        "has_privacy": manifest.privacy is not None,
    }


def _other_grids(folder: Path, manifest: BundleManifest) -> dict[str, int] | None:
    most = most_slices_and_frames(folder, manifest)
    return None if most is None else {"slices": most[0], "frames": most[1]}


def _telling(job: Job) -> Callable[[TransferProgress], None]:
    def tell(progress: TransferProgress) -> None:
        values: Mapping[str, Any] = progress.to_dict()
        job.progress("download", **values)

    return tell
