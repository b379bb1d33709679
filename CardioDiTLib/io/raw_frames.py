"""What a file reader hands over before it is known whether the file is a cine or a segmentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RawFrames:
    """Values as the file has them, with geometry and time in the library's conventions.

    Args:
        array: (T, Z, Y, X), any type.
        affine: 4x4, voxel index (x, y, z) to mm in RAS, not checked yet.
        frame_times: (T,) seconds, starting at 0.
        meta: Provenance found in the file.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    meta: dict[str, Any] = field(default_factory=dict)
