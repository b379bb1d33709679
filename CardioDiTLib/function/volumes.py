"""Areas and volumes of labels, by summation of discs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.orientation import End

OPEN_SHARE = 1.0 / 3.0
"""An end slice with more than this share of the widest slice's area leaves the ventricle open there.

A half-ellipsoid of 85 mm that ends in a 10-mm slice of that area has lost less than 2 % of its volume.
"""

USUAL_LENGTH_MM = 55.0
"""A ventricle labelled over at least this length is taken to begin at the valve plane, where its stack begins.

Stacks are planned from the valve plane, so that the first slice often lies inside the ventricle already (in two thirds
of ACDC, whose volumes are nevertheless those of the whole ventricle). A shorter one is part of a ventricle: the left
ventricles of ACDC are labelled over 50 to 110 mm, 95 % of them over 58 mm or more.
"""


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


def only_base_open(where: str, base: End | None) -> bool:
    """Whether what `open_end` found is the base and nothing else."""
    return base is not None and where == f"{base} slice (base)"


def labelled_length_mm(areas: NDArray[np.float64], slice_distance_mm: float) -> float:
    """Largest number of labelled slices of any frame times their distance; (T, Z) areas."""
    return float((areas > 0).sum(axis=1).max() * slice_distance_mm)


def open_end(areas: NDArray[np.float64], frame: int, base: End | None) -> str | None:
    """Say at which end of the stack a ventricle goes on beyond it.

    At the apex a ventricle tapers: it is closed there in a frame whose end slice is empty or holds at most
    :data:`OPEN_SHARE` of the frame's largest area. At the base it ends abruptly, at the valves, and its area says
    nothing; there it also counts as closed if the end slice falls below that share in any frame of the cycle, for then
    the valve plane, which moves towards the apex in systole, passes through that slice. Where it is not known which end
    is the base, both are judged like the apex.

    Args:
        areas: (T, Z) area of the ventricle in every slice, any unit.
        frame: The frame in question.
        base: Which end of the stack is the base, see :func:`CardioDiTLib.data.orientation.base_end`.

    Returns:
        "first slice (base)" or alike, both ends joined by "and"; None where the ventricle is covered.
    """
    widest = np.maximum(areas.max(axis=1), 1e-12)
    labelled = areas.max(axis=1) > 0
    open_at = []
    for name, index in (("first", 0), ("last", -1)):
        shares = areas[:, index] / widest
        is_open = shares[frame] > OPEN_SHARE
        if name == base:
            is_open &= shares[labelled].min() > OPEN_SHARE
        if is_open:
            where = "" if base is None else f" ({'base' if name == base else 'apex'})"
            open_at.append(f"{name} slice{where}")
    return " and ".join(open_at) or None
