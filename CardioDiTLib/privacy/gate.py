"""A gate before each generated cine: does it lie nearer to a training patient than novel patients do?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.manifest_parts import PrivacySpec
from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.calibration import LEAK_CORRELATION, patients_needed
from CardioDiTLib.privacy.embedding_io import Encoder, embedded
from CardioDiTLib.privacy.embedding_set import EmbeddingSet, checked
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM
from CardioDiTLib.privacy.reference_set import ReferenceSet

DEFAULT_REDRAWS = 20
"""How often a cine is drawn again before giving up."""

_SEEDS = 2**63


@dataclass(frozen=True)
class Verdict:
    """What a gate says about a cine.

    Attributes:
        score: Similarity with the nearest training embedding.
        threshold: Similarity above which a cine does not pass.
        false_alarm: Share of novel patients who would not pass.
        p_value: Probability that a novel patient comes as near.
        passed: Whether the cine passes.
        nearest_index: Number of the nearest training embedding.
        nearest_hash: Its short name.
        encoder_sha256: Of the encoder.
    """

    score: float
    threshold: float
    false_alarm: float
    p_value: float
    passed: bool
    nearest_index: int
    nearest_hash: str
    encoder_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Entries for the cine's provenance; the nearest training cine is left out, as it would identify a patient."""
        return {
            "passed": self.passed,
            # with fewer digits, so that the last bits of a product decide nothing that is written
            "score": round(self.score, 5),
            "threshold": round(self.threshold, 5),
            "false_alarm": self.false_alarm,
            "p_value": round(self.p_value, 6),
            "encoder_sha256": self.encoder_sha256,
        }


class Gate:
    """Judges cines against a training set.

    Args:
        reference: Training embeddings and calibration.
        encoder: The encoder that made them; None where only embeddings are judged.
        false_alarm: Share of novel patients who may be refused.

    Raises:
        CardioDiTError: Too few patients calibrate the rate, or another encoder made the embeddings.

    Examples:
        >>> gate = Gate.from_bundle(load_bundle("acdc-mini"))  # doctest: +SKIP
        >>> gate.judge(cine).passed  # doctest: +SKIP
        True
    """

    def __init__(
        self, reference: ReferenceSet, encoder: Encoder | None = None, false_alarm: float = FALSE_ALARM
    ) -> None:
        self.reference = reference
        self.encoder = encoder
        self.false_alarm = false_alarm
        self.threshold = reference.calibration.threshold(false_alarm)
        if not math.isfinite(self.threshold):
            kind = reference.calibration.kind
            raise CardioDiTError(
                f"{reference.calibration.n_patients} real patients calibrate this gate, too few for a false-alarm rate "
                f"of {false_alarm:g}.",
                f"Ask for a higher rate; this one needs {patients_needed(false_alarm, kind)} patients.",
            )
        if encoder is not None and reference.encoder_sha256 and encoder.sha256 != reference.encoder_sha256:
            raise CardioDiTError(
                "The training embeddings were made by another encoder than the one of this gate.",
                "Use the encoder that belongs to them.",
            )

    @classmethod
    def from_bundle(cls, bundle: Bundle, false_alarm: float = FALSE_ALARM) -> Gate:
        """The gate that a bundle carries.

        Raises:
            CardioDiTError: It carries none, a file of it was changed, or too few patients calibrate the rate.
        """
        return cls(load_reference(bundle), load_encoder_of(bundle), false_alarm)

    def judge(self, cine: Cine | NDArray[Any]) -> Verdict:
        """Judge a cine, or its embedding (d,).

        Raises:
            CardioDiTError: A cine without an encoder, or an embedding that cannot be compared.
        """
        if isinstance(cine, Cine):
            one = self.embedded(cine)
        else:
            table = np.asarray(cine)
            one = checked(table[None] if table.ndim == 1 else table, "given")
        return self.judge_embedded(one)

    def embedded(self, cine: Cine) -> EmbeddingSet:
        """What the encoder makes of a cine, in the poses in which it most looks like a training cine.

        Raises:
            CardioDiTError: There is no encoder, or the cine cannot be embedded.
        """
        if self.encoder is None:
            raise CardioDiTError("This gate has no encoder and judges embeddings alone.", "Give an embedding.")
        return embedded(self.encoder, [cine], "given", references=self.reference.values)

    def judge_embedded(self, one: EmbeddingSet) -> Verdict:
        """Judge what the encoder made of a cine (`embedded`).

        Raises:
            CardioDiTError: An embedding that cannot be compared, or several.
        """
        if one.values.shape != (1, self.reference.dimension):
            raise CardioDiTError(
                f"This gate judges one embedding of {self.reference.dimension} numbers, not {one.values.shape}.",
                "Use the encoder that belongs to it, and give one at a time.",
            )
        found = one.nearest(self.reference.values)
        score, index = float(found.similarity[0, 0]), int(found.index[0, 0])
        return Verdict(
            score,
            self.threshold,
            self.false_alarm,
            float(self.reference.calibration.p_values(found.similarity[0])[0]),
            not (score > self.threshold or (score >= LEAK_CORRELATION and not self.reference.calibration.blind)),
            index,
            self.reference.hash_of(index),
            self.reference.encoder_sha256,
        )


def require_privacy(bundle: Bundle) -> PrivacySpec:
    """The privacy section of a bundle.

    Raises:
        CardioDiTError: There is none.
    """
    spec = bundle.manifest.privacy
    if spec is None:
        raise CardioDiTError(
            f"The bundle '{bundle.manifest.name}' carries no training embeddings, so its cines cannot be held against "
            "its training set.",
            "Generate without the gate, or attach them with 'cardiodit audit --attach'.",
        )
    return spec


def load_encoder_of(bundle: Bundle) -> Encoder:
    """The encoder that a bundle carries, or names as the one that comes with the software.

    Raises:
        CardioDiTError: It carries none, or a file of it was changed.
    """
    spec = require_privacy(bundle)
    for name in spec.encoder_files:
        bundle.checked_file(name)
    from CardioDiTLib.privacy.encoder import load_encoder

    encoder = load_encoder(bundle.folder if spec.encoder_files else None)
    if encoder.sha256 != spec.encoder_sha256 and not spec.encoder_files:
        raise CardioDiTError(
            f"The training embeddings of '{bundle.manifest.name}' were made by another encoder than the one that comes "
            "with this version.",
            "Get the bundle of this version, or attach its embeddings again.",
        )
    if encoder.sha256 != spec.encoder_sha256:
        raise CardioDiTError(
            f"The encoder in the bundle '{bundle.manifest.name}' is not the one that its manifest names.",
            "Get the bundle again.",
        )
    return encoder


def load_reference(bundle: Bundle) -> ReferenceSet:
    """The training embeddings that a bundle carries.

    Raises:
        CardioDiTError: It carries none, the file was changed, or contradicts the manifest.
    """
    spec = require_privacy(bundle)
    reference = ReferenceSet.load(bundle.checked_file(spec.reference_file))
    said = (spec.n_train, spec.dimension, spec.encoder_sha256)
    if said != (reference.n_train, reference.dimension, reference.encoder_sha256):
        raise CardioDiTError(
            f"The training embeddings in the bundle '{bundle.manifest.name}' are not those of its manifest.",
            "Get the bundle again.",
        )
    return reference


class Refused(CardioDiTError):
    """All draws of a cine lay too near to a training patient: what a gate is for, and no fault of the machine."""


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
        Refused: A sample did not pass in all its draws; nothing is returned.
        CardioDiTError: The number of redraws is not possible.
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
                number = request.first_index + place
                raise Refused(
                    f"Sample {number} lay too near to a training patient in all of its {redraws + 1} draws.",
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
    return replace(request.part(place, 1), seed=redraw_seed(request.seed, attempt))


def _marked(result: Any, verdict: Verdict, seed: int, drawn: int) -> Any:
    audit = {**verdict.to_dict(), "requested_seed": seed, "drawn": drawn}
    cine = replace(result.cine, meta={**result.cine.meta, "audit": audit})
    return replace(result, cine=cine, provenance={**result.provenance, "audit": audit})
