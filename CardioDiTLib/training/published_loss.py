"""The published loss of the landmark detector."""

from __future__ import annotations

import torch

_CLIP = 1e-7
_SMOOTH = 1.0


def bce_minus_dice(
    probabilities: torch.Tensor, targets: torch.Tensor, bce_weight: float = 1.0, dice_weight: float = 1.0
) -> torch.Tensor:
    """Binary cross-entropy, mean over everything, less one soft Dice over the whole batch and both channels.

    It is about -1 where everything is right. The published code hands the map of the cross-entropy to its optimizer
    unreduced, which is the same up to a factor that Adam does not see.

    Args:
        probabilities: (N, 2, H, W), clipped to 1e-7 from 0 and 1.
        targets: The same shape, 0 to 1.
        bce_weight: Of the cross-entropy.
        dice_weight: Of the Dice.

    Returns:
        A number.
    """
    likely = probabilities.clamp(_CLIP, 1 - _CLIP)
    # The published code clips and then adds the same number once more inside the logarithms.
    entropy = -(targets * (likely + _CLIP).log() + (1 - targets) * (1 - likely + _CLIP).log()).mean()
    overlap = (probabilities * targets).sum()
    dice = (2 * overlap + _SMOOTH) / (probabilities.sum() + targets.sum() + _SMOOTH)
    return bce_weight * entropy - dice_weight * dice
