"""Fits the filter in plane that decoded slices pass in the end to the hearts that a bundle draws, and puts it there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.manifest_parts import DetailSpec
from CardioDiTLib.data.packing import read_pack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.generator import Generator
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.models.detail_filter import find_period, fit_kernel

HEARTS = 20
CAP = 2.2
_EVERY = 4
"""Frames: neighbours look alike, every fourth tells as much."""


def fit_detail(
    bundle_folder: str | os.PathLike[str],
    pack_path: str | os.PathLike[str],
    *,
    hearts: int = HEARTS,
    cap: float = CAP,
    seed: int = 0,
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> DetailSpec:
    """Draws hearts, compares their spectrum in plane with that of the training cines, and writes the filter into the
    bundle's manifest; a filter that the bundle has is replaced, not stacked upon.

    Args:
        bundle_folder: Folder of the bundle.
        pack_path: The training pack; its cines kept aside are not looked at.
        hearts: Hearts to draw, classes in turn.
        cap: Largest amplification, see `models.detail_filter.fit_kernel`.
        seed: Seed of the first heart.
        precision: See `Generator`.
        progress: Called with (hearts drawn, of).

    Returns:
        What was written.

    Raises:
        CardioDiTError: The pack is not on the bundle's grid in plane, or the disk refuses.
    """
    bundle = Bundle(bundle_folder)
    bundle.manifest = replace(bundle.manifest, detail=None)
    grid = bundle.manifest.grid
    pack = read_pack(Path(pack_path), grid.frames)
    edge = (pack.images.shape[-1] - grid.width) // 2
    if edge < 0 or grid.width != grid.height or not np.allclose(pack.spacing[:2], grid.spacing_mm[:2], rtol=1e-3):
        raise CardioDiTError(
            "The pack is not on the bundle's grid in plane.", "Take the pack that the bundle was trained on."
        )
    generator = Generator(bundle, precision=precision)
    classes = bundle.manifest.class_names or (None,)
    made = []
    for heart in range(hearts):
        request = GenerationRequest(count=1, seed=seed + heart, pathology=classes[heart % len(classes)])
        made.append(generator.generate(request)[0].cine.array[::_EVERY])
        if progress is not None:
            progress(heart + 1, hearts)
    window = slice(edge, edge + grid.width)
    real = pack.images[~pack.validation][:, ::_EVERY, :, window, window]
    real = real.swapaxes(1, 2)[pack.slice_valid[~pack.validation]]  # slices that the grid did not cover say nothing
    kernel = fit_kernel(real, np.stack(made), cap)
    spec = DetailSpec(tuple(map(tuple, kernel.tolist())), float(cap), find_period(np.stack(made)))
    manifest = replace(bundle.manifest, detail=spec)
    with atomic_path(bundle.folder / MANIFEST_NAME) as partial:
        partial.write_text(manifest.to_json(), encoding="utf-8")
    return spec
