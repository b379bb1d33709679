"""What comes out of generation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation

_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, eq=False, repr=False)
class GenerationResult:
    """One synthetic cine.

    Attributes:
        cine: (T, Z, Y, X) int16, 0 to 1000; frame 0 is end-diastole where the model was trained so. Its meta holds all
            of ``provenance`` that is the same in every run.
        seed: Seed of the request.
        index: Number of the sample; with the seed it names the cine.
        pathology: Class that was asked for.
        provenance: Model, version, fingerprints, settings, versions, seconds: plain values.
        seconds: What this sample took, its share of the batch.
        latents: (C, Z, H, W, T) float32 in the codec's scale, before quantisation; None unless asked for.
        segmentation: Labels made together with the image (1 RV, 2 myocardium, 3 LV); None where the bundle makes none.
        warnings: Plain sentences about the request, such as quantities near the edge of the training range.
    """

    cine: Cine
    seed: int
    index: int
    pathology: str | None
    provenance: dict[str, Any]
    seconds: float
    latents: NDArray[np.float32] | None = None
    segmentation: Segmentation | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line."""
        return f"GenerationResult({self.name}, {self.seconds:.1f} s, {self.cine!r})"

    @property
    def name(self) -> str:
        """A file name without suffix, the same for the same sample of a request, drawn again by a gate or not."""
        requested = self.provenance.get("audit", {}).get("requested_seed", self.seed)
        return sample_name(str(self.provenance["model"]), requested, self.index, self.pathology)


def sample_name(model: str, seed: int, index: int, pathology: str | None) -> str:
    """What the files of a sample are called after; known before it is made.

    Names of classes come from a bundle: whatever is no plain part of a file's name becomes a dash.
    """
    parts = [model, f"seed{seed}", f"{index:03d}", *([] if pathology is None else [pathology])]
    return "_".join(_PLAIN.sub("-", part) for part in parts).lstrip(".-")
