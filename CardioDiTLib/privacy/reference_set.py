"""Training embeddings as a file: what a bundle carries so that its cines can be compared with its training set.

Only the direction of an embedding is kept (Pearson's correlation needs neither scale nor offset), each number as one
of 255 steps. What can be inferred from it is described in ``docs/privacy.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.privacy.calibration import KINDS, Calibration, leave_one_out, validation_scores
from CardioDiTLib.privacy.embedding_set import (
    EmbeddingSet,
    check_dimensions,
    checked,
    embedding_hash,
    patient_numbers,
)
from CardioDiTLib.privacy.false_alarm import FALSE_ALARMS
from CardioDiTLib.privacy.nearest import DEFAULT_MEMORY_MB, Neighbours, directions, nearest_neighbours

_STEPS = 127
_TENSORS = {"codes": np.int8, "patients": np.int32, "scores": np.float32, "weights": np.float32, "meta": np.uint8}
_VERSION = 3  # 1: cines in one pose; 2: the beat included changes of brightness, so that scores are not comparable
_AGAIN = "Get the bundle again."


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Quantised embeddings of a training set and how near real, novel patients come to it.

    Attributes:
        codes: (n, d) int8, the direction of each training embedding.
        patients: (n,) int32, number of the patient of each.
        calibration: Scores of novel patients against `codes`.
        n_validation: Embeddings of real patients outside of the training set that calibrated it; 0 for "leave-one-out".
        encoder_sha256: Of the encoder that made the embeddings; empty where it is not known.
    """

    codes: NDArray[np.int8]
    patients: NDArray[np.int32]
    calibration: Calibration
    n_validation: int
    encoder_sha256: str = ""

    @classmethod
    def build(
        cls,
        train: EmbeddingSet,
        validation: EmbeddingSet | None = None,
        *,
        leak_correlation: float = 0.999,
        memory_mb: float = DEFAULT_MEMORY_MB,
    ) -> ReferenceSet:
        """Quantise a training set and calibrate it.

        Args:
            train: Embeddings of the training set.
            validation: Embeddings of other real patients; without them the training patients calibrate, each against
                all others.
            leak_correlation: Validation embeddings as near as this to a training one, or of a training patient, are
                left out.
            memory_mb: For the blocks of similarities.

        Raises:
            CardioDiTError: The sets do not fit, or nothing is left to calibrate with.
        """
        check_dimensions(training=train, validation=validation)
        rows = directions(train.values)
        codes = np.rint(rows / np.abs(rows).max(axis=1, keepdims=True) * _STEPS).astype(np.int8)
        stored = codes.astype(np.float32)
        if validation is None:
            (patients,) = patient_numbers(train)
            scores, owners, _ = leave_one_out(train, patients, leak_correlation, memory_mb, references=stored)
            calibration, count = Calibration.of(scores, owners, "leave-one-out"), 0
        else:
            patients, others = patient_numbers(train, validation)
            scores, owners, _ = validation_scores(
                stored, validation, patients, others, leak_correlation, memory_mb=memory_mb
            )
            calibration, count = Calibration.of(scores, owners), len(scores)
        _, numbered = np.unique(patients, return_inverse=True)
        return cls(codes, numbered.astype(np.int32), calibration, count, train.encoder_sha256 or _sha_of(validation))

    @property
    def n_train(self) -> int:
        """Training embeddings."""
        return len(self.codes)

    @property
    def n_patients(self) -> int:
        """Training patients."""
        return len(np.unique(self.patients))

    @property
    def dimension(self) -> int:
        """Numbers of an embedding."""
        return int(self.codes.shape[1])

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(n, d) the embeddings, up to scale and offset."""
        return self.codes.astype(np.float32)

    def embedding_set(self) -> EmbeddingSet:
        """The embeddings as a set that can be audited."""
        return checked(
            self.values, "training", [str(number) for number in self.patients], encoder_sha256=self.encoder_sha256
        )

    def score(self, embeddings: NDArray[np.float32]) -> Neighbours:
        """The nearest training embedding of each of some (n, d) embeddings."""
        return nearest_neighbours(embeddings, self.values)

    def hash_of(self, index: int) -> str:
        """Short name of a training embedding, that of what is stored."""
        return embedding_hash(self.values[index])

    def thresholds(self) -> dict[str, float | None]:
        """Threshold for each of :data:`FALSE_ALARMS`; None where there were too few patients for it."""
        found = {f"{rate:g}": self.calibration.threshold(rate) for rate in FALSE_ALARMS}
        return {rate: value if np.isfinite(value) else None for rate, value in found.items()}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the set as a safetensors file; the same set gives the same bytes.

        Raises:
            CardioDiTError: The file cannot be written.
        """
        facts = f"{_VERSION};{self.calibration.kind};{self.n_validation};{self.encoder_sha256}"
        tensors: dict[str, NDArray[Any]] = {
            "codes": self.codes,
            "patients": self.patients,
            "scores": self.calibration.scores.astype(np.float32),
            "weights": self.calibration.weights.astype(np.float32),
            "meta": np.frombuffer(facts.encode("ascii"), np.uint8),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReferenceSet:
        """Read what :meth:`save` wrote.

        Raises:
            CardioDiTError: The file is absent, damaged, or of another version.
        """
        name = Path(path).name
        if not Path(path).is_file():
            raise CardioDiTError(f"There is no file '{name}'.", _AGAIN)
        try:
            tensors = load_file(path)
            if set(tensors) != set(_TENSORS) or any(tensors[key].dtype != kind for key, kind in _TENSORS.items()):
                raise ValueError("other tensors")
            version, kind, count, encoder = tensors["meta"].tobytes().decode("ascii").split(";")
            if int(version) != _VERSION:
                raise CardioDiTError(f"'{name}' has version {version}, this library reads {_VERSION}.", _AGAIN)
            codes, patients = tensors["codes"], tensors["patients"]
            scores, weights = tensors["scores"].astype(np.float64), tensors["weights"].astype(np.float64)
            fits = codes.ndim == 2 and patients.shape == (len(codes),) and kind in KINDS
            if not fits or not np.isfinite(scores).all() or not (np.isfinite(weights) & (weights > 0)).all():
                raise ValueError("other shapes")
            return cls(codes, patients, Calibration(scores, weights, kind), int(count), encoder)
        except (OSError, ValueError, SafetensorError) as error:
            raise CardioDiTError(f"'{name}' is damaged or no set of training embeddings.", _AGAIN) from error


def _sha_of(one: EmbeddingSet | None) -> str:
    return "" if one is None else one.encoder_sha256
