"""A segmentation model on disk: a folder with `segmentation.json` and a safetensors file."""

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
from CardioDiTLib.labels import LABEL_NAMES
from CardioDiTLib.models.slice_unet import NetworkConfig, SegmentationNetwork
from CardioDiTLib.schema import is_number, plain

MANIFEST_NAME = "segmentation.json"

WEIGHTS_NAME = "network.safetensors"

KIND = ModelFolder("segmentation", MANIFEST_NAME, "segmentation model", "segmentation network")

SCHEMA_VERSION = 1

_HINT = "Get the model's folder again."


@dataclass(frozen=True)
class IntensityRule:
    """Percentiles of the looked-at part of the whole cine that the network sees as -1 and +1.

    Args:
        low_percentile: 0 to 100.
        high_percentile: 0 to 100, larger.
    """

    low_percentile: float = 0.5
    high_percentile: float = 99.5

    def __post_init__(self) -> None:
        values = (self.low_percentile, self.high_percentile)
        if not all(map(is_number, values)) or not 0 <= values[0] < values[1] <= 100:
            raise CardioDiTError(f"The intensity percentiles {values[0]!r} and {values[1]!r} are not possible.", _HINT)


@dataclass(frozen=True)
class SegmentationManifest:
    """All that is known about a segmentation model.

    Args:
        name: Its name.
        version: Its version.
        network: Settings of the network, spacing included.
        licence: Terms of the weights.
        training_data: What it was trained on.
        intensity: How grey values are scaled.
        field_mm: Side of the square about the heart that is looked at.
        labels: Meaning of the labels; always the project's own.
        quality: Measured numbers, such as {"ED": {"LV": 0.9}}; empty where nothing was measured.
        provenance: Plain facts, such as the number of training steps.
        files: Fingerprint of each file.
        schema_version: Version of this description.

    Raises:
        CardioDiTError: A value is out of range.
    """

    name: str
    version: str
    network: NetworkConfig
    licence: Licence
    training_data: TrainingData
    intensity: IntensityRule = field(default_factory=IntensityRule)
    field_mm: float = 228.0
    labels: dict[str, str] = field(default_factory=lambda: {str(k): v for k, v in LABEL_NAMES.items()})
    quality: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in ("name", "version"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise CardioDiTError(f"'{name}' of a segmentation model is {getattr(self, name)!r}, no text.", _HINT)
        if not is_number(self.field_mm) or self.field_mm < 50:
            raise CardioDiTError(f"'field_mm' of a segmentation model is {self.field_mm!r}, not 50 mm or more.", _HINT)
        if dict(self.labels) != {str(k): v for k, v in LABEL_NAMES.items()}:
            raise CardioDiTError("The segmentation model has other labels than 1 RV, 2 myocardium, 3 LV.", _HINT)

    def with_files(self, files: Mapping[str, FileRecord]) -> SegmentationManifest:
        """The same with fingerprints filled in."""
        return replace(self, files=dict(files))

    def to_json(self) -> str:
        """Text of `segmentation.json`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"network": self.network.to_dict(), "intensity": vars(self.intensity)}
        values["files"] = {name: record.to_dict() for name, record in self.files.items()}
        first = {"schema_version": values.pop("schema_version")}
        return json.dumps(plain({**first, **values}), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: Any) -> SegmentationManifest:
        """Reads what `to_json` wrote.

        Raises:
            CardioDiTError: Another version, a missing or unknown entry, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise CardioDiTError(f"'{MANIFEST_NAME}' holds no object with entries.", _HINT)
        if values.get("schema_version") != SCHEMA_VERSION:
            raise CardioDiTError(
                f"The segmentation model has the schema version {values.get('schema_version')!r}, "
                f"this software reads {SCHEMA_VERSION}.",
                "Update the software, or get a model that fits it.",
            )
        wrong = sorted(map(str, set(values) ^ {item.name for item in fields(cls)}))
        if wrong:
            raise CardioDiTError(f"'{MANIFEST_NAME}' has missing or unknown entries: {', '.join(wrong)}.", _HINT)
        read = dict(values)
        for name in ("intensity", "labels", "quality", "provenance", "files"):
            if not isinstance(read[name], Mapping):
                raise CardioDiTError(f"'{name}' in '{MANIFEST_NAME}' is no object with entries.", _HINT)
        if set(read["intensity"]) != {item.name for item in fields(IntensityRule)}:
            raise CardioDiTError(f"'intensity' in '{MANIFEST_NAME}' has missing or unknown entries.", _HINT)
        for name in read["files"]:
            check_file_name(name, "file list")
        read["network"] = NetworkConfig.from_dict(read["network"])
        read["intensity"] = IntensityRule(**read["intensity"])
        read["licence"] = Licence.from_dict(read["licence"])
        read["training_data"] = TrainingData.from_dict(read["training_data"])
        read["files"] = {name: FileRecord.from_dict(record) for name, record in read["files"].items()}
        return cls(**read)


def read_manifest(folder: Path) -> SegmentationManifest:
    """Reads the `segmentation.json` of a folder.

    Raises:
        CardioDiTError: There is none, or it is damaged.
    """
    return SegmentationManifest.from_dict(KIND.read_json(folder))


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
    return KIND.embedded()


def load_model(folder: str | os.PathLike[str] | None = None) -> SegmentationModel:
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
    network = SegmentationNetwork(manifest.network)
    KIND.load_weights(network, place / WEIGHTS_NAME, manifest.name)
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
