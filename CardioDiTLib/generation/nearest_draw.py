"""Of several draws of one heart, the one that measures nearest to what was asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.generation.aim import Aim

Again = Callable[["Drawn", NDArray[np.float64]], "Drawn"]
"""``again(drawn, question)``: the heart once more, asked for other values (K,) than before."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """One sample as it was drawn.

    Attributes:
        latents: (1, C, Z, h, w, t) in the codec's scale.
        array: (T, Z, Y, X) int16, 0 to 1000.
        labels: (T, Z, Y, X) uint8; None where the bundle names no tissues.
        images: (1, Z, H, W, T) as the slice decoder made them; None where nothing refines them.
    """

    latents: torch.Tensor
    array: NDArray[np.int16]
    labels: NDArray[np.uint8] | None = None
    images: torch.Tensor | None = None


def nearest_draw(
    first: Drawn,
    aim: Aim,
    again: Again,
    spacing_mm: Sequence[float],
    most: int,
    *,
    from_measured: bool,
    spared: Callable[[int], None],
) -> Drawn:
    """Draw a heart again until it measures what was asked, or often enough.

    Args:
        first: The heart as it came.
        aim: What was asked of it.
        again: Draws it again.
        spacing_mm: (x, y, z) mm of its voxels.
        most: How often it may be drawn again.
        from_measured: `again` reshapes the last draw towards the values (`Aim.ahead`); otherwise it draws from the
            same noise with conditions corrected by the last error (`Aim.next`).
        spared: Told how many draws were not needed.

    Returns:
        The nearest by its own labels, of equals the earlier.
    """
    question, drawn = aim.asked, first
    measured = aim.measured(first.labels, spacing_mm)
    best, least = first, aim.error(measured)
    for draw in range(most):
        if aim.is_met(measured) or aim.error(measured) == math.inf:  # without a measurement there is no correction
            spared(most - draw)
            break
        question = aim.ahead(measured) if from_measured else aim.next(question, measured)
        drawn = again(drawn, question)
        measured = aim.measured(drawn.labels, spacing_mm)
        if aim.error(measured) < least:
            best, least = drawn, aim.error(measured)
    return best
