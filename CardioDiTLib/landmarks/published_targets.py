"""What the published networks were trained to give: blobs, or Gaussians made of them.

=========  ======================  ==================  ======================
variant    target                  sigma (1.2 mm px)   histogram matching
=========  ======================  ==================  ======================
``base``   blobs                   0                   no
``var1``   blobs                   0                   share 0.1
``var2``   blurred, 0 to 1         2                   no
``var3``   blurred, 0 to 1         4                   no
=========  ======================  ==================  ======================

Blurred targets were stretched to [0, 1] over both channels together, so that the lower of two peaks can stay below the
threshold of one half at which points are read, and the point is lost, in the reference as well. That is kept as
``joint``; our default, ``channel``, stretches each channel by itself and loses none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.errors import CardioDiTError

NORMALISATIONS = ("channel", "joint")


@dataclass(frozen=True)
class PublishedVariant:
    """What sets a variant apart.

    Attributes:
        sigma_px: Of the Gaussian, pixels of 1.2 mm; 0: blobs.
        histogram_share: Share of pictures that are matched to another slice's histogram.
    """

    sigma_px: float
    histogram_share: float


VARIANTS = {
    "base": PublishedVariant(0.0, 0.0),
    "var1": PublishedVariant(0.0, 0.1),
    "var2": PublishedVariant(2.0, 0.0),
    "var3": PublishedVariant(4.0, 0.0),
}


def blobs(places: NDArray[np.float64], shape_yx: tuple[int, int], radius_px: float) -> NDArray[np.bool_]:
    """A small disc about each point.

    Args:
        places: (2, 2) pixels (x, y), NaN for a point that is not there.
        shape_yx: Rows and columns.
        radius_px: A point always gets its own pixel, however small this is.

    Returns:
        (2, Y, X).
    """
    masks = np.zeros((2, *shape_yx), bool)
    rows, columns = np.ogrid[: shape_yx[0], : shape_yx[1]]
    for mask, (x, y) in zip(masks, places):
        if np.isnan(x) or not (-0.5 <= x < shape_yx[1] - 0.5 and -0.5 <= y < shape_yx[0] - 0.5):
            continue
        mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius_px**2
        mask[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))] = True
    return masks


def published_targets(masks: NDArray[np.bool_], sigma_px: float, normalisation: str = "channel") -> NDArray[np.float32]:
    """Targets of the two channels.

    Args:
        masks: (2, Y, X) blobs on the grid that the network sees.
        sigma_px: 0 gives the blobs themselves.
        normalisation: "channel" or "joint", see above.

    Returns:
        (2, Y, X) within [0, 1].

    Raises:
        CardioDiTError: Another normalisation.
    """
    if normalisation not in NORMALISATIONS:
        raise CardioDiTError(f"There is no normalisation '{normalisation}'.", f"Use {' or '.join(NORMALISATIONS)}.")
    if sigma_px <= 0:
        return masks.astype(np.float32)
    soft = np.stack([ndimage.gaussian_filter(mask.astype(np.float32), sigma_px) for mask in masks])
    axes = (0, 1, 2) if normalisation == "joint" else (1, 2)
    low, high = soft.min(axes, keepdims=True), soft.max(axes, keepdims=True)
    return np.asarray((soft - low) / np.where(high > low, high - low, 1), np.float32)
