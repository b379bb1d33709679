"""What a bundle carries to hold its cines against its training set: the optional part ``privacy`` of the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from CardioDiTLib.bundles.manifest_parts import ManifestPart, check_file_name, is_count, is_number
from CardioDiTLib.errors import CardioDiTError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPAIR = "Correct bundle.json, or get the bundle again."


@dataclass(frozen=True)
class PrivacySpec(ManifestPart):
    """Files and facts for an audit without the training cines.

    Args:
        reference_file: Quantised embeddings of the training set and their calibration.
        encoder_files: Files of the encoder that made them, as they lie in a folder of an encoder; none where it is the
            one that comes with the software, known by its fingerprint.
        encoder_sha256: Fingerprint that the encoder says of itself.
        n_train: Training embeddings.
        n_validation: Embeddings of other real patients that calibrated them; 0 where the training patients did.
        dimension: Numbers of an embedding.
        calibration: "validation" or "leave-one-out".
        thresholds: Similarity from which a cine is called a copy, by false-alarm rate; None where too few patients
            calibrated it. For people: software takes them from the file.
    """

    title: ClassVar[str] = "privacy section"

    reference_file: str
    encoder_files: tuple[str, ...]
    encoder_sha256: str
    n_train: int
    n_validation: int
    dimension: int
    calibration: str
    thresholds: dict[str, float | None]

    def __post_init__(self) -> None:
        if not isinstance(self.encoder_files, list | tuple):
            raise CardioDiTError("The privacy section of a bundle has no list of an encoder's files.", _REPAIR)
        object.__setattr__(self, "encoder_files", tuple(self.encoder_files))
        for name in self.files:
            check_file_name(name, self.title)
        if not isinstance(self.encoder_sha256, str) or not _SHA256.fullmatch(self.encoder_sha256):
            raise CardioDiTError("The encoder of a bundle's privacy section has no SHA-256.", _REPAIR)
        counts_fit = is_count(self.n_train) and is_count(self.dimension)
        if not counts_fit or not (self.n_validation == 0 or is_count(self.n_validation)):
            raise CardioDiTError("The privacy section of a bundle has counts that are no whole numbers.", _REPAIR)
        if self.calibration not in ("validation", "leave-one-out"):
            raise CardioDiTError(f"A bundle's privacy section is calibrated by {self.calibration!r}.", _REPAIR)
        if not isinstance(self.thresholds, Mapping) or not all(_fits(value) for value in self.thresholds.values()):
            raise CardioDiTError("The thresholds in the privacy section of a bundle are no numbers.", _REPAIR)
        object.__setattr__(self, "thresholds", dict(self.thresholds))

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the section needs."""
        return (self.reference_file, *self.encoder_files)


def _fits(value: Any) -> bool:
    return value is None or is_number(value)
