"""Points of the slices of one frame, found on slices of the network's own spacing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SlicePoints:
    """Two points for each slice, named by the walk around the left ventricle.

    Attributes:
        places: (Z, 2, 2) pixels (x, y) of the planes that were given: the point that a walk anti-clockwise on the
            screen meets first, then the other; NaN where nothing was found.
        presence: (Z, 2) probability, 0 to 1, that the slice has the point.
        certainty: (Z, 2), 0 to 1: as in `heatmap.CinePoints`.
    """

    places: NDArray[np.float64]
    presence: NDArray[np.float64]
    certainty: NDArray[np.float64]
