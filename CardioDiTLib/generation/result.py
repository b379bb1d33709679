"""What comes out of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine


@dataclass(frozen=True, eq=False)
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
    """

    cine: Cine
    seed: int
    index: int
    pathology: str | None
    provenance: dict[str, Any]
    seconds: float
    latents: NDArray[np.float32] | None = None

    @property
    def name(self) -> str:
        """A file name without suffix, the same for the same sample."""
        parts = [str(self.provenance["model"]), f"seed{self.seed}", f"{self.index:03d}"]
        if self.pathology is not None:
            parts.append(self.pathology)
        return "_".join(parts)
