"""A landmark model on disk: a folder with `landmarks.json` and a safetensors file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from CardioDiTLib.bundles.storage import write_weights
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.manifest import KIND, WEIGHTS_NAME, LandmarkManifest, NetworkSettings, read_manifest
from CardioDiTLib.landmarks.network import LandmarkNetwork
from CardioDiTLib.landmarks.published_network import PublishedNetwork, PublishedNetworkConfig

AnyLandmarkNetwork = LandmarkNetwork | PublishedNetwork


@dataclass(frozen=True, eq=False)
class LandmarkModel:
    """A network that is ready to work, and what is known about it.

    Args:
        network: Ours or the published one, float32, in evaluation mode.
        manifest: Its description.
    """

    network: AnyLandmarkNetwork
    manifest: LandmarkManifest


def make_network(settings: NetworkSettings) -> AnyLandmarkNetwork:
    """A network with weights drawn anew."""
    if isinstance(settings, PublishedNetworkConfig):
        return PublishedNetwork(settings)
    return LandmarkNetwork(settings)


def embedded_model_folder() -> Path:
    """Folder of the model that comes with the software; may not exist."""
    return KIND.embedded()


def load_model(folder: str | os.PathLike[str] | None = None) -> LandmarkModel:
    """Opens a model's folder and verifies every file before a weight is used.

    Args:
        folder: The folder; None for the embedded model.

    Returns:
        The model, on the CPU.

    Raises:
        CardioDiTError: There is none, it is damaged or changed, or its weights do not fit its network.
    """
    place = KIND.find(folder, embedded_model_folder())
    manifest = read_manifest(place)
    KIND.verify(place, manifest.files, (WEIGHTS_NAME,))
    network = make_network(manifest.network)
    KIND.load_weights(network, place / WEIGHTS_NAME, manifest.name)
    return LandmarkModel(network.eval(), manifest)


def write_model(
    destination: str | os.PathLike[str],
    manifest: LandmarkManifest,
    network: AnyLandmarkNetwork,
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
    KIND.refuse_what_is_there(Path(destination), overwrite)
    if network.config != manifest.network:
        raise CardioDiTError("The network is not the one of its description.", "Make them agree.")
    return KIND.write(
        destination,
        lambda place: write_weights(place / WEIGHTS_NAME, network.state_dict(), storage),
        lambda files: manifest.with_files(files).to_json(),
        load_model,
        overwrite=overwrite,
    )
