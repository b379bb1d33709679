"""The parts of a bundle's manifest: plain values, checked when they are made, read and written as JSON objects."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from CardioDiTLib.errors import CardioDiTError

PartT = TypeVar("PartT", bound="ManifestPart")

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPAIR = "Correct bundle.json, or get the bundle again."
_LARGEST_KERNEL = 31


class ManifestPart:
    """What all parts share: strict reading and plain writing.

    Field names are the JSON names, but for those in ``json_names`` (a Python keyword cannot be a field).
    """

    title: ClassVar[str] = "manifest"
    json_names: ClassVar[dict[str, str]] = {}

    @classmethod
    def from_dict(cls: type[PartT], values: Mapping[str, Any]) -> PartT:
        """Read what :meth:`to_dict` wrote.

        Raises:
            CardioDiTError: An entry is missing, unknown or out of range.
        """
        check_entries(values, cls, cls.title, cls.json_names)
        names = {json_name: name for name, json_name in cls.json_names.items()}
        return cls(**{names.get(key, key): value for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        items = fields(self)  # type: ignore[arg-type]  # every part is a dataclass
        return {self.json_names.get(item.name, item.name): plain(getattr(self, item.name)) for item in items}


def check_entries(
    values: Any, cls: type, title: str, json_names: Mapping[str, str] | None = None, extra: frozenset[str] = frozenset()
) -> None:
    """Refuse anything but an object with exactly the entries of a dataclass (those with defaults may be absent).

    Raises:
        CardioDiTError: Naming what is missing or unknown.
    """
    if not isinstance(values, Mapping):
        raise CardioDiTError(f"The {title} of a bundle is {values!r}, not an object with entries.", _REPAIR)
    json_names = json_names or {}
    items = {json_names.get(item.name, item.name): item for item in fields(cls)}
    missing = [
        name
        for name, item in items.items()
        if name not in values and item.default is MISSING and item.default_factory is MISSING
    ]
    unknown = sorted(str(key) for key in values if key not in items and key not in extra)
    problems = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has unknown", unknown)) if names]
    if problems:
        raise CardioDiTError(
            f"The {title} of a bundle {' and '.join(problems)}.", f"Its entries are {', '.join(items)}."
        )


def plain(value: Any) -> Any:
    """Parts, tuples and mappings as JSON has them."""
    if isinstance(value, ManifestPart):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def check_texts(part: object, title: str, *names: str) -> None:
    """Refuse entries that are not text.

    Raises:
        CardioDiTError: Naming the entry.
    """
    for name in names:
        if not isinstance(getattr(part, name), str):
            raise CardioDiTError(
                f"'{name}' in the {title} of a bundle is {getattr(part, name)!r}, not a text.", _REPAIR
            )


def check_file_name(name: Any, title: str) -> None:
    """Refuse anything but a plain file name, so that a manifest cannot reach outside its folder.

    Raises:
        CardioDiTError: Naming the value.
    """
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise CardioDiTError(f"{name!r} in the {title} of a bundle is not a plain file name.", _REPAIR)


def is_number(value: Any) -> bool:
    """A finite number, not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """A whole number from 1 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


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
class BundleGrid(ManifestPart):
    """The grid of generated cines.

    Args:
        slices: Z.
        height: Rows Y.
        width: Columns X.
        frames: Frames T of the cycle.
        spacing_mm: mm between voxel centres along (x, y, z).
        cycle_s: Seconds that all frames together last.
    """

    title: ClassVar[str] = "grid"

    slices: int
    height: int
    width: int
    frames: int
    spacing_mm: tuple[float, float, float]
    cycle_s: float

    def __post_init__(self) -> None:
        for name in ("slices", "height", "width", "frames"):
            if not is_count(getattr(self, name)):
                raise CardioDiTError(
                    f"'{name}' in the grid of a bundle is {getattr(self, name)!r}, not a whole number from 1 on.",
                    _REPAIR,
                )
        spacing = self.spacing_mm
        numbers = isinstance(spacing, list | tuple) and len(spacing) == 3 and all(is_number(v) for v in spacing)
        if not numbers or min(spacing) <= 0:
            raise CardioDiTError(
                f"'spacing_mm' in the grid of a bundle is {spacing!r}, not three positive numbers (x, y, z).", _REPAIR
            )
        if not is_number(self.cycle_s) or self.cycle_s <= 0:
            raise CardioDiTError(
                f"'cycle_s' in the grid of a bundle is {self.cycle_s!r}, not a positive number of seconds.", _REPAIR
            )
        x, y, z = spacing
        object.__setattr__(self, "spacing_mm", (float(x), float(y), float(z)))
        object.__setattr__(self, "cycle_s", float(self.cycle_s))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (T, Z, Y, X) of a generated cine."""
        return self.frames, self.slices, self.height, self.width


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


@dataclass(frozen=True)
class FileRecord(ManifestPart):
    """Fingerprint of a file.

    Args:
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    title: ClassVar[str] = "file list"

    sha256: str = field()
    bytes: int = field()

    def __post_init__(self) -> None:
        size_fits = isinstance(self.bytes, int) and not isinstance(self.bytes, bool) and self.bytes >= 0
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256) or not size_fits:
            raise CardioDiTError("A fingerprint in the file list of a bundle is not a SHA-256 and a size.", _REPAIR)
