"""A gate before each generated cine: does it lie nearer to a training patient than novel patients do?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.privacy_spec import PrivacySpec
from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.calibration import LEAK_CORRELATION, patients_needed
from CardioDiTLib.privacy.embedding_set import checked
from CardioDiTLib.privacy.inputs import Encoder, embedded
from CardioDiTLib.privacy.reference_set import ReferenceSet


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
        """What a cine carries with it; not to whom it is nearest, for that would point at a patient."""
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

    def __init__(self, reference: ReferenceSet, encoder: Encoder | None = None, false_alarm: float = 0.05) -> None:
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
    def from_bundle(cls, bundle: Bundle, false_alarm: float = 0.05) -> Gate:
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
            if self.encoder is None:
                raise CardioDiTError("This gate has no encoder and judges embeddings alone.", "Give an embedding.")
            one = embedded(self.encoder, [cine], "given")
        else:
            table = np.asarray(cine)
            one = checked(table[None] if table.ndim == 1 else table, "given")
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
