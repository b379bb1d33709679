"""What every model on disk says of itself, and the parts of a generator's manifest: checked when they are made, read
and written as JSON objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileName, FileRecord, Sha256
from CardioDiTLib.schema import Bounds, Count, Positive, Record, Words

ManifestT = TypeVar("ManifestT", bound="ModelManifest")

_LARGEST_KERNEL = 31


class ManifestPart(Record):
    """What all parts share."""

    record_hint: ClassVar[str] = "Correct the description of the model, or get it again."


@dataclass(frozen=True)
class Licence(ManifestPart):
    """Terms under which weights may be used.

    Args:
        name: Short name, such as "CC BY-NC-SA 4.0".
        conditions: What it asks for, in plain sentences.
        needs_acceptance: True where a user has to agree before the first use.
    """

    record_name: ClassVar[str] = "licence of a bundle"

    name: str
    conditions: str
    needs_acceptance: bool = False


@dataclass(frozen=True)
class TrainingData(ManifestPart):
    """What a model was trained on, and how.

    Args:
        data_source: Data set, number of patients, citation.
        motion: Where the motion between frames comes from (acquired, or made, and how).
        machine: On what it was trained.
        duration: For how long.
    """

    record_name: ClassVar[str] = "training data of a bundle"

    data_source: str
    motion: str = ""
    machine: str = ""
    duration: str = ""


class ModelManifest(Record, ABC):
    """What the manifests of all models share. It is no dataclass: each kind lists its fields in its own order.

    Class attributes:
        file_name: The file in a model's folder.
    """

    record_hint: ClassVar[str] = "Get the model's folder again."
    record_mark: ClassVar[tuple[str, int]] = ("schema_version", 1)
    file_name: ClassVar[str]

    name: str
    version: str
    licence: Licence
    training_data: TrainingData
    provenance: dict[str, Any]
    files: dict[FileName, FileRecord]

    @property
    @abstractmethod
    def needed_files(self) -> tuple[str, ...]:
        """Files that the model cannot do without, besides the manifest itself."""

    def with_files(self: ManifestT, files: Mapping[str, FileRecord]) -> ManifestT:
        """The same manifest with other fingerprints."""
        return replace(self, files=dict(files))  # type: ignore[type-var]  # every kind is a dataclass


@dataclass(frozen=True, kw_only=True)
class NetworkManifest(ModelManifest):
    """A model of one network; what it is for adds entries.

    Args:
        name: Its name.
        version: Its version.
        network: Settings of the network.
        licence: Terms of the weights.
        training_data: What it was trained on.
        quality: Measured numbers, such as {"ED": {"LV": 0.9}}; empty where nothing was measured.
        provenance: Plain facts, such as the number of training steps.
        files: Fingerprint of each file; filled when it is written.

    Class attributes:
        weights_name: File of the weights.

    Raises:
        CardioDiTError: A value is not possible.
    """

    all_needed: ClassVar[bool] = True
    weights_name: ClassVar[str] = "network.safetensors"

    name: Words
    version: Words
    network: Record
    licence: Licence
    training_data: TrainingData
    quality: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[FileName, FileRecord] = field(default_factory=dict)

    @property
    def needed_files(self) -> tuple[str, ...]:
        """The weights."""
        return (self.weights_name,)


@dataclass(frozen=True)
class NetworkSpec(ManifestPart):
    """A network and its weights.

    Args:
        class_name: "VQGAN", "DiT4D" or "CineRefiner"; JSON name "class".
        params: Arguments of its constructor.
        file: File with its weights, in the bundle's folder.
    """

    record_name: ClassVar[str] = "network of a bundle"
    json_names: ClassVar[dict[str, str]] = {"class_name": "class"}

    class_name: Literal["VQGAN", "DiT4D", "CineRefiner"]
    params: dict[str, Any]
    file: FileName


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

    record_name: ClassVar[str] = "steered quantity of a bundle"

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    usual_low: float
    usual_high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.usual_low <= self.usual_high <= self.high:
            raise CardioDiTError(
                f"The range of the quantity {self.name!r} in a bundle is not possible.", self.record_hint
            )


@dataclass(frozen=True)
class DetailSpec(ManifestPart):
    """The filter that decoded slices pass in the end (`models.detail_filter`).

    Args:
        kernel: Rows of an odd square kernel, symmetric, of sum 1.
        cap: Largest amplification that it was fitted with.
        period: Pixels after which the pattern that is taken away first repeats itself; 0 for none.
    """

    record_name: ClassVar[str] = "detail filter of a bundle"

    kernel: tuple[tuple[float, ...], ...]
    cap: float
    period: Annotated[int, Bounds(least=0, most=_LARGEST_KERNEL - 1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = self.kernel
        if len(rows) % 2 == 0 or len(rows) > _LARGEST_KERNEL or any(len(row) != len(rows) for row in rows):
            raise CardioDiTError(
                f"The detail filter of a bundle is not an odd square kernel of up to {_LARGEST_KERNEL} rows.",
                self.record_hint,
            )
        symmetric = all(abs(rows[i][j] - rows[j][i]) < 1e-6 for i in range(len(rows)) for j in range(i))
        if not symmetric or abs(sum(map(sum, rows)) - 1) > 1e-3:
            raise CardioDiTError(
                "The detail filter of a bundle is not symmetric, or its sum is not 1.", self.record_hint
            )


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

    record_name: ClassVar[str] = "latents of a bundle"

    channels: Count
    quantised: bool = True
    modes: bool = False
    file: FileName | None = None
    scale_factor: Positive | None = None
    patch: tuple[Count, Count, Count, Count] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.file is None) == (self.scale_factor is None):
            raise CardioDiTError(
                "The latents of a bundle need either a file with their statistics or one scale factor.",
                self.record_hint,
            )
        if self.scale_factor is not None and self.modes:
            raise CardioDiTError("One scale factor of a bundle's latents goes without modes.", self.record_hint)


@dataclass(frozen=True)
class Preset(ManifestPart):
    """Settings of the sampler under one name.

    Args:
        steps: How often the network is asked.
        sampler: A name from `diffusion.SAMPLERS`, or "few_steps" where the bundle has them.
        guidance: Strength of guidance where a pathology or a quantity is asked for; 1 is none.
    """

    record_name: ClassVar[str] = "preset of a bundle"

    steps: Count
    sampler: str = "dpmpp_2m"
    guidance: float = 1.0


PRESET_NAMES = ("draft", "standard", "high")
"""From fewest steps to most."""

_USUAL_STEPS = {"unsaid": (10, 25, 50), "trained": (12, 30, 60), "published": (15, 30, 100)}


def usual_presets(kind: str, most: int | None = None) -> dict[str, Preset]:
    """Presets of a bundle whose maker names none.

    Args:
        kind: "unsaid" for a manifest that lacks them, "trained" for a model trained here, "published" for one imported.
        most: Steps that the schedule has; None where it takes any number.
    """
    return {
        name: Preset(steps if most is None else min(steps, most))
        for name, steps in zip(PRESET_NAMES, _USUAL_STEPS[kind], strict=True)
    }


@dataclass(frozen=True)
class FewStepSpec(ManifestPart):
    """What lets the transformer draw a heart in a few steps: changes of its matrices, guidance folded in.

    Args:
        file: The changes (`models.low_rank`).
        guidance: Strength of the guidance that it was taught; it cannot be asked for another.
        ways: Log-SNR at which each step begins, one row for each number of steps that was trained.
    """

    record_name: ClassVar[str] = "few steps of a bundle"

    file: FileName
    guidance: float
    ways: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ways or any(not way or sorted(set(way)) != list(way) for way in self.ways):
            raise CardioDiTError("The few steps of a bundle do not go from noise to image.", self.record_hint)
        if len({len(way) for way in self.ways}) != len(self.ways):
            raise CardioDiTError("The few steps of a bundle have two ways of one length.", self.record_hint)

    def way(self, steps: int | None) -> tuple[float, ...] | None:
        """The way of so many steps, without a number the longest; None where none was trained."""
        if steps is None:
            return max(self.ways, key=len)
        return next((way for way in self.ways if len(way) == steps), None)


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

    record_name: ClassVar[str] = "privacy section of a bundle"

    reference_file: FileName
    encoder_files: tuple[FileName, ...]
    encoder_sha256: Sha256
    n_train: Count
    n_validation: Annotated[int, Bounds(least=0)]
    dimension: Count
    calibration: Literal["validation", "leave-one-out"]
    thresholds: dict[str, float | None]

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the section needs."""
        return (self.reference_file, *self.encoder_files)
