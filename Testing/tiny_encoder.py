"""An encoder of cines with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.models.contrastive_cine import CineEmbedding, CineEmbeddingConfig
from CardioDiTLib.privacy.encoder import CineEncoder, EncoderManifest, write_encoder


def tiny_embedding(seed: int = 0, **settings: Any) -> CineEmbedding:
    """Some thousand random weights; 32 pixels of 6 mm."""
    torch.manual_seed(seed)
    config = CineEmbeddingConfig(
        **{"channels": (8, 16), "hidden": 32, "dimension": 16, "size": 32, "spacing_mm": 6.0, **settings}
    )
    return CineEmbedding(config).eval()


def tiny_manifest(network: CineEmbedding, **values: Any) -> EncoderManifest:
    """A description of it."""
    return EncoderManifest(
        **{
            "name": "tiny",
            "version": "0.0.1",
            "network": network.config,
            "grid": EncoderManifest.grid_of(network.config),
            "licence": Licence("none", "For tests."),
            "training_data": TrainingData("nobody's"),
            **values,
        }
    )


def tiny_encoder(seed: int = 0, **settings: Any) -> CineEncoder:
    """Both, in memory."""
    network = tiny_embedding(seed, **settings)
    return CineEncoder(network, tiny_manifest(network), "0" * 64)


def tiny_encoder_folder(folder: Path, storage: str = "fp32", **settings: Any) -> Path:
    """Both, on disk."""
    network = tiny_embedding(**settings)
    return write_encoder(folder, tiny_manifest(network), network, storage=storage)
