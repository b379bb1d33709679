"""Areas and volumes of labels, by summation of discs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.tissue import MYOCARDIUM_G_PER_ML as MYOCARDIUM_G_PER_ML

RIGHT_VENTRICLE, MYOCARDIUM, LEFT_VENTRICLE = 1, 2, 3


def pixel_counts(segmentation: Segmentation, *labels: int) -> NDArray[np.int64]:
    """Pixels of one label, or of several together, in every slice: (T, Z)."""
    return np.asarray(np.isin(segmentation.array, labels).sum(axis=(2, 3)), dtype=np.int64)


def volume_curve_ml(segmentation: Segmentation, label: int) -> NDArray[np.float64]:
    """Volume of a label in every frame by summation of discs (Simpson's rule of cardiac MRI).

    Every labelled pixel counts as a block of its area times the distance between neighbouring slice centres, which
    comes from the affine and so includes gaps between slices. Nothing is interpolated between slices and nothing is
    added above the first or below the last labelled one: a slice at the base that is cut by the valve plane, or at the
    apex by the tip, counts with the area that is labelled and the full distance. The count of pixels is exact, so
    equal labels give equal volumes.

    Args:
        segmentation: (T, Z, Y, X).
        label: 1 right ventricle, 2 myocardium, 3 left ventricle.

    Returns:
        (T,) mL; NaN in frames without that label, which count as not labelled rather than as empty.
    """
    counts = pixel_counts(segmentation, label).sum(axis=1)
    return np.where(counts > 0, counts * segmentation.voxel_volume_ml, np.nan)
