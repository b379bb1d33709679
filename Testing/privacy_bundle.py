"""A tiny bundle that carries embeddings of its own training set: the first cines that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import write_tiny_bundle
from tiny_encoder import tiny_encoder_folder

from CardioDiTLib.generation import GenerationRequest, Generator
from CardioDiTLib.privacy.attach import attach_privacy
from CardioDiTLib.privacy.embedding_io import embedded
from CardioDiTLib.privacy.encoder import load_encoder
from CardioDiTLib.privacy.reference_set import ReferenceSet

SEED, N_TRAIN, N_ALL = 5, 10, 34
"""Cines 0 to 9 of seed 5 (preset "draft") are the training set, 10 to 33 are other patients: enough for 5 %."""


def write_privacy_bundle(folder: Path, encoder_folder: Path) -> list[Any]:
    """Write the bundle and its encoder; returns all cines."""
    bundle = write_tiny_bundle(folder)
    encoder = load_encoder(tiny_encoder_folder(encoder_folder))
    request = GenerationRequest(count=N_ALL, seed=SEED, preset="draft")
    cines = [result.cine for result in Generator(bundle).generate(request)]
    rows = embedded(encoder, cines, "all")
    trained = np.arange(len(cines)) < N_TRAIN
    # random weights tell cines hardly apart: nothing but the very same one is a leak here
    reference = ReferenceSet.build(
        rows.kept(trained),
        rows.kept(~trained),
        leak_correlation=1.0,
    )
    attach_privacy(folder, encoder_folder, reference, audit={}, card="## Privacy")
    return cines
