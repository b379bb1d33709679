"""Variations of a cine: noised some of the way, and made clean again."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from CardioDiTLib.bundles.bundle import Bundle, load_bundle
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.completion.common import MEMORY_HINT, like, plan_of, shared
from CardioDiTLib.completion.completer import Completer
from CardioDiTLib.completion.origin import origin_of
from CardioDiTLib.completion.placement import place
from CardioDiTLib.completion.result import CompletionResult
from CardioDiTLib.completion.strength import check_strength
from CardioDiTLib.data.preprocess import on_grid
from CardioDiTLib.device import told_when_out_of_memory
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import DEFAULT_BUNDLE
from CardioDiTLib.privacy.embedding_io import embedded
from CardioDiTLib.privacy.gate import Gate
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.progress import StepCallback as Progress
from CardioDiTLib.segmentation.segment import Weights


def vary(
    cine: Cine,
    *,
    strength: float = 0.5,
    count: int = 1,
    seed: int = 0,
    bundle: Completer | str | os.PathLike[str] = DEFAULT_BUNDLE,
    segmentation: Segmentation | None = None,
    weights: Weights = None,
    pathology: str | None = None,
    guidance: float | None = None,
    preset: str = "standard",
    steps: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    cancel: CancelSource = None,
    **quantities: Any,
) -> list[CompletionResult]:
    """Variations of a cine (SDEdit, Meng et al., ICLR 2022), on the bundle's grid at the place of the heart.

    A variation of a patient's cine is not anonymous synthetic data: its meta says so. Where the bundle carries an
    encoder and its training embeddings, the meta also has the gate's verdict (entry ``audit``) and the similarity with
    the source (``similarity_to_source``).

    Args:
        cine: A short-axis cine, real or synthetic.
        strength: 0 only codes and decodes the cine, 1 keeps nothing of it; even in log-SNR between.
        count: How many.
        seed: The same seed gives the same variations.
        pathology: Class to vary towards, or None.
        bundle, segmentation, weights, guidance, preset, steps, device, precision, progress, cancel, quantities: As in
            `complete`.

    Returns:
        One result a variation.

    Raises:
        CardioDiTError: The strength is impossible, no heart is found, or the bundle cannot.
        Cancelled: `cancel` said so.
    """
    check_strength(strength)
    completer = bundle if isinstance(bundle, Completer) else Completer(load_bundle(bundle), device, precision)
    plan = plan_of(
        completer, seed, count, pathology=pathology, guidance=guidance, preset=preset, steps=steps, **quantities
    )
    stop = Stop(cancel)
    stop.check()
    placed = place(cine, completer.bundle.manifest, segmentation, weights)
    gate, unjudged = _gate(completer.bundle)
    results = []
    with told_when_out_of_memory(MEMORY_HINT):
        latents = completer.encode(placed.array)
        for index in range(count):
            found = completer.sample(
                latents,
                plan,
                seed=seed,
                index=index,
                strengths=(float(strength),),
                progress=shared(progress, index, count),
                stop=stop.check,
            )
            one = on_grid(placed.transform.intensity.unscale(completer.decode(found)), placed.transform)
            made = like(cine, one.array, one.affine, one.frame_times)
            about: dict[str, Any] = {"strength": float(strength), "placement": placed.how}
            origin = origin_of(cine, completer, plan, seed, index, "variation", about)
            warnings = plan.warnings
            if gate is None:
                origin["audit_note"] = unjudged
                warnings = (*warnings, unjudged)
            else:
                origin["audit"] = gate.judge(made).to_dict()
                source = Cine(placed.transform.intensity.unscale(placed.array), made.affine, made.frame_times)
                about["similarity_to_source"] = _similarity(gate, made, source)
                if not origin["audit"]["passed"]:
                    warnings = (
                        *warnings,
                        "A variation lies nearer to a training patient of the model than novel patients do.",
                    )
            whole = Cine(made.array, made.affine, made.frame_times, origin)
            results.append(CompletionResult(whole, np.ones(whole.shape[:2], bool), origin, warnings))
    return results


def _gate(bundle: Bundle) -> tuple[Gate | None, str]:
    """The gate that a bundle carries, or why there is none."""
    if bundle.manifest.privacy is None:
        return None, f"Not held against the training patients: '{bundle.manifest.name}' carries no embeddings of them."
    try:
        return Gate.from_bundle(bundle), ""
    except CardioDiTError as error:
        return None, f"Not held against the training patients: {error.message}"


def _similarity(gate: Gate, made: Cine, source: Cine) -> float:
    """Correlation of the embeddings of two cines, -1 to 1, in the pose in which they are most alike, as in the gate."""
    assert gate.encoder is not None  # gates of bundles have one
    found = embedded(gate.encoder, [made], "made").nearest(gate.encoder.embed([source]))
    return round(float(found.similarity[0, 0]), 4)
