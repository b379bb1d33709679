"""The parts of a bundle's manifest: plain values, checked when they are made, read and written as JSON objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import check_file_name
from CardioDiTLib.schema import _REPAIR, ManifestPart, check_texts, is_count, is_number

_LARGEST_KERNEL = 31


@dataclass(frozen=True)
class Licence(ManifestPart):
    """Terms under which weights may be used.

    Args:
        name: Short name, such as "CC BY-NC-SA 4.0".
        conditions: What it asks for, in plain sentences.
        needs_acceptance: True where a user has to agree before the first use.
    """

    title: ClassVar[str] = "licence"

    name: str
    conditions: str
    needs_acceptance: bool = False

    def __post_init__(self) -> None:
        check_texts(self, self.title, "name", "conditions")
        if not isinstance(self.needs_acceptance, bool):
            raise CardioDiTError(
                f"'needs_acceptance' in a licence is {self.needs_acceptance!r}, not true or false.", _REPAIR
            )


@dataclass(frozen=True)
class TrainingData(ManifestPart):
    """What a model was trained on, and how.

    Args:
        data_source: Data set, number of patients, citation.
        motion: Where the motion between frames comes from (acquired, or made, and how).
        machine: On what it was trained.
        duration: For how long.
    """

    title: ClassVar[str] = "training data"

    data_source: str
    motion: str = ""
    machine: str = ""
    duration: str = ""

    def __post_init__(self) -> None:
        check_texts(self, self.title, "data_source", "motion", "machine", "duration")


@dataclass(frozen=True)
class NetworkSpec(ManifestPart):
    """A network and its weights.

    Args:
        class_name: "VQGAN", "DiT4D" or "CineRefiner"; JSON name "class".
        params: Arguments of its constructor.
        file: File with its weights, in the bundle's folder.
    """

    title: ClassVar[str] = "network"
    json_names: ClassVar[dict[str, str]] = {"class_name": "class"}

    class_name: str
    params: dict[str, Any]
    file: str

    def __post_init__(self) -> None:
        if self.class_name not in ("VQGAN", "DiT4D", "CineRefiner"):
            raise CardioDiTError(
                f"A bundle names the network {self.class_name!r}.", "This library knows VQGAN, DiT4D and CineRefiner."
            )
        if not isinstance(self.params, Mapping):
            raise CardioDiTError(f"The parameters of {self.class_name} in a bundle are not an object.", _REPAIR)
        check_file_name(self.file, self.title)
        object.__setattr__(self, "params", dict(self.params))


@dataclass(frozen=True)
class SteeredQuantity(ManifestPart):
    """A measured quantity that hearts can be asked to have.

    Args:
        name: As in a request, such as "edv_ml".
        meaning: For people, such as "end-diastolic volume".
        unit: "mL", "%", "g" or "".
        low, high: Range within which it was trained; outside, nothing is known, and a request is refused.
        usual_low, usual_high: Range in which most of the training cines lie; beyond it hearts are less sure.
    """

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    usual_low: float
    usual_high: float

    def __post_init__(self) -> None:
        check_texts(self, "quantity", "name", "meaning", "unit")
        ends = (self.low, self.usual_low, self.usual_high, self.high)
        if not all(map(is_number, ends)) or list(ends) != sorted(ends):
            raise CardioDiTError(f"The range of the quantity {self.name!r} in a bundle is not possible.", _REPAIR)


@dataclass(frozen=True)
class DetailSpec(ManifestPart):
    """The filter that decoded slices pass in the end (`models.detail_filter`).

    Args:
        kernel: Rows of an odd square kernel, symmetric, of sum 1.
        cap: Largest amplification that it was fitted with.
        period: Pixels after which the pattern that is taken away first repeats itself; 0 for none.
    """

    title: ClassVar[str] = "detail filter"

    kernel: tuple[tuple[float, ...], ...]
    cap: float
    period: int = 0

    def __post_init__(self) -> None:
        rows = self.kernel
        square = isinstance(rows, list | tuple) and all(
            isinstance(row, list | tuple) and len(row) == len(rows) and all(map(is_number, row)) for row in rows
        )
        if not square or len(rows) % 2 == 0 or len(rows) > _LARGEST_KERNEL or not is_number(self.cap):
            raise CardioDiTError(
                f"The detail filter of a bundle is not an odd square kernel of up to {_LARGEST_KERNEL} rows.", _REPAIR
            )
        if isinstance(self.period, bool) or self.period not in range(_LARGEST_KERNEL):
            raise CardioDiTError(f"The period of a bundle's detail filter is {self.period!r}.", _REPAIR)
        kernel = tuple(tuple(float(value) for value in row) for row in rows)
        symmetric = all(abs(kernel[i][j] - kernel[j][i]) < 1e-6 for i in range(len(rows)) for j in range(i))
        if not symmetric or abs(sum(map(sum, kernel)) - 1) > 1e-3:
            raise CardioDiTError("The detail filter of a bundle is not symmetric, or its sum is not 1.", _REPAIR)
        object.__setattr__(self, "kernel", kernel)


@dataclass(frozen=True)
class LatentSpec(ManifestPart):
    """How latents of the codec become what the transformer sees; either ``file`` or ``scale_factor`` is given.

    Args:
        channels: C.
        quantised: The nearest codes are taken before decoding.
        modes: ``file`` holds the statistics of the modes in time.
        file: File with the tensors ``mean`` and ``std`` (see `models.latent_scale.LatentScale`).
        patch: (pz, ph, pw, pt) of the tensor ``basis`` in the file; None without one.
        scale_factor: The published convention: latents times this number.
    """

    title: ClassVar[str] = "latents"

    channels: int
    quantised: bool = True
    modes: bool = False
    file: str | None = None
    scale_factor: float | None = None
    patch: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.patch is not None:
            if not isinstance(self.patch, list | tuple) or len(self.patch) != 4 or not all(map(is_count, self.patch)):
                raise CardioDiTError(f"The latent patch of a bundle is {self.patch!r}, not four numbers.", _REPAIR)
            object.__setattr__(self, "patch", tuple(self.patch))
        if not is_count(self.channels):
            raise CardioDiTError(f"The latents of a bundle have {self.channels!r} channels.", _REPAIR)
        for name in ("quantised", "modes"):
            if not isinstance(getattr(self, name), bool):
                raise CardioDiTError(f"'{name}' in the latents of a bundle is not true or false.", _REPAIR)
        if (self.file is None) == (self.scale_factor is None):
            raise CardioDiTError(
                "The latents of a bundle need either a file with their statistics or one scale factor.", _REPAIR
            )
        if self.file is not None:
            check_file_name(self.file, self.title)
        elif not is_number(self.scale_factor) or self.scale_factor <= 0 or self.modes:  # type: ignore[operator]
            raise CardioDiTError(
                f"The scale factor {self.scale_factor!r} of a bundle's latents has to be positive, and without modes.",
                _REPAIR,
            )


@dataclass(frozen=True)
class Preset(ManifestPart):
    """Settings of the sampler under one name.

    Args:
        steps: How often the network is asked.
        sampler: A name from `diffusion.SAMPLERS`.
        guidance: Strength of guidance where a pathology is asked for; 1 is none.
    """

    title: ClassVar[str] = "preset"

    steps: int
    sampler: str = "dpmpp_2m"
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not is_count(self.steps) or not is_number(self.guidance):
            raise CardioDiTError(
                f"A preset of a bundle has {self.steps!r} steps and guidance {self.guidance!r}.", _REPAIR
            )
        check_texts(self, self.title, "sampler")


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
