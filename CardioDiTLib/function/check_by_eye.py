"""What to look at before a number is believed: labels that are unsure of themselves, points that contradict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNSURE_DICE = {"RV": 0.90, "myocardium": 0.85, "LV": 0.92}
"""Expected Dice below which a label is called unsure. Probabilities are too sure of themselves: what it means in true
Dice is told in docs/benchmarks.md."""

_PHASES = ("end-diastole", "end-systole")


def sureness_note(meta: Mapping[str, Any], frames: Mapping[str, tuple[int | None, int | None]]) -> str:
    """One sentence on which slices to check, from what a segmentation says of itself.

    Args:
        meta: Provenance of the segmentation.
        frames: Frame of end-diastole and end-systole by the name of a label; None where there is none.

    Returns:
        The sentence; empty where the labels are sure, or say nothing of it.
    """
    about = meta.get("segmentation")
    sure = about.get("sureness") if isinstance(about, Mapping) else None
    if not isinstance(sure, Mapping):
        return ""
    unsure, looks = [], []
    for label, pair in frames.items():
        dice, slices = sure.get("expected_dice", {}).get(label, []), sure.get("doubtful_slices", {}).get(label, [])
        for frame, phase in zip(pair, _PHASES):
            if frame is None or frame >= min(len(dice), len(slices)):
                continue
            if dice[frame] is not None and dice[frame] < UNSURE_DICE[label]:
                unsure.append(f"{label} at {phase} ({dice[frame]:.2f})")
            if slices[frame]:
                many = "s" * (len(slices[frame]) > 1)
                looks.append(f"{label} in slice{many} {', '.join(str(z + 1) for z in slices[frame])} at {phase}")
    if not unsure and not looks:
        return ""
    parts = []
    if unsure:
        parts.append(f"the labels are unsure of themselves, expected Dice {', '.join(unsure)}")
    if looks:
        parts.append(f"check by eye: {'; '.join(looks)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
