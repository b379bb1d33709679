"""What completing and varying have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.completion.completer import Completer
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.plan import SamplingPlan, make_plan
from CardioDiTLib.generation.request import QUANTITY_NAMES, GenerationRequest
from CardioDiTLib.progress import StepCallback as Progress

MEMORY_HINT = "Use the device cpu, or close other programs."


def plan_of(completer: Completer, seed: int, count: int, **settings: Any) -> SamplingPlan:
    """The sampler's settings; checks what a user gave.

    Raises:
        CardioDiTError: A value is not possible, or the bundle cannot do it.
    """
    known = ("pathology", "guidance", "preset", "steps", *QUANTITY_NAMES)
    others = [name for name in settings if name not in known]
    if others:
        raise CardioDiTError(
            f"The setting '{others[0]}' is not known.",
            f"What a heart can be asked to have is {', '.join(QUANTITY_NAMES)}.",
        )
    several = [name for name, value in settings.items() if isinstance(value, list | tuple)]
    if several:
        raise CardioDiTError(f"There are several values of '{several[0]}'.", "Give one, for all cines that are made.")
    request = GenerationRequest(seed=seed, count=count, adjust=0, **settings)  # nothing is drawn again
    return make_plan(request, completer.bundle.manifest, completer.null_class, whole_way=True)


def known_of(latents: torch.Tensor, slices: NDArray[np.bool_], frames: NDArray[np.bool_]) -> torch.Tensor:
    """(Z, t) bool: latents of which no slice and no frame is missing.

    Args:
        latents: (1, C, Z, h, w, t).
        slices: (Z,) missing slices of the grid.
        frames: (T,) missing frames of the grid.
    """
    steps = latents.shape[-1]
    parts = np.array([part.any() for part in np.split(frames, steps)])
    return torch.from_numpy(~(slices[:, None] | parts[None]))


def shared(progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress of one of several samples as progress of all."""
    return None if progress is None else lambda done, of: progress(index * of + done, count * of)


def like(cine: Cine, array: NDArray[Any], affine: NDArray[np.float64], times: NDArray[np.float64]) -> Cine:
    """A cine of an array, whose values have the type of another cine's."""
    if np.issubdtype(cine.array.dtype, np.integer):
        limits = np.iinfo(np.int16)
        array = np.clip(np.rint(array), limits.min, limits.max).astype(np.int16)
    return Cine(array, affine, times)
