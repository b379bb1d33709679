"""Filling slices and frames of a cine that were not recorded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from CardioDiTLib.bundles.bundle import load_bundle
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.completion.common import MEMORY_HINT, known_of, like, plan_of, shared
from CardioDiTLib.completion.completer import Completer
from CardioDiTLib.completion.missing import check_missing, grid_missing, interpolated
from CardioDiTLib.completion.origin import origin_of
from CardioDiTLib.completion.placement import place
from CardioDiTLib.completion.result import CompletionResult
from CardioDiTLib.data.preprocess import on_grid
from CardioDiTLib.device import told_when_out_of_memory
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import DEFAULT_BUNDLE
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.progress import StepCallback as Progress
from CardioDiTLib.segmentation.segment import Weights

START = 0.6
"""Strength of the first pass: 1 begins with noise, less keeps some of the interpolation."""

JUMPS_BACK = (0.4,)
"""Strengths of the passes after the first."""


def complete(
    cine: Cine,
    *,
    missing_slices: Iterable[int] = (),
    missing_frames: Iterable[int] = (),
    bundle: Completer | str | os.PathLike[str] = DEFAULT_BUNDLE,
    seed: int = 0,
    count: int = 1,
    on_source: bool = False,
    segmentation: Segmentation | None = None,
    weights: Weights = None,
    pathology: str | None = None,
    guidance: float | None = None,
    preset: str = "standard",
    steps: int | None = None,
    start: float = START,
    jumps_back: tuple[float, ...] = JUMPS_BACK,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    cancel: CancelSource = None,
    **quantities: Any,
) -> list[CompletionResult]:
    """Fill slices and frames of a cine that are missing, with a generator that was never trained for it.

    The cine is interpolated, brought to the pose and grid of the bundle, and coded. Latents of slices and frames
    that were recorded are known; the others are sampled by the transformer, with every step's clean sample moved to
    agree with what is known (`KnownLatents`).

    Args:
        cine: A short-axis cine, real or synthetic. What it holds at missing places is not looked at.
        missing_slices: Slices of the cine to fill, from 0.
        missing_frames: Frames to fill, from 0. Slices of the bundle's grid that the cine has not are filled too.
        bundle: Name or folder of a bundle, or a `Completer` to keep.
        seed: The same seed gives the same cine.
        count: How many different completions.
        on_source: The result on the grid of the cine, only missing slices and frames replaced; otherwise on the
            bundle's grid, where the heart lies.
        segmentation: Labels of the cine, for the pose; None finds them.
        weights: Segmentation model in place of the embedded one.
        pathology: Class of the heart, or None.
        guidance, preset, steps: As in `GenerationRequest`.
        start: Strength of the first pass.
        jumps_back: Strengths of the passes that follow.
        device, precision: As in `Generator`.
        progress: Called with (steps done, steps in all).
        cancel: A function that says whether to stop, an event, or None.
        quantities: ``edv_ml``, ``ef_percent`` ... to steer by, where the bundle can.

    Returns:
        One result a completion.

    Raises:
        CardioDiTError: Nothing is missing, a number lies outside the cine, no heart is found, or the bundle cannot.
        Cancelled: `cancel` said so.

    Examples:
        >>> filled = complete(cine, missing_slices=(1, 3, 5), seed=7)[0].cine  # doctest: +SKIP
    """
    slices, frames = check_missing(cine, missing_slices, missing_frames)
    if on_source and not (slices.any() or frames.any()):
        raise CardioDiTError(
            "No slice and no frame of this cine is said to be missing.", "Say which, or ask for the model's grid."
        )
    completer = bundle if isinstance(bundle, Completer) else Completer(load_bundle(bundle), device, precision)
    plan = plan_of(
        completer, seed, count, pathology=pathology, guidance=guidance, preset=preset, steps=steps, **quantities
    )
    stop = Stop(cancel)
    stop.check()
    filled = interpolated(cine, slices, frames)
    placed = place(
        Cine(filled, cine.affine, cine.frame_times, cine.meta), completer.bundle.manifest, segmentation, weights
    )
    # The mirror leaves slices and frames where they are.
    grid_slices, grid_frames = grid_missing(placed.transform, slices, frames)
    if slices.any() and not (grid_slices.any() or grid_frames.any()):
        raise CardioDiTError(
            "The slices that are missing lie beyond the grid of the model, or between others that are as near to each "
            "other as its slices.",
            "Leave them out, or use a model of more slices.",
        )
    if not (grid_slices.any() or grid_frames.any()):
        raise CardioDiTError(
            "Nothing is missing in this cine.",
            "Say which slices or frames to fill; slices that the model's grid has beyond the stack are filled anyway.",
        )
    warnings = plan.warnings
    beyond = np.flatnonzero(slices & ~placed.covered_slices()).tolist() if on_source and slices.any() else []
    if beyond:
        warnings += (f"Beyond the grid of the model, and interpolated: slices {', '.join(map(str, beyond))}.",)
    results = []
    with told_when_out_of_memory(MEMORY_HINT):
        latents = completer.encode(placed.array)
        known = known_of(latents, grid_slices, grid_frames)
        if not bool(known.any()):
            raise CardioDiTError(
                "Too little of this heart was recorded to complete it.",
                f"Leave some slices, and {len(placed.array) // latents.shape[-1]} or more neighbouring frames of "
                f"{len(placed.array)}.",
            )
        for index in range(count):
            found = completer.sample(
                latents,
                plan,
                seed=seed,
                index=index,
                strengths=(start, *jumps_back),
                known=known,
                progress=shared(progress, index, count),
                stop=stop.check,
            )
            made = completer.decode(found)
            generated = grid_slices[None] | grid_frames[:, None]
            whole = np.where(generated[:, :, None, None], made, placed.array)
            about = {
                "missing_slices": np.flatnonzero(slices).tolist(),
                "missing_frames": np.flatnonzero(frames).tolist(),
                "start": start,
                "jumps_back": list(jumps_back),
                "placement": placed.how,
                "grid": "source" if on_source else "model",
            }
            if on_source:
                generated = slices[None] | frames[:, None]
                array = np.where(generated[:, :, None, None], placed.on_source(whole, filled), cine.array)
                result = like(cine, array, cine.affine, cine.frame_times)
            else:
                one = on_grid(placed.transform.intensity.unscale(whole), placed.transform)
                result = like(cine, one.array, one.affine, one.frame_times)
            about["generated_slices"] = np.flatnonzero(generated.all(axis=0)).tolist()
            about["generated_frames"] = np.flatnonzero(generated.all(axis=1)).tolist()
            origin = origin_of(cine, completer, plan, seed, index, "completion", about)
            results.append(
                CompletionResult(
                    Cine(result.array, result.affine, result.frame_times, origin), generated, origin, warnings
                )
            )
    return results
