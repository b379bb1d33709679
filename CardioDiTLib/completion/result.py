"""What comes out of completing and varying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine


@dataclass(frozen=True, eq=False)
class CompletionResult:
    """A cine whose gaps were filled, or a variation of one.

    Attributes:
        cine: (T, Z, Y, X) in the grey values of the source; what it is stands in its meta.
        generated: (T, Z) bool, True where the image was made by the model, False where it was recorded.
        provenance: How it was made, plain values.
        warnings: What a user should know, in plain sentences.
    """

    cine: Cine
    generated: NDArray[np.bool_]
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()
