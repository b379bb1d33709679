"""What an audit for memorization found."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from CardioDiTLib.privacy.calibration import Leakage
from CardioDiTLib.privacy.dar_rule import DarResult, SizeMatched
from CardioDiTLib.schema import Record
from CardioDiTLib.version import __version__

_HINT = "Give the JSON that 'cardiodit audit' wrote."

VERDICTS: dict[VerdictWord, str] = {
    "copies": "Copies of training patients were found.",
    "none found": "No more synthetic cines are near to training patients than novel patients would be.",
    "undecided": "There are too few real patients to say what is near.",
}
"""Verdicts of an audit, and what they mean."""

FEW_SHARE = 0.3
"""Where a larger share of copies could go unnoticed, an audit says first that it has too few cines to tell."""


@dataclass(frozen=True)
class Share(Record):
    """A count and what it is a share of.

    Attributes:
        count: How many.
        of: Of how many.
        low: Lower end of the 95 % interval of the share.
        high: Upper end.
        expected: The share that chance alone would make; for memorized patients the most it would.
    """

    record_name: ClassVar[str] = "share of an audit"
    record_hint: ClassVar[str] = _HINT
    derived: ClassVar[tuple[str, ...]] = ("fraction",)

    count: int
    of: int
    low: float
    high: float
    expected: float

    @property
    def fraction(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.of


@dataclass(frozen=True)
class SampleVerdict(Record):
    """What was found about one synthetic cine.

    Attributes:
        index: Its number.
        hash: Short name of its embedding.
        score: Similarity with the nearest training embedding.
        p_value: Probability that a novel patient comes as near.
        copy: Whether that is at most the false-alarm rate.
        nearest_index: Number of the nearest training embedding.
        nearest_hash: Its short name.
        name: Name of the synthetic cine; empty unless names were asked for.
        nearest_name: Name of the nearest training cine; empty unless names were asked for.
    """

    record_name: ClassVar[str] = "synthetic cine of an audit"
    record_hint: ClassVar[str] = _HINT
    omitted_when_empty: ClassVar[tuple[str, ...]] = ("name", "nearest_name")

    index: int
    hash: str
    score: float
    p_value: float
    copy: bool
    nearest_index: int
    nearest_hash: str
    name: str = ""
    nearest_name: str = ""


@dataclass(frozen=True)
class CountTest(Record):
    """Are there more copies than chance makes?

    Attributes:
        p_value: Probability of as many samples above the threshold where nothing is a copy, chance in the threshold
            included.
        p_value_fixed_threshold: The same with a threshold that is exact (plain binomial); smaller than is right.
        copies_upper_bound: 95 % upper bound of the share of cines, of all that this generator could make, that lie
            above the threshold.
        excess: Share of copies beyond those that chance makes, at least 0.
        n_sure: Samples that are copies but for a probability of 5 % that any of them is none (Holm).
        n_discoveries: Samples to call copies with 5 % of them wrong on average (Benjamini and Hochberg).
        detectable_share: Smallest share of copies that the test finds with a probability of 80 %, were each of them
            above the threshold.
    """

    record_name: ClassVar[str] = "test of the count"
    record_hint: ClassVar[str] = _HINT

    p_value: float
    p_value_fixed_threshold: float
    copies_upper_bound: float
    excess: float
    n_sure: int
    n_discoveries: int
    detectable_share: float


VerdictWord = Literal["copies", "none found", "undecided"]


@dataclass(frozen=True)
class AuditReport(Record):
    """An audit.

    Attributes:
        verdict: One of :data:`VERDICTS`.
        n_train: Training embeddings.
        n_train_patients: Their patients.
        n_validation: Embeddings of other real patients; 0 where there are none.
        n_validation_patients: Their patients.
        n_synthetic: Synthetic cines.
        dimension: Numbers of an embedding.
        false_alarm: Share of novel patients who would be called copies.
        calibration: "validation" or "leave-one-out": whose distance from the training set is taken for that of novel
            patients (see :class:`~CardioDiTLib.privacy.calibration.Calibration`).
        n_calibration: Patients who calibrate.
        smallest_p_value: Of any sample; more patients would allow smaller ones.
        threshold: Similarity above which a synthetic cine is called a copy; None where too few patients calibrate.
        copies: Synthetic cines that are copies, of all synthetic cines.
        memorized: Training patients to whom a copy is nearest, of all training patients.
        test: Whether the copies are more than chance makes.
        n_identical: Synthetic cines whose embedding is almost equal to a training one.
        n_duplicates: Synthetic cines whose embedding is almost equal to another synthetic one.
        n_train_duplicates: Training embeddings that are almost equal to one of another patient.
        leak: What training and validation set have in common.
        exchangeability_p: Of the hypothesis that validation patients lie as near to the training patients as these to
            each other (two-sided Kolmogorov-Smirnov); None without validation.
        published: What the published rule says; None without validation.
        published_null_memorized: Share of training samples that it would flag without memorization.
        published_null_copies: The same of the synthetic samples, as a share of these.
        equal_sizes: The published rule between sets of equal size; None without validation.
        scores_calibration: Quantiles (0, 1, ... 100 %) of the calibrating scores.
        samples: Each synthetic cine.
        encoder_sha256: Of the encoder; empty where it is not known.
        seed: Of the random subsets.
        notes: What the reader should know, one sentence each.
        version: Version of this software.
    """

    record_name: ClassVar[str] = "audit for memorization"
    record_hint: ClassVar[str] = _HINT
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit-memorization-audit-1")
    all_needed: ClassVar[bool] = True

    verdict: VerdictWord
    n_train: int
    n_train_patients: int
    n_validation: int
    n_validation_patients: int
    n_synthetic: int
    dimension: int
    false_alarm: float
    calibration: str
    n_calibration: int
    smallest_p_value: float
    threshold: float | None
    copies: Share
    memorized: Share
    test: CountTest
    n_identical: int
    n_duplicates: int
    n_train_duplicates: int
    leak: Leakage
    exchangeability_p: float | None
    published: DarResult | None
    published_null_memorized: float | None
    published_null_copies: float | None
    equal_sizes: SizeMatched | None
    scores_calibration: tuple[float, ...]
    samples: tuple[SampleVerdict, ...]
    encoder_sha256: str = ""
    seed: int = 0
    notes: tuple[str, ...] = ()
    version: str = __version__

    @property
    def enough_to_tell(self) -> bool:
        """Whether there are synthetic cines enough to notice a model that often copies (:data:`FEW_SHARE`)."""
        return self.test.detectable_share <= FEW_SHARE

    @property
    def sentence(self) -> str:
        """The verdict in words, with what could have been noticed where nothing was."""
        if self.verdict != "none found":
            return VERDICTS[self.verdict]
        least = self.test.detectable_share
        if not least < 1.0:
            noticed = "at best a model that makes nothing but copies would have been noticed"
        else:
            noticed = f"less than {100 * least:.0f} % of copies would probably have gone unnoticed"
        cines = f"{self.n_synthetic} synthetic cine{'' if self.n_synthetic == 1 else 's'}"
        if not self.enough_to_tell:
            return f"Too few to tell: with {cines}, {noticed}. None of this says that the model makes no copies."
        return f"{VERDICTS[self.verdict]} With {cines}, {noticed}."

    @property
    def copied(self) -> tuple[SampleVerdict, ...]:
        """Synthetic cines that are called copies, the nearest first."""
        return tuple(sorted((one for one in self.samples if one.copy), key=lambda one: -one.score))

    def summary(self) -> dict[str, Any]:
        """All but the single samples: what a bundle's manifest holds."""
        return {key: value for key, value in self.to_dict().items() if key not in ("samples", "scores_calibration")}

    def to_json(self, indent: int = 1) -> str:
        """The report as JSON."""
        return super().to_json(indent)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> AuditReport:
        """Read a report from a JSON file.

        Raises:
            CardioDiTError: The file is not there, not JSON, or no audit.
        """
        return cls.read(path)

    @property
    def shown_threshold(self) -> str:
        """The threshold as text."""
        return "none" if self.threshold is None or not math.isfinite(self.threshold) else f"{self.threshold:.4f}"
