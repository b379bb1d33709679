"""What `encoder.json` says about an encoder of cines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.manifest_parts import FileRecord, Licence, TrainingData, check_file_name, plain
from CardioDiTLib.bundles.model_folder import ModelFolder
from CardioDiTLib.data.grid import ModelGrid
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.contrastive_cine import CineEmbeddingConfig

MANIFEST_NAME = "encoder.json"
WEIGHTS_NAME = "encoder.safetensors"
KIND = ModelFolder("encoder", MANIFEST_NAME, "encoder", "audit's encoder")
SCHEMA_VERSION = 1
_HINT = "Get the model's folder again."


@dataclass(frozen=True)
class EncoderManifest:
    """All that is known about an encoder.

    Args:
        name: Its name.
        version: Its version.
        network: Settings of the network.
        grid: Grid that cines are brought to first; its pixels are made fewer for the network.
        licence: Terms of the weights.
        training_data: What it was trained on.
        quality: Measured numbers; empty where nothing was measured.
        provenance: Plain facts, such as the number of training steps.
        files: Fingerprint of each file.
        schema_version: Version of this description.

    Raises:
        CardioDiTError: A value is out of range, or grid and network do not show the same field of view.
    """

    name: str
    version: str
    network: CineEmbeddingConfig
    grid: ModelGrid
    licence: Licence
    training_data: TrainingData
    quality: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in ("name", "version"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise CardioDiTError(f"'{name}' of an encoder is {getattr(self, name)!r}, no text.", _HINT)
        seen = self.network.size * self.network.spacing_mm
        if any(abs(side - seen) > 0.01 * seen for side in self.grid.extent_mm[:2]) or self.grid.frames < 2:
            raise CardioDiTError(
                f"The encoder's grid shows {self.grid.extent_mm[0]:g} mm, its network {seen:g} mm.", _HINT
            )

    @staticmethod
    def grid_of(network: CineEmbeddingConfig, slices: int = 8, frames: int = 16) -> ModelGrid:
        """The grid of a network: pixels of half its spacing, slices 10 mm apart."""
        pixels, spacing = 2 * network.size, network.spacing_mm / 2
        return ModelGrid(slices, pixels, pixels, frames, (spacing, spacing, 10.0))

    def with_files(self, files: Mapping[str, FileRecord]) -> EncoderManifest:
        """The same with fingerprints filled in."""
        return replace(self, files=dict(files))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, also as a section of a bundle's description; `from_dict` reads them back."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"network": self.network.to_dict(), "grid": self.grid.to_dict()}
        values["files"] = {name: record.to_dict() for name, record in self.files.items()}
        first = {"schema_version": values.pop("schema_version")}
        return plain({**first, **values})

    def to_json(self) -> str:
        """Text of `encoder.json`."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: Any) -> EncoderManifest:
        """Reads what `to_dict` wrote.

        Raises:
            CardioDiTError: Another version, a missing or unknown entry, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise CardioDiTError(f"'{MANIFEST_NAME}' holds no object with entries.", _HINT)
        if values.get("schema_version") != SCHEMA_VERSION:
            raise CardioDiTError(
                f"The encoder has the schema version {values.get('schema_version')!r}, "
                f"this software reads {SCHEMA_VERSION}.",
                "Update the software, or get an encoder that fits it.",
            )
        wrong = sorted(map(str, set(values) ^ {item.name for item in fields(cls)}))
        if wrong:
            raise CardioDiTError(f"'{MANIFEST_NAME}' has missing or unknown entries: {', '.join(wrong)}.", _HINT)
        read = dict(values)
        for name in ("grid", "quality", "provenance", "files"):
            if not isinstance(read[name], Mapping):
                raise CardioDiTError(f"'{name}' in '{MANIFEST_NAME}' is no object with entries.", _HINT)
        for name in read["files"]:
            check_file_name(name, "file list")
        read["network"] = CineEmbeddingConfig.from_dict(read["network"])
        read["grid"] = ModelGrid.from_dict(read["grid"])
        read["licence"] = Licence.from_dict(read["licence"])
        read["training_data"] = TrainingData.from_dict(read["training_data"])
        read["files"] = {name: FileRecord.from_dict(record) for name, record in read["files"].items()}
        return cls(**read)


def read_encoder_manifest(folder: Path) -> EncoderManifest:
    """Reads the `encoder.json` of a folder.

    Raises:
        CardioDiTError: There is none, or it is damaged.
    """
    return EncoderManifest.from_dict(KIND.read_json(folder))
