"""A landmark model on disk: a folder with `landmarks.json` and a safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.bundles.model_folder import ModelFolder
from CardioDiTLib.bundles.weights import write_weights
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileRecord, check_file_name
from CardioDiTLib.models.rvip_network import RvipNetwork, RvipNetworkConfig
from CardioDiTLib.models.slice_unet import LandmarkNetwork, LandmarkNetworkConfig
from CardioDiTLib.schema import is_number, plain
from CardioDiTLib.segmentation.model import IntensityRule


@dataclass(frozen=True)
class PointRule:
    """Chosen once on cines that training had not seen, and kept with the weights.

    Args:
        presence: A point is given where the network holds it for at least so likely; 0 to 1. For the published network:
            pixels above it belong to the blob.
        window_mm: Radius of the disc whose weighted mean is the point (our network).
        largest_component: Only the largest piece of a blob counts (published network).

    Raises:
        CardioDiTError: A value is out of range.
    """

    presence: float = 0.5
    window_mm: float = 7.5
    largest_component: bool = True

    def __post_init__(self) -> None:
        hint = "Get the model's folder again."
        if not is_number(self.presence) or not 0 <= self.presence <= 1:
            raise CardioDiTError(f"The presence {self.presence!r} is not between 0 and 1.", hint)
        if not is_number(self.window_mm) or not 1 <= self.window_mm <= 100:
            raise CardioDiTError(f"The window {self.window_mm!r} is not 1 to 100 mm.", hint)
        if not isinstance(self.largest_component, bool):
            raise CardioDiTError(f"'largest_component' is {self.largest_component!r}, not true or false.", hint)


MANIFEST_NAME = "landmarks.json"

WEIGHTS_NAME = "network.safetensors"

KIND = ModelFolder("landmarks", MANIFEST_NAME, "landmark model", "landmark network")

SCHEMA_VERSION = 1

REFERENCES = "Ends of the septum in an expert's labels of the ventricles, found by a walk; not points marked by hand."

_HINT = "Get the model's folder again."

NetworkSettings = LandmarkNetworkConfig | RvipNetworkConfig

DESIGNS: dict[str, type[LandmarkNetworkConfig] | type[RvipNetworkConfig]] = {
    "cardiodit": LandmarkNetworkConfig,
    "published": RvipNetworkConfig,
}


@dataclass(frozen=True)
class LandmarkManifest:
    """All that is known about a landmark model.

    Args:
        name: Its name.
        version: Its version.
        network: Settings of the network; their type tells which one it is.
        licence: Terms of the weights.
        training_data: What it was trained on.
        references: Where the points come from that it learned.
        intensity: How grey values are scaled (our network; the published one has its own way).
        field_mm: Side of the square about the heart that is looked at.
        rule: When an answer counts as a point.
        quality: Measured numbers; empty where nothing was measured.
        provenance: Plain facts, such as the number of training steps.
        files: Fingerprint of each file.
        schema_version: Version of this description.

    Raises:
        CardioDiTError: A value is out of range.
    """

    name: str
    version: str
    network: NetworkSettings
    licence: Licence
    training_data: TrainingData
    references: str = REFERENCES
    intensity: IntensityRule = field(default_factory=IntensityRule)
    field_mm: float = 228.0
    rule: PointRule = field(default_factory=PointRule)
    quality: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in ("name", "version", "references"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise CardioDiTError(f"'{name}' of a landmark model is {getattr(self, name)!r}, no text.", _HINT)
        if not is_number(self.field_mm) or self.field_mm < 50:
            raise CardioDiTError(f"'field_mm' of a landmark model is {self.field_mm!r}, not 50 mm or more.", _HINT)

    @property
    def design(self) -> str:
        """ "cardiodit" or "published"."""
        return "published" if isinstance(self.network, RvipNetworkConfig) else "cardiodit"

    def with_files(self, files: Mapping[str, FileRecord]) -> LandmarkManifest:
        """The same with fingerprints filled in."""
        return replace(self, files=dict(files))

    def to_json(self) -> str:
        """Text of `landmarks.json`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"network": {"design": self.design, **self.network.to_dict()}}
        values |= {"intensity": vars(self.intensity), "rule": vars(self.rule)}
        values["files"] = {name: record.to_dict() for name, record in self.files.items()}
        first = {"schema_version": values.pop("schema_version")}
        return json.dumps(plain({**first, **values}), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: Any) -> LandmarkManifest:
        """Reads what `to_json` wrote.

        Raises:
            CardioDiTError: Another version, a missing or unknown entry, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise CardioDiTError(f"'{MANIFEST_NAME}' holds no object with entries.", _HINT)
        if values.get("schema_version") != SCHEMA_VERSION:
            raise CardioDiTError(
                f"The landmark model has the schema version {values.get('schema_version')!r}, "
                f"this software reads {SCHEMA_VERSION}.",
                "Update the software, or get a model that fits it.",
            )
        wrong = sorted(map(str, set(values) ^ {item.name for item in fields(cls)}))
        if wrong:
            raise CardioDiTError(f"'{MANIFEST_NAME}' has missing or unknown entries: {', '.join(wrong)}.", _HINT)
        read = dict(values)
        for name in ("network", "intensity", "rule", "quality", "provenance", "files"):
            if not isinstance(read[name], Mapping):
                raise CardioDiTError(f"'{name}' in '{MANIFEST_NAME}' is no object with entries.", _HINT)
        for name, kind in (("intensity", IntensityRule), ("rule", PointRule)):
            if set(read[name]) != {item.name for item in fields(kind)}:
                raise CardioDiTError(f"'{name}' in '{MANIFEST_NAME}' has missing or unknown entries.", _HINT)
            read[name] = kind(**read[name])
        for name in read["files"]:
            check_file_name(name, "file list")
        settings = dict(read["network"])
        design = settings.pop("design", None)
        if design not in DESIGNS:
            raise CardioDiTError(f"The landmark model has the design {design!r}.", "Update the software.")
        read["network"] = DESIGNS[design].from_dict(settings)
        read["licence"] = Licence.from_dict(read["licence"])
        read["training_data"] = TrainingData.from_dict(read["training_data"])
        read["files"] = {name: FileRecord.from_dict(record) for name, record in read["files"].items()}
        return cls(**read)


def read_manifest(folder: Path) -> LandmarkManifest:
    """Reads the `landmarks.json` of a folder.

    Raises:
        CardioDiTError: There is none, or it is damaged.
    """
    return LandmarkManifest.from_dict(KIND.read_json(folder))


AnyLandmarkNetwork = LandmarkNetwork | RvipNetwork


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
    if isinstance(settings, RvipNetworkConfig):
        return RvipNetwork(settings)
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
