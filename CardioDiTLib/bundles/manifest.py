"""``bundle.json``: everything about a generator that is not a weight.

Names follow the metadata of MONAI bundles where there is one (version, task, description, authors, copyright,
intended_use, data_source, references, eval_metrics).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from CardioDiTLib.bundles.manifest_parts import (
    DetailSpec,
    LatentSpec,
    Licence,
    NetworkSpec,
    Preset,
    PrivacySpec,
    SteeredQuantity,
    TrainingData,
)
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileRecord, check_file_name
from CardioDiTLib.grid import BundleGrid
from CardioDiTLib.schema import ManifestPart, check_entries, check_texts, is_number, parse_json, plain

SCHEMA_VERSION = 1

MANIFEST_NAME = "bundle.json"

MODEL_CARD_NAME = "MODEL_CARD.md"

DEFAULT_PRESETS = {
    "draft": Preset(10),
    "standard": Preset(25),
    "high": Preset(50),
}
"""Presets of a bundle that has none of its own."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_VERSION = re.compile(r"\d+\.\d+\.\d+([.+-][A-Za-z0-9.+-]+)?")

_AGAIN = "Correct bundle.json, or get the bundle again."

_TEXTS = ("title", "description", "task", "authors", "copyright", "intended_use")

_OBJECTS = ("schedule", "eval_metrics", "audit", "provenance")


@dataclass(frozen=True)
class BundleManifest:
    """What a bundle is, where it comes from, and how it is run.

    Args:
        name: Short name without spaces, by which the bundle is asked for.
        version: Three numbers, such as "1.0.0".
        title: Name for people.
        description: What it makes, in some sentences.
        licence: Terms of use.
        training_data: What it was trained on.
        grid: Grid of the cines that come out.
        codec: The slice codec.
        dit: The transformer.
        latents: Scale of the latents.
        schedule: `to_config()` of a `diffusion.NoiseSchedule` or `diffusion.FlowSchedule`.
        class_names: Short names of the classes, in the order of the labels; empty for a model without classes.
        class_titles: Names for people, one a class.
        presets: Settings by name; "standard" is what runs unless another is asked for.
        intensity_range: (low, high) of the codec's images.
        affine: 4x4, index (x, y, z) to mm in RAS, rows first; None for the plausible oblique short axis.
        task, authors, copyright, intended_use, references: As in MONAI bundles.
        eval_metrics: Measured quality, plain values.
        audit: Result of the memorization audit, plain values.
        provenance: How the bundle was made, plain values.
        privacy: Training embeddings and encoder that the bundle carries; None where it carries none.
        refiner: Network that refines what the codec decodes and names the tissues; None where there is none.
        quantities: What hearts can be steered by, in the order of the transformer's conditions.
        detail: The filter that decoded slices pass in the end; None for none.
        files: Fingerprint of every other file of the folder; filled by :func:`~CardioDiTLib.bundles.write_bundle`.

    Raises:
        CardioDiTError: A value is not possible, or values contradict each other.
    """

    name: str
    version: str
    title: str
    description: str
    licence: Licence
    training_data: TrainingData
    grid: BundleGrid
    codec: NetworkSpec
    dit: NetworkSpec
    latents: LatentSpec
    schedule: dict[str, Any]
    class_names: tuple[str, ...] = ()
    class_titles: tuple[str, ...] = ()
    presets: dict[str, Preset] = field(default_factory=lambda: dict(DEFAULT_PRESETS))
    intensity_range: tuple[float, float] = (-1.0, 1.0)
    affine: tuple[tuple[float, ...], ...] | None = None
    task: str = "Generation of synthetic short-axis cine cardiac MRI"
    authors: str = ""
    copyright: str = ""
    intended_use: str = "Research only; not for diagnosis."
    references: tuple[str, ...] = ()
    eval_metrics: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    privacy: PrivacySpec | None = None
    refiner: NetworkSpec | None = None
    quantities: tuple[SteeredQuantity, ...] = ()
    detail: DetailSpec | None = None
    files: dict[str, FileRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise CardioDiTError(
                f"{self.name!r} cannot be the name of a bundle.", "Use letters, digits, dots, dashes and underscores."
            )
        if not isinstance(self.version, str) or not _VERSION.fullmatch(self.version):
            raise CardioDiTError(f"{self.version!r} is not a version of a bundle.", "Use three numbers, as in 1.0.0.")
        check_texts(self, "manifest", *_TEXTS)
        for name in _OBJECTS:
            if not isinstance(getattr(self, name), Mapping):
                raise CardioDiTError(f"'{name}' of the bundle '{self.name}' is not an object.", _AGAIN)
        for name in ("class_names", "class_titles", "references"):
            texts = getattr(self, name)
            if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
                raise CardioDiTError(f"'{name}' of the bundle '{self.name}' is not a list of texts.", _AGAIN)
            object.__setattr__(self, name, tuple(texts))
        self._check_classes()
        self._check_presets()
        low, high = self._numbers("intensity_range", 2)
        if low >= high:
            raise CardioDiTError(f"The intensity range of the bundle '{self.name}' is empty.", _AGAIN)
        object.__setattr__(self, "intensity_range", (low, high))
        if self.affine is not None:
            object.__setattr__(self, "affine", self._checked_affine())
        if self.codec.class_name != "VQGAN" or self.dit.class_name != "DiT4D":
            raise CardioDiTError(
                f"The codec of the bundle '{self.name}' is a {self.codec.class_name}, its transformer a "
                f"{self.dit.class_name}.",
                "They have to be VQGAN and DiT4D.",
            )
        if self.refiner is not None and self.refiner.class_name != "CineRefiner":
            raise CardioDiTError(
                f"The refiner of the bundle '{self.name}' is a {self.refiner.class_name}.",
                "It has to be a CineRefiner.",
            )
        object.__setattr__(self, "quantities", tuple(self.quantities))
        steered = self.dit.params.get("num_conditions", 0)
        if steered != len(self.quantities):
            raise CardioDiTError(
                f"The bundle '{self.name}' names {len(self.quantities)} quantities, its transformer has {steered}.",
                _AGAIN,
            )
        for file_name in self.files:
            check_file_name(file_name, "file list")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BundleManifest:
        """Read the content of a ``bundle.json``.

        Raises:
            CardioDiTError: Another schema version, an entry that is missing, unknown or not possible.
        """
        if not isinstance(values, Mapping) or "schema_version" not in values:
            raise CardioDiTError("This is not the manifest of a bundle: it has no 'schema_version'.", _AGAIN)
        found = values["schema_version"]
        if isinstance(found, bool) or found != SCHEMA_VERSION:
            raise CardioDiTError(
                f"The bundle has schema version {found!r}, this library reads version {SCHEMA_VERSION}.",
                "Update CardioDiT, or get a bundle for this version.",
            )
        check_entries(values, cls, "manifest", extra=frozenset({"schema_version"}))
        entries = {key: value for key, value in values.items() if key != "schema_version"}
        parts: dict[str, type[ManifestPart]] = {
            "licence": Licence,
            "training_data": TrainingData,
            "grid": BundleGrid,
            "codec": NetworkSpec,
            "dit": NetworkSpec,
            "latents": LatentSpec,
        }
        for key, part in parts.items():
            entries[key] = part.from_dict(entries[key])
        if entries.get("privacy") is not None:
            entries["privacy"] = PrivacySpec.from_dict(entries["privacy"])
        if entries.get("refiner") is not None:
            entries["refiner"] = NetworkSpec.from_dict(entries["refiner"])
        if entries.get("detail") is not None:
            entries["detail"] = DetailSpec.from_dict(entries["detail"])
        if "quantities" in entries:
            if not isinstance(entries["quantities"], list | tuple):
                raise CardioDiTError("'quantities' of a bundle is not a list.", _AGAIN)
            entries["quantities"] = tuple(SteeredQuantity.from_dict(value) for value in entries["quantities"])
        for key, member in (("presets", Preset), ("files", FileRecord)):
            if key not in entries:
                continue
            group = entries[key]
            if not isinstance(group, Mapping):
                raise CardioDiTError(f"'{key}' of a bundle is not an object.", _AGAIN)
            entries[key] = {str(name): member.from_dict(value) for name, value in group.items()}
        return cls(**entries)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :meth:`from_dict` reads them back."""
        values = {
            "schema_version": SCHEMA_VERSION,
            **{item.name: plain(getattr(self, item.name)) for item in fields(self)},
        }
        for name in ("privacy", "refiner", "quantities", "detail"):
            if not getattr(self, name):  # software that does not know the section reads bundles without it
                del values[name]
        return values

    def to_json(self) -> str:
        """The text of ``bundle.json``.

        Raises:
            CardioDiTError: A value that JSON does not have.
        """
        try:
            return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise CardioDiTError(
                f"The manifest of '{self.name}' holds a value that JSON does not have: {error}.", "Use plain values."
            ) from error

    def with_files(self, files: Mapping[str, FileRecord]) -> BundleManifest:
        """The same manifest with other fingerprints."""
        return replace(self, files=dict(files))

    @property
    def needed_files(self) -> tuple[str, ...]:
        """Files that the bundle cannot do without, besides the manifest itself."""
        latents = () if self.latents.file is None else (self.latents.file,)
        privacy = () if self.privacy is None else self.privacy.files
        refiner = () if self.refiner is None else (self.refiner.file,)
        return (self.codec.file, self.dit.file, MODEL_CARD_NAME, *latents, *privacy, *refiner)

    def label_of(self, class_name: str) -> int:
        """Number of a class; case does not matter.

        Raises:
            CardioDiTError: The model has no classes, or none of this name.
        """
        if not self.class_names:
            raise CardioDiTError(
                f"The bundle '{self.name}' has no pathologies to choose from.", "Leave the pathology out."
            )
        known = [name.lower() for name in self.class_names]
        if class_name.lower() not in known:
            raise CardioDiTError(
                f"The bundle '{self.name}' has no pathology {class_name!r}.",
                f"Choose one of {', '.join(self.class_names)}.",
            )
        return known.index(class_name.lower())

    def _check_classes(self) -> None:
        if self.class_titles and len(self.class_titles) != len(self.class_names):
            raise CardioDiTError(
                f"The bundle '{self.name}' has {len(self.class_names)} class names and "
                f"{len(self.class_titles)} class titles.",
                _AGAIN,
            )
        if len({name.lower() for name in self.class_names}) != len(self.class_names):
            raise CardioDiTError(f"Two classes of the bundle '{self.name}' have the same name.", _AGAIN)
        number = self.dit.params.get("num_classes", 0)
        if number != len(self.class_names):
            raise CardioDiTError(
                f"The bundle '{self.name}' names {len(self.class_names)} classes, its transformer has {number}.", _AGAIN
            )

    def _check_presets(self) -> None:
        if not isinstance(self.presets, Mapping) or "standard" not in self.presets:
            raise CardioDiTError(f"The bundle '{self.name}' has no preset called standard.", _AGAIN)

    def _numbers(self, name: str, count: int) -> tuple[float, ...]:
        values = getattr(self, name)
        if not isinstance(values, list | tuple) or len(values) != count or not all(is_number(v) for v in values):
            raise CardioDiTError(
                f"'{name}' of the bundle '{self.name}' is {values!r}, not {count} numbers.", "Correct bundle.json."
            )
        return tuple(float(value) for value in values)

    def _checked_affine(self) -> tuple[tuple[float, ...], ...]:
        rows = self.affine
        fits = isinstance(rows, list | tuple) and len(rows) == 4
        fits = fits and all(isinstance(row, list | tuple) and len(row) == 4 for row in rows or ())
        if not fits or not all(is_number(value) for row in rows or () for value in row):
            raise CardioDiTError(f"The affine of the bundle '{self.name}' is not a 4x4 matrix.", _AGAIN)
        return tuple(tuple(float(value) for value in row) for row in rows or ())


def read_manifest(folder: str | Path) -> BundleManifest:
    """Manifest of a bundle's folder.

    Raises:
        CardioDiTError: There is none, it is not JSON, or it is not possible; the sentence names the folder.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        raise CardioDiTError(f"'{folder}' holds no {MANIFEST_NAME}.", "Give the folder of a bundle.")
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardioDiTError(
            f"The {MANIFEST_NAME} of '{Path(folder).name}' cannot be read; it may be damaged.", "Get the bundle again."
        ) from error
    try:
        return BundleManifest.from_dict(values)
    except CardioDiTError as error:
        raise CardioDiTError(f"'{Path(folder).name}': {error.message}", error.hint) from error


MANIFEST_LIMIT_BYTES = 1 << 20
"""No manifest is anywhere near as large."""

FILES_LIMIT = 256

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

_AGAIN_manifest_check = "Tell the publisher of the bundle."


def parse_manifest(content: bytes, place: str) -> BundleManifest:
    """Read the bytes of a ``bundle.json``, strictly.

    Args:
        content: At most :data:`MANIFEST_LIMIT_BYTES`.
        place: Where it comes from, for messages.

    Raises:
        CardioDiTError: It is too large, not JSON, not possible, or lists files that cannot be those of a bundle.
    """
    if len(content) > MANIFEST_LIMIT_BYTES:
        raise CardioDiTError(f"The {MANIFEST_NAME} of '{place}' is larger than 1 MB.", _AGAIN_manifest_check)
    try:
        values: Any = parse_json(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise CardioDiTError(
            f"The {MANIFEST_NAME} of '{place}' is not JSON.", "Check that this is the place of a bundle."
        ) from error
    try:
        manifest = BundleManifest.from_dict(values)
        check_files(manifest)
    except CardioDiTError as error:
        raise CardioDiTError(f"'{place}': {error.message}", error.hint) from error
    return manifest


def check_files(manifest: BundleManifest) -> None:
    """See that the files of a manifest make a bundle, on any system.

    Raises:
        CardioDiTError: A needed file is not listed, the manifest lists itself, or a name is not possible everywhere.
    """
    absent = sorted(set(manifest.needed_files) - set(manifest.files))
    if absent:
        raise CardioDiTError(
            f"The bundle '{manifest.name}' does not list its files: {', '.join(absent)} is missing.",
            _AGAIN_manifest_check,
        )
    check_portable([MANIFEST_NAME, *manifest.files])
    check_portable([manifest.name])


def check_portable(names: Iterable[str]) -> None:
    """Refuse names that mean something else on another system, or the same as one of the others.

    Raises:
        CardioDiTError: Naming the first of them.
    """
    seen: set[str] = set()
    for name in names:
        if _RESERVED.fullmatch(name) or name.endswith((".", " ")):
            raise CardioDiTError(f"'{name}' cannot be the name of a file on every system.", _AGAIN_manifest_check)
        if name.lower() in seen:
            raise CardioDiTError(f"The bundle lists the file '{name}' twice.", _AGAIN_manifest_check)
        seen.add(name.lower())
    if len(seen) > FILES_LIMIT:
        raise CardioDiTError(
            f"The bundle lists {len(seen)} files; at most {FILES_LIMIT} are possible.", _AGAIN_manifest_check
        )


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
