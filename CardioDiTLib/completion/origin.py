"""Where a completed or varied cine comes from, as plain values."""

from __future__ import annotations

from typing import Any

from CardioDiTLib.cine import Cine
from CardioDiTLib.completion.completer import Completer
from CardioDiTLib.generation.plan import SamplingPlan
from CardioDiTLib.generation.provenance import provenance_of

_SOURCE_ENTRIES = ("model", "model_version", "model_sha256", "seed", "index", "pathology", "source_format", "licence")


def origin_of(
    cine: Cine, completer: Completer, plan: SamplingPlan, seed: int, index: int, kind: str, about: dict[str, Any]
) -> dict[str, Any]:
    """Provenance of a cine made from another.

    A cine made from a patient's is not called synthetic: it shows that patient.

    Args:
        cine: What it was made from.
        completer: What made it.
        plan: Settings of the sampler.
        seed, index: Of the sample.
        kind: "completion" or "variation".
        about: Further entries.
    """
    synthetic = bool(cine.meta.get("synthetic"))
    whose = "synthetic" if synthetic else "real"
    made = provenance_of(
        completer.bundle,
        plan,
        seed=seed,
        index=index,
        pathology=plan.pathologies[0],
        asked=plan.asked[0],
        device=completer.device.type,
        precision=completer.precision,
    )
    return {
        **made,
        "synthetic": synthetic,
        "kind": f"{kind} of a {whose} cine",
        kind: about,
        "source": {name: cine.meta[name] for name in _SOURCE_ENTRIES if name in cine.meta},
        "note": "Made from a synthetic cine."
        if synthetic
        else "Made from a patient's cine, and shows that patient: handle it as that patient's data.",
    }
