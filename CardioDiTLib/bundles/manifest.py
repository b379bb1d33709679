"""``bundle.json``: everything about a generator that is not a weight.

Names follow the metadata of MONAI bundles where there is one (version, task, description, authors, copyright,
intended_use, data_source, references, eval_metrics).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from CardioDiTLib.bundles.manifest_parts import (
    DetailSpec,
    FewStepSpec,
    LatentSpec,
    Licence,
    ModelManifest,
    NetworkSpec,
    Preset,
    PrivacySpec,
    SteeredQuantity,
    TrainingData,
    usual_presets,
)
from CardioDiTLib.bundles.model_folder import ModelFolder, refuse_constant
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileName, FileRecord
from CardioDiTLib.grid import BundleGrid
from CardioDiTLib.schema import Shape, parse_json

MANIFEST_NAME = "bundle.json"

MODEL_CARD_NAME = "MODEL_CARD.md"

BundleName = Annotated[
    str, Shape(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits, dots, dashes and underscores")
]

BundleVersion = Annotated[str, Shape(r"\d+\.\d+\.\d+([.+-][A-Za-z0-9.+-]+)?", "three numbers, as in 1.0.0")]

_AGAIN = "Correct bundle.json, or get the bundle again."


_Row = tuple[float, float, float, float]

MANIFEST_LIMIT_BYTES = 1 << 20
"""No manifest is anywhere near as large."""

FILES_LIMIT = 256
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class BundleManifest(ModelManifest):
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
        few_steps: What lets the transformer draw in a few steps; None for nothing.
        files: Fingerprint of every other file of the folder; filled by :func:`~CardioDiTLib.bundles.write_bundle`.

    Raises:
        CardioDiTError: A value is not possible, or values contradict each other.
    """

    record_name: ClassVar[str] = "manifest of a bundle"
    record_hint: ClassVar[str] = _AGAIN
    file_name: ClassVar[str] = MANIFEST_NAME
    omitted_when_empty: ClassVar[tuple[str, ...]] = ("privacy", "refiner", "quantities", "detail", "few_steps")

    name: BundleName
    version: BundleVersion
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
    presets: dict[str, Preset] = field(default_factory=lambda: usual_presets("unsaid"))
    intensity_range: tuple[float, float] = (-1.0, 1.0)
    affine: tuple[_Row, _Row, _Row, _Row] | None = None
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
    few_steps: FewStepSpec | None = None
    files: dict[FileName, FileRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_classes()
        if "standard" not in self.presets:
            raise CardioDiTError(f"The bundle '{self.name}' has no preset called standard.", _AGAIN)
        low, high = self.intensity_range
        if low >= high:
            raise CardioDiTError(f"The intensity range of the bundle '{self.name}' is empty.", _AGAIN)
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
        steered = self.dit.params.get("num_conditions", 0)
        if steered != len(self.quantities):
            raise CardioDiTError(
                f"The bundle '{self.name}' names {len(self.quantities)} quantities, its transformer has {steered}.",
                _AGAIN,
            )

    @property
    def needed_files(self) -> tuple[str, ...]:
        """Files that the bundle cannot do without, besides the manifest itself."""
        latents = () if self.latents.file is None else (self.latents.file,)
        privacy = () if self.privacy is None else self.privacy.files
        refiner = () if self.refiner is None else (self.refiner.file,)
        few_steps = () if self.few_steps is None else (self.few_steps.file,)
        return (self.codec.file, self.dit.file, MODEL_CARD_NAME, *latents, *privacy, *refiner, *few_steps)

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

    @property
    def null_class(self) -> int | None:
        """Label that stands for no class, as the transformer has it; None where it was trained without one."""
        params = self.dit.params
        return params["num_classes"] if self.class_names and params.get("class_dropout_prob", 0.0) > 0 else None

    @property
    def names_tissues(self) -> bool:
        """Whether hearts come with labels: the refiner has classes, unless its settings say 0."""
        return self.refiner is not None and self.refiner.params.get("classes", 1) > 0

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


GENERATOR = ModelFolder(BundleManifest, "bundle")
"""The folder of a generator."""


def read_manifest(folder: str | Path) -> BundleManifest:
    """Manifest of a bundle's folder.

    Raises:
        CardioDiTError: There is none, it is not JSON, or it is not possible; the sentence names the folder.
    """
    return GENERATOR.read(Path(folder))


def most_slices_and_frames(folder: Path, manifest: BundleManifest) -> tuple[int, int] | None:
    """The most slices and frames that a bundle makes; None where it makes its own grid alone.

    A transformer has to have been trained on several grids, and nothing beside it may belong to one: no refiner, no
    principal components or modes in time, no statistics of places or of frames.

    Args:
        folder: Of the bundle.
        manifest: Of the bundle.
    """
    params, latents, own = manifest.dit.params, manifest.latents, manifest.grid
    if not params.get("variable_shape") or manifest.refiner is not None:
        return None
    if latents.patch is not None or latents.modes:
        return None
    if latents.file is not None and not _are_of_channels(folder / latents.file):
        return None
    size = params["input_size"]
    most = params.get("max_input_size") or size
    # The codec shrinks the grid to the size that the transformer takes, or the bundle could not be loaded.
    return int(most[0]), int(most[3]) * (own.frames // int(size[3]))


def _are_of_channels(path: Path) -> bool:
    """Whether statistics (C, Z, H, W, T) are the same for all slices and all frames."""
    import numpy as np  # looking at bundles needs no numpy
    from safetensors import safe_open

    try:
        with safe_open(str(path), "numpy") as stream:
            shapes = [stream.get_slice(name).get_shape() for name in ("mean", "std")]
        whole = np.broadcast_shapes(*map(tuple, shapes))
    except Exception:  # whoever loads the bundle is told what is wrong with it
        return False
    return len(whole) == 5 and whole[1] == whole[4] == 1


_TELL = "Tell the publisher of the bundle."


def parse_manifest(content: bytes, place: str) -> BundleManifest:
    """Read the bytes of a ``bundle.json``, strictly.

    Args:
        content: At most :data:`MANIFEST_LIMIT_BYTES`.
        place: Where it comes from, for messages.

    Raises:
        CardioDiTError: It is too large, not JSON, not possible, or lists files that cannot be those of a bundle.
    """
    if len(content) > MANIFEST_LIMIT_BYTES:
        raise CardioDiTError(f"The {MANIFEST_NAME} of '{place}' is larger than 1 MB.", _TELL)
    try:
        values: Any = parse_json(content.decode("utf-8-sig"), parse_constant=refuse_constant)
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
            _TELL,
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
            raise CardioDiTError(f"'{name}' cannot be the name of a file on every system.", _TELL)
        if name.lower() in seen:
            raise CardioDiTError(f"The bundle lists the file '{name}' twice.", _TELL)
        seen.add(name.lower())
    if len(seen) > FILES_LIMIT:
        raise CardioDiTError(f"The bundle lists {len(seen)} files; at most {FILES_LIMIT} are possible.", _TELL)
