"""What the tests of the sections Landmarks and Function share: a phantom in the scene, and a fake worker's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 8


def phantom(frames: int = FRAMES) -> Any:
    """A digital heart: cine, labels and landmarks that belong together."""
    from CardioDiTLib.data.phantom import PhantomSpec, make_phantom

    return make_phantom(PhantomSpec(frames=frames, slices=9, height=64, width=64, spacing_mm=(2.5, 2.5, 12.0)))


def described(cine: Any, **meta: Any) -> dict[str, Any]:
    """A cine as the worker describes it, its array in memory."""
    return {
        "array": np.asarray(cine.array),
        "affine": cine.affine.tolist(),
        "frame_times": cine.frame_times.tolist(),
        "meta": {**cine.meta, **meta},
        "name": "phantom",
        "display_range": [0.0, float(np.max(cine.array))],
    }


def segmentation_answer(segmentation: Any, folder: Path, synthetic: bool = True) -> dict[str, Any]:
    """What the worker answers to ``segment``."""
    from CardioDiTLib.service.arrays import describe_segmentation

    values = describe_segmentation(segmentation, folder / "labels.npy")
    about = {"name": "tiny", "version": "0.1.0", "sha256": "cd" * 32}
    return {"segmentation": {**values, "meta": {"synthetic": synthetic, "segmentation": about}}}


def landmarks_answer(track: Any, folder: Path) -> dict[str, Any]:
    """What the worker answers to ``landmarks``."""
    from CardioDiTLib.service.arrays import describe_track

    values = describe_track(track, folder / "points.npy")
    about = {"method": "network", "name": "tiny", "version": "0.2.0", "sha256": "ef" * 32}
    return {
        "landmarks": {**values, "meta": {**values["meta"], "synthetic": True, "landmarks": about}},
        "found": int(track.found.sum()),
        "of": int(track.found.size),
    }
