"""A landmark model with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.landmarks.model import (
    AnyLandmarkNetwork,
    LandmarkManifest,
    LandmarkModel,
    PointRule,
    make_network,
    write_model,
)
from CardioDiTLib.models.rvip_network import RvipNetworkConfig
from CardioDiTLib.models.slice_unet import LandmarkNetworkConfig

TINY = LandmarkNetworkConfig(channels=(4, 8, 8), res_units=1, spacing_mm=3.0)
TINY_PUBLISHED = RvipNetworkConfig(channels=(4, 8, 8), dropout=(0.1, 0.1, 0.1), spacing_mm=3.0, size=48)


def tiny_network(settings: LandmarkNetworkConfig | RvipNetworkConfig = TINY, seed: int = 0) -> AnyLandmarkNetwork:
    """Some thousand random weights."""
    torch.manual_seed(seed)
    return make_network(settings).eval()


def tiny_manifest(network: AnyLandmarkNetwork, **values: Any) -> LandmarkManifest:
    """A description of it; every place counts as a point."""
    return LandmarkManifest(
        **{
            "name": "tiny",
            "version": "0.0.1",
            "network": network.config,
            "licence": Licence("none", "For tests."),
            "training_data": TrainingData("nobody's"),
            "rule": PointRule(presence=0.0),
            **values,
        }
    )


def tiny_model(settings: LandmarkNetworkConfig | RvipNetworkConfig = TINY, **values: Any) -> LandmarkModel:
    """Both, in memory."""
    network = tiny_network(settings)
    return LandmarkModel(network, tiny_manifest(network, **values))


def tiny_model_folder(folder: Path, storage: str = "fp32", **values: Any) -> Path:
    """Both, on disk."""
    network = tiny_network()
    return write_model(folder, tiny_manifest(network, **values), network, storage=storage)
