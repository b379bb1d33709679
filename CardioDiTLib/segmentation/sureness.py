"""Expected Dice of a segmentation by its own probabilities, frame by frame and slice by slice.

The probabilities are means over mirror images, so that labels which change with mirroring lower them. Labels and
probabilities are compared as two segmentations are: the Dice that the labels would have, were the probabilities right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.labels import LABEL_NAMES

DOUBTFUL_DICE = 0.75
"""A slice in which the expected Dice of a label is below this is reported as doubtful."""

LEAST_SHARE = 0.1
"""Slices with less of a label than this share of its largest slice are not reported: they change volumes little."""


@dataclass(frozen=True)
class _Sums:
    """(T, Z, 3) each: of probability times label, of probability, of label; right ventricle, myocardium, left."""

    both: NDArray[np.float64]
    likely: NDArray[np.float64]
    named: NDArray[np.float64]


class Sureness:
    """Collects what is needed while frames are labelled.

    Args:
        frames: T.
        slices: Z.
    """

    def __init__(self, frames: int, slices: int) -> None:
        shape = (frames, slices, len(LABEL_NAMES) - 1)
        self._sums = _Sums(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def add(self, frame: int, probabilities: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
        """One frame.

        Args:
            frame: Its index.
            probabilities: (Z, 4, Y, X) probabilities.
            labels: (Z, Y, X) what was made of them.
        """
        for label in range(1, len(LABEL_NAMES)):
            share, own = probabilities[:, label], labels == label
            self._sums.both[frame, :, label - 1] = (share * own).sum(axis=(1, 2))
            self._sums.likely[frame, :, label - 1] = share.sum(axis=(1, 2))
            self._sums.named[frame, :, label - 1] = own.sum(axis=(1, 2))

    def expected_dice(self) -> NDArray[np.float64]:
        """(T, 3): Dice of each label in each frame, were the probabilities right; NaN without that label."""
        both, total = self._sums.both.sum(axis=1), (self._sums.likely + self._sums.named).sum(axis=1)
        there = self._sums.named.sum(axis=1) > 0
        return np.where(there, 2 * both / np.maximum(total, 1e-9), np.nan)

    def doubtful(self) -> NDArray[np.bool_]:
        """(T, Z, 3): slices to look at, whether the label was given there or nearly was."""
        size = np.maximum(self._sums.likely, self._sums.named)
        matters = size >= LEAST_SHARE * np.maximum(self._sums.named.max(axis=(0, 1)), 1.0)
        dice = 2 * self._sums.both / np.maximum(self._sums.likely + self._sums.named, 1e-9)
        return matters & (dice < DOUBTFUL_DICE)

    def to_dict(self, flipped: bool = False) -> dict[str, Any]:
        """Plain values for the provenance of a segmentation.

        Args:
            flipped: The slices were looked at in the other order than they are stored.
        """
        dice, doubtful = self.expected_dice(), self.doubtful()
        if flipped:
            doubtful = doubtful[:, ::-1]
        result: dict[str, Any] = {"expected_dice": {}, "doubtful_slices": {}}
        for label in range(1, len(LABEL_NAMES)):
            name = LABEL_NAMES[label]
            result["expected_dice"][name] = [
                None if np.isnan(value) else round(float(value), 3) for value in dice[:, label - 1]
            ]
            result["doubtful_slices"][name] = [np.flatnonzero(row).tolist() for row in doubtful[..., label - 1]]
        return result
