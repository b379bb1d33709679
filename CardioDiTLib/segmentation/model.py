"""A segmentation model on disk: a folder with `segmentation.json` and a safetensors file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from CardioDiTLib.bundles.manifest_parts import NetworkManifest
from CardioDiTLib.bundles.model_folder import NetworkFolder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LABEL_NAMES
from CardioDiTLib.models.slice_unet import NetworkConfig, SegmentationNetwork
from CardioDiTLib.schema import Bounds, Record

MANIFEST_NAME = "segmentation.json"

WEIGHTS_NAME = NetworkManifest.weights_name

Percent = Annotated[float, Bounds(least=0, most=100)]


@dataclass(frozen=True)
class IntensityRule(Record):
    """Percentiles, over the region of interest in all frames and slices, that become -1 and +1 for the network.

    Args:
        low_percentile: 0 to 100.
        high_percentile: 0 to 100, larger.

    Raises:
        CardioDiTError: They are not.
    """

    record_name: ClassVar[str] = "rule of grey values"
    record_hint: ClassVar[str] = "Get the model's folder again."
    all_needed: ClassVar[bool] = True

    low_percentile: Percent = 0.5
    high_percentile: Percent = 99.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low_percentile >= self.high_percentile:
            raise CardioDiTError(
                f"The intensity percentiles {self.low_percentile:g} and {self.high_percentile:g} are not possible.",
                self.record_hint,
            )


@dataclass(frozen=True, kw_only=True)
class SegmentationManifest(NetworkManifest):
    """All that is known about a segmentation model.

    Args:
        network: Settings of the network, spacing included.
        intensity: How grey values are scaled.
        field_mm: Side of the square about the heart that is looked at.
        labels: Meaning of the labels; always the project's own.

    Raises:
        CardioDiTError: A value is out of range.
    """

    record_name: ClassVar[str] = "segmentation model"
    file_name: ClassVar[str] = MANIFEST_NAME
    json_order: ClassVar[tuple[str, ...]] = (
        *("name", "version", "network", "licence", "training_data", "intensity", "field_mm", "labels"),
        *("quality", "provenance", "files"),
    )

    network: NetworkConfig
    intensity: IntensityRule = field(default_factory=IntensityRule)
    field_mm: Annotated[float, Bounds(least=50)] = 228.0
    labels: dict[str, str] = field(default_factory=lambda: {str(k): v for k, v in LABEL_NAMES.items()})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels != {str(k): v for k, v in LABEL_NAMES.items()}:
            raise CardioDiTError(
                "The segmentation model has other labels than 1 RV, 2 myocardium, 3 LV.", self.record_hint
            )


KIND = NetworkFolder(SegmentationManifest, "segmentation model", "segmentation", "segmentation network")


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
    """Folder of the model that comes with the software; may not exist."""
    return KIND.embedded()


def load_model(folder: str | os.PathLike[str] | None = None) -> SegmentationModel:
    """Opens a model's folder, None for the embedded one; see `NetworkFolder.find` and `NetworkFolder.load`."""
    place = KIND.find(folder, embedded_model_folder())
    return SegmentationModel(*KIND.load(place, lambda manifest: SegmentationNetwork(manifest.network)))


def write_model(
    destination: str | os.PathLike[str],
    manifest: SegmentationManifest,
    network: SegmentationNetwork,
    *,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes a model's folder, see `NetworkFolder.write_network`; it is opened once before it gets its name."""
    return KIND.write_network(destination, manifest, network, load_model, storage=storage, overwrite=overwrite)
