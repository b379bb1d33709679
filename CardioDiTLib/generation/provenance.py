"""Where a synthetic cine comes from, as plain values."""

from __future__ import annotations

from typing import Any

import torch

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.generation.plan import SamplingPlan
from CardioDiTLib.version import __version__


def provenance_of(
    bundle: Bundle,
    plan: SamplingPlan,
    *,
    seed: int,
    index: int,
    pathology: str | None,
    asked: dict[str, float],
    device: str,
    precision: str,
    grid: dict[str, int] | None = None,
    reshaped: bool = False,
    backend: dict[str, str] | None = None,
) -> dict[str, Any]:
    """What is needed to make the cine again; the same in every run.

    `grid` holds the slices and frames that were asked for, none where they are the model's own; the seconds of a beat
    are named where they are not the model's. `reshaped` says whether the sample is reshaped from its first draw
    (`reshaping`); `backend` names what ran the networks where it was not torch.
    """
    manifest = bundle.manifest
    return {
        "synthetic": True,
        "model": manifest.name,
        "model_version": manifest.version,
        "model_sha256": bundle.sha256,
        "licence": manifest.licence.to_dict(),
        "intended_use": manifest.intended_use,
        "seed": seed,
        "index": index,
        "pathology": pathology,
        **({"asked": asked, "adjust": plan.adjust} if asked else {}),
        **({"adjusted_by": "reshaping"} if reshaped else {}),
        **(grid or {}),
        **({} if plan.cycle_s == manifest.grid.cycle_s else {"cycle_s": plan.cycle_s}),
        "sampler": plan.sampler,
        "steps": plan.steps,
        "spacing": plan.spacing,
        "guidance": plan.guidance,
        "device": device,
        "precision": precision,
        **(backend or {}),
        "cardiodit_version": __version__,
        "torch_version": str(torch.__version__),
    }
