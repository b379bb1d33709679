"""A segmentation model with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.models.slice_unet import NetworkConfig, SegmentationNetwork
from CardioDiTLib.segmentation.model import SegmentationManifest, SegmentationModel, write_model


def tiny_network(seed: int = 0, **settings: Any) -> SegmentationNetwork:
    """Some thousand random weights whose arg-max shows all labels."""
    torch.manual_seed(seed)
    config = NetworkConfig(**{"channels": (4, 8, 8), "res_units": 1, "spacing_mm": 3.0, **settings})
    return SegmentationNetwork(config).eval()


def tiny_manifest(network: SegmentationNetwork, **values: Any) -> SegmentationManifest:
    """A description of it."""
    return SegmentationManifest(
        **{
            "name": "tiny",
            "version": "0.0.1",
            "network": network.config,
            "licence": Licence("none", "For tests."),
            "training_data": TrainingData("nobody's"),
            **values,
        }
    )


def tiny_model(seed: int = 0, **settings: Any) -> SegmentationModel:
    """Both, in memory."""
    network = tiny_network(seed, **settings)
    return SegmentationModel(network, tiny_manifest(network))


def tiny_model_folder(folder: Path, storage: str = "fp32") -> Path:
    """Both, on disk."""
    network = tiny_network()
    return write_model(folder, tiny_manifest(network), network, storage=storage)
