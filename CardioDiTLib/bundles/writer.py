"""Writing a bundle: whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.fingerprint import record_of
from CardioDiTLib.bundles.manifest import MANIFEST_NAME, MODEL_CARD_NAME, BundleManifest
from CardioDiTLib.bundles.manifest_parts import check_file_name
from CardioDiTLib.bundles.storage import write_weights
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.models.vqgan import VQGAN


def write_bundle(
    destination: str | os.PathLike[str],
    manifest: BundleManifest,
    vqgan: VQGAN,
    dit: DiT4D,
    latent_scale: LatentScale,
    *,
    model_card: str,
    storage: str | Mapping[str, str] = "fp16",
    overwrite: bool = False,
    refiner: CineRefiner | None = None,
    files: Mapping[str, Path] | None = None,
) -> Bundle:
    """Write a bundle's folder; it appears under its name only once it is complete and has been opened and built.

    Args:
        destination: The folder to make.
        manifest: Everything but ``files``, which is filled in.
        vqgan: The codec.
        dit: The transformer, with its averaged weights in place.
        latent_scale: Scale of the latents. Its tensors are always stored in float32.
        model_card: Text of MODEL_CARD.md.
        storage: "fp32", "fp16" or "int8" for both networks, or {"codec": ..., "dit": ...}.
        overwrite: Replace a bundle that lies there. A folder that is no bundle is never replaced.
        refiner: The refiner, where the manifest names one; stored as the codec is.
        files: More files of the bundle, by name: copied as they are, such as those that its privacy section names.

    Returns:
        The bundle, opened.

    Raises:
        CardioDiTError: Something lies there already, the parts do not belong together, a file that the
            manifest needs is not among them, or the disk is full.
    """
    final = Path(destination)
    refuse_occupied(final, overwrite)
    storages = {"codec": storage, "dit": storage} if isinstance(storage, str) else dict(storage)
    if set(storages) != {"codec", "dit"}:
        raise CardioDiTError(f"The storage {storages} is not possible.", "Give one for 'codec' and one for 'dit'.")
    _check_scale(manifest, latent_scale)
    if (manifest.refiner is None) != (refiner is None):
        raise CardioDiTError("The manifest and the parts do not agree about a refiner.", "Give both or neither.")
    partial = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        write_weights(partial / manifest.codec.file, vqgan.state_dict(), storages["codec"])
        write_weights(partial / manifest.dit.file, dit.state_dict(), storages["dit"])
        if manifest.refiner is not None and refiner is not None:
            write_weights(partial / manifest.refiner.file, refiner.state_dict(), storages["codec"])
        if manifest.latents.file is not None:
            statistics = {"mean": latent_scale.mean, "std": latent_scale.std}
            if latent_scale.basis is not None:
                statistics["basis"] = latent_scale.basis
            write_weights(partial / manifest.latents.file, statistics, "fp32")
        (partial / MODEL_CARD_NAME).write_text(model_card, encoding="utf-8")
        for name, source in (files or {}).items():
            check_file_name(name, "file list")
            if (partial / name).exists():
                raise CardioDiTError(f"The bundle has two files '{name}'.", "Rename one.")
            shutil.copyfile(source, partial / name)
        records = {path.name: record_of(path) for path in sorted(partial.iterdir())}
        absent = sorted(set(manifest.needed_files) - set(records))
        if absent:
            raise CardioDiTError(
                f"The manifest of '{manifest.name}' needs {', '.join(absent)}, which nobody gave.",
                "Give these files, or leave the section that names them out.",
            )
        (partial / MANIFEST_NAME).write_text(manifest.with_files(records).to_json(), encoding="utf-8")
        Bundle(partial).check()
        _move(partial, final)
    except OSError as error:
        raise CardioDiTError(
            f"The bundle '{final}' could not be written: {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle(final)


def refuse_occupied(final: Path, overwrite: bool) -> None:
    """Refuse a place for a bundle where something else lies, or a bundle that is not to be replaced.

    Raises:
        CardioDiTError: Naming what is there.
    """
    if not final.exists():
        return
    is_bundle = (final / MANIFEST_NAME).is_file()
    if is_bundle and not overwrite:
        raise CardioDiTError(f"There is a bundle '{final}' already.", "Choose another folder, or ask for overwriting.")
    if not is_bundle and (not final.is_dir() or any(final.iterdir())):
        raise CardioDiTError(f"'{final}' exists and is no bundle.", "Choose another folder.")


def _check_scale(manifest: BundleManifest, scale: LatentScale) -> None:
    spec = manifest.latents
    if spec.modes != scale.modes:
        raise CardioDiTError(
            f"The manifest says modes {spec.modes}, the latent scale has {scale.modes}.", "Make them agree."
        )
    if spec.patch != (None if scale.basis is None else scale.patch):
        raise CardioDiTError(
            f"The manifest says patches {spec.patch}, the latent scale has {scale.patch}.", "Make them agree."
        )
    if spec.scale_factor is not None:
        wanted = LatentScale.published(spec.scale_factor, spec.channels)
        same = wanted.std.shape == scale.std.shape and wanted.mean.shape == scale.mean.shape
        if not same or not torch.allclose(wanted.std, scale.std) or bool(scale.mean.any()):
            raise CardioDiTError(
                f"The latent scale is not the one factor {spec.scale_factor:g} of the manifest.",
                "Name a file in the manifest's latents instead of a scale factor.",
            )


def _move(partial: Path, final: Path) -> None:
    if not final.exists():
        os.replace(partial, final)
        return
    old = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
    os.replace(final, old)
    try:
        os.replace(partial, final)
    except OSError:
        os.replace(old, final)
        raise
    shutil.rmtree(old, ignore_errors=True)
