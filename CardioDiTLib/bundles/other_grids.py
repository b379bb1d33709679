"""Which bundles make cines of other numbers of slices and frames than their own; told without loading a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from CardioDiTLib.bundles.manifest import BundleManifest


def most_slices_and_frames(folder: Path, manifest: BundleManifest) -> tuple[int, int] | None:
    """The most slices and frames that a bundle makes; None where it makes its own grid alone.

    A transformer has to have been trained on several grids, and nothing beside it may belong to one: no refiner, no
    principal components or modes in time, no statistics of places or of frames.

    Args:
        folder: Of the bundle.
        manifest: Of the bundle.
    """
    params, latents, own = manifest.dit.params, manifest.latents, manifest.grid
    if not params.get("variable_shape") or manifest.refiner is not None:
        return None
    if latents.patch is not None or latents.modes:
        return None
    if latents.file is not None and not _are_of_channels(folder / latents.file):
        return None
    size = params["input_size"]
    most = params.get("max_input_size") or size
    # The codec shrinks the grid to the size that the transformer takes, or the bundle could not be loaded.
    return int(most[0]), int(most[3]) * (own.frames // int(size[3]))


def _are_of_channels(path: Path) -> bool:
    """Whether statistics (C, Z, H, W, T) are the same for all slices and all frames."""
    from safetensors import safe_open

    try:
        with safe_open(str(path), "numpy") as stream:
            shapes = [stream.get_slice(name).get_shape() for name in ("mean", "std")]
        whole = np.broadcast_shapes(*map(tuple, shapes))
    except Exception:  # whoever loads the bundle is told what is wrong with it
        return False
    return len(whole) == 5 and whole[1] == whole[4] == 1
