"""A landmark model on disk: a folder with `landmarks.json` and a safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from CardioDiTLib.bundles.manifest_parts import NetworkManifest
from CardioDiTLib.bundles.model_folder import NetworkFolder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.rvip_network import RvipNetwork, RvipNetworkConfig
from CardioDiTLib.models.slice_unet import LandmarkNetwork, LandmarkNetworkConfig
from CardioDiTLib.schema import Bounds, Record, Words
from CardioDiTLib.segmentation.model import IntensityRule

MANIFEST_NAME = "landmarks.json"
WEIGHTS_NAME = NetworkManifest.weights_name
REFERENCES = "Ends of the septum in an expert's labels of the ventricles, found by a walk; not points marked by hand."
NetworkSettings = LandmarkNetworkConfig | RvipNetworkConfig
DESIGNS: dict[str, type[LandmarkNetworkConfig] | type[RvipNetworkConfig]] = {
    "cardiodit": LandmarkNetworkConfig,
    "published": RvipNetworkConfig,
}
AnyLandmarkNetwork = LandmarkNetwork | RvipNetwork


@dataclass(frozen=True)
class PointRule(Record):
    """When a network's output counts as a point; chosen on cines held out from training, and kept with the weights.

    Args:
        presence: A point is given where its presence probability is at least this, 0 to 1. For the published network:
            pixels above it belong to the blob.
        window_mm: Radius of the disc whose weighted mean is the point (our network).
        largest_component: Only the largest piece of a blob counts (published network).

    Raises:
        CardioDiTError: A value is out of range.
    """

    record_name: ClassVar[str] = "rule of points"
    record_hint: ClassVar[str] = "Get the model's folder again."
    all_needed: ClassVar[bool] = True

    presence: Annotated[float, Bounds(least=0, most=1)] = 0.5
    window_mm: Annotated[float, Bounds(least=1, most=100)] = 7.5
    largest_component: bool = True


@dataclass(frozen=True, kw_only=True)
class LandmarkManifest(NetworkManifest):
    """All that is known about a landmark model.

    Args:
        network: Settings of the network; their type decides which one it is, in JSON the entry "design".
        references: Origin of the points on which it was trained.
        intensity: How grey values are scaled (our network; the published one has its own way).
        field_mm: Side of the square about the heart that is looked at.
        rule: When its output counts as a point.

    Raises:
        CardioDiTError: A value is out of range.
    """

    record_name: ClassVar[str] = "landmark model"
    file_name: ClassVar[str] = MANIFEST_NAME
    json_order: ClassVar[tuple[str, ...]] = (
        *("name", "version", "network", "licence", "training_data", "references", "intensity", "field_mm", "rule"),
        *("quality", "provenance", "files"),
    )

    network: NetworkSettings
    references: Words = REFERENCES
    intensity: IntensityRule = field(default_factory=IntensityRule)
    field_mm: Annotated[float, Bounds(least=50)] = 228.0
    rule: PointRule = field(default_factory=PointRule)

    @property
    def design(self) -> str:
        """ "cardiodit" or "published"."""
        return "published" if isinstance(self.network, RvipNetworkConfig) else "cardiodit"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = super().to_dict()
        return {**values, "network": {"design": self.design, **values["network"]}}

    @classmethod
    def from_dict(cls, values: Any) -> LandmarkManifest:
        """Reads what `to_dict` gave."""
        settings = values.get("network") if isinstance(values, Mapping) else None
        if not isinstance(settings, Mapping):
            return super().from_dict(values)
        design = settings.get("design")
        if not isinstance(design, str) or design not in DESIGNS:
            raise CardioDiTError(
                f"The landmark model has the design {design!r}.",
                f"Known are {', '.join(DESIGNS)}; update the software.",
            )
        network = DESIGNS[design].from_dict({name: value for name, value in settings.items() if name != "design"})
        return super().from_dict({**values, "network": network})


KIND = NetworkFolder(LandmarkManifest, "landmark model", "landmarks", "landmark network")


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
    """Opens a model's folder, None for the embedded one; see `NetworkFolder.find` and `NetworkFolder.load`."""
    place = KIND.find(folder, embedded_model_folder())
    return LandmarkModel(*KIND.load(place, lambda manifest: make_network(manifest.network)))


def write_model(
    destination: str | os.PathLike[str],
    manifest: LandmarkManifest,
    network: AnyLandmarkNetwork,
    *,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes a model's folder, see `NetworkFolder.write_network`; it is opened once before it gets its name."""
    return KIND.write_network(destination, manifest, network, load_model, storage=storage, overwrite=overwrite)
