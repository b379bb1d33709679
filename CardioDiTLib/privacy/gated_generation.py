"""Generation with a gate: what lies too near to a training patient is drawn again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.gate import Verdict

DEFAULT_REDRAWS = 20
"""How often a cine is drawn again before giving up."""

_SEEDS = 2**63


class Judge(Protocol):
    """What judges; :class:`~CardioDiTLib.privacy.gate.Gate` is one."""

    def judge(self, cine: Cine) -> Verdict:
        """The verdict on a cine."""


@dataclass(frozen=True, eq=False)
class GatedGeneration:
    """Cines that passed a gate.

    Attributes:
        results: One `GenerationResult` a sample, in order, marked with its audit.
        drawn: How many cines were drawn for them.
        rejected: How many of these did not pass.
    """

    results: list[Any]
    drawn: int
    rejected: int


def generate_gated(
    generate: Callable[[Any], list[Any]],
    request: Any,
    gate: Judge,
    *,
    redraws: int = DEFAULT_REDRAWS,
    judged: Callable[[int, int, Verdict], None] | None = None,
) -> GatedGeneration:
    """Generate the cines of a request, drawing those again that do not pass.

    Sample i is drawn with the seed of the request first; the seed of its j-th redraw is derived from that seed and j
    alone, and its number stays i. So the same request and gate give the same bytes, each kept cine can be made again
    without the gate from the seed and index in its provenance, and what happens to one sample changes no other.

    The provenance and the meta of a kept cine get an entry ``audit`` (:meth:`Verdict.to_dict` with ``requested_seed``
    and ``drawn``, how often this sample was drawn).

    Args:
        generate: Takes a `GenerationRequest` and gives its results, such as ``generator.generate``.
        request: The request.
        gate: Judges each cine.
        redraws: How often one sample may be drawn again.
        judged: Told after every verdict: sample (from 0), attempt (from 0), verdict.

    Returns:
        The cines and how many were drawn.

    Raises:
        CardioDiTError: A sample did not pass in all its draws; nothing is returned.
    """
    if redraws < 0:
        raise CardioDiTError(f"{redraws} redraws are not possible.", "Give a number from 0 on.")
    results = list(generate(request))
    drawn = len(results)
    kept: list[Any] = []
    for place, first in enumerate(results):
        result, attempt = first, 0
        while True:
            verdict = gate.judge(result.cine)
            if judged is not None:
                judged(place, attempt, verdict)
            if verdict.passed:
                break
            if attempt == redraws:
                raise CardioDiTError(
                    f"Sample {place} lay too near to a training patient in all of its {redraws + 1} draws.",
                    "Use another seed or pathology, allow more redraws, or ask for a lower false-alarm rate.",
                )
            attempt += 1
            (result,) = generate(_again(request, place, attempt))
            drawn += 1
        kept.append(_marked(result, verdict, request.seed, attempt + 1))
    return GatedGeneration(kept, drawn, drawn - len(kept))


def redraw_seed(seed: int, attempt: int) -> int:
    """Seed of a redraw: any whole number from 0 to 2^63 - 1 that only `seed` and `attempt` decide."""
    digest = hashlib.sha256(f"cardiodit gate {seed} {attempt}".encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS


def _again(request: Any, place: int, attempt: int) -> Any:
    pathology = request.pathology[place] if isinstance(request.pathology, tuple) else request.pathology
    return replace(
        request,
        count=1,
        first_index=request.first_index + place,
        seed=redraw_seed(request.seed, attempt),
        pathology=pathology,
    )


def _marked(result: Any, verdict: Verdict, seed: int, drawn: int) -> Any:
    audit = {**verdict.to_dict(), "requested_seed": seed, "drawn": drawn}
    cine = replace(result.cine, meta={**result.cine.meta, "audit": audit})
    return replace(result, cine=cine, provenance={**result.provenance, "audit": audit})
