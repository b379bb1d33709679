"""How well two segmentations agree."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from CardioDiTLib.cine import LABEL_NAMES


def dice_per_label(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Dice (twice the overlap over the sum of both sizes) of RV, myocardium and LV.

    Args:
        predicted: Labels, any shape.
        truth: Labels, the same shape.

    Returns:
        Label name -> 0 to 1; NaN where neither has the label.
    """
    scores = {}
    for label, name in LABEL_NAMES.items():
        if label == 0:
            continue
        a, b = predicted == label, truth == label
        both = int(a.sum()) + int(b.sum())
        scores[name] = 2.0 * int((a & b).sum()) / both if both else float("nan")
    return scores
