"""A segmentation model on disk: a folder with `segmentation.json` and a safetensors file."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from CardioDiTLib.bundles.fingerprint import problem_of, record_of
from CardioDiTLib.bundles.storage import read_weights, write_weights
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.segmentation.manifest import MANIFEST_NAME, WEIGHTS_NAME, SegmentationManifest, read_manifest
from CardioDiTLib.segmentation.network import SegmentationNetwork


@dataclass(frozen=True, eq=False)
class SegmentationModel:
    """A network that is ready to work, and what is known about it.

    Args:
        network: The network, float32, in evaluation mode.
        manifest: Its description.
    """

    network: SegmentationNetwork
    manifest: SegmentationManifest


def embedded_model_folder() -> Path:
    """Folder of the model that comes with the software; may not exist.

    In an installed extension it lies inside the package, in the source tree beside it.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "Resources" / "Models" / "segmentation"
    return inside if inside.is_dir() else package.parent / "Resources" / "Models" / "segmentation"


def load_model(folder: str | os.PathLike[str] | None = None) -> SegmentationModel:
    """Opens a model's folder and verifies every file before a weight is used.

    Args:
        folder: The folder; None for the embedded model.

    Returns:
        The model, on the CPU.

    Raises:
        CardioDiTError: There is none, it is damaged or changed, or its weights do not fit its network.
    """
    place = embedded_model_folder() if folder is None else Path(folder)
    if folder is None and not (place / MANIFEST_NAME).is_file():
        raise CardioDiTError(
            "There are no weights of the segmentation network on this machine.",
            "Give a model's folder as weights (--weights FOLDER), or train one as docs/training.md says.",
        )
    if not place.is_dir():
        raise CardioDiTError(f"'{place}' is no folder.", "Give the folder of a segmentation model.")
    manifest = read_manifest(place)
    if WEIGHTS_NAME not in manifest.files:
        raise CardioDiTError(f"'{MANIFEST_NAME}' does not list {WEIGHTS_NAME}.", "Get the model's folder again.")
    for name, record in manifest.files.items():
        problem = problem_of(place / name, record)
        if problem is not None:
            raise CardioDiTError(problem, "Get the model's folder again.")
    network = SegmentationNetwork(manifest.network)
    try:
        network.load_state_dict(read_weights(place / WEIGHTS_NAME))
    except RuntimeError as error:
        raise CardioDiTError(
            f"The weights in {WEIGHTS_NAME} do not fit the network of '{manifest.name}'.",
            "Get the model's folder again.",
        ) from error
    return SegmentationModel(network.eval(), manifest)


def write_model(
    destination: str | os.PathLike[str],
    manifest: SegmentationManifest,
    network: SegmentationNetwork,
    *,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes a model's folder; it appears under its name only once it is complete and has been opened.

    Args:
        destination: The folder to make.
        manifest: Everything but ``files``, which is filled in.
        network: The network, with the weights to be used in place.
        storage: "fp32", "fp16" or "int8".
        overwrite: Replace a model that lies there. A folder that is no model is never replaced.

    Returns:
        The folder.

    Raises:
        CardioDiTError: Something lies there already, network and description differ, or the disk is full.
    """
    final = Path(destination)
    if final.exists():
        is_model = (final / MANIFEST_NAME).is_file()
        if is_model and not overwrite:
            raise CardioDiTError(f"There is a model in '{final}' already.", "Choose another folder, or --overwrite.")
        if not is_model and (not final.is_dir() or any(final.iterdir())):
            raise CardioDiTError(f"'{final}' exists and is no segmentation model.", "Choose another folder.")
    if network.config != manifest.network:
        raise CardioDiTError("The network is not the one of its description.", "Make them agree.")
    mark = uuid.uuid4().hex[:8]
    partial, old = final.with_name(f".{final.name}.{mark}.partial"), final.with_name(f".{final.name}.{mark}.old")
    try:
        partial.mkdir(parents=True)
        write_weights(partial / WEIGHTS_NAME, network.state_dict(), storage)
        records = {WEIGHTS_NAME: record_of(partial / WEIGHTS_NAME)}
        (partial / MANIFEST_NAME).write_text(manifest.with_files(records).to_json(), encoding="utf-8")
        load_model(partial)
        if final.exists():
            os.replace(final, old)
        try:
            os.replace(partial, final)
        except OSError:
            if old.exists():
                os.replace(old, final)
            raise
    except OSError as error:
        raise CardioDiTError(
            f"The model '{final}' could not be written: {error.strerror or error}.",
            "Check the folder, its permissions and the free disk space.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
    return final
