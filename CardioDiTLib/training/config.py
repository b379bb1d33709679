"""Settings of a training run: one YAML file with a section a stage, read into dataclasses; an unknown or mistyped key
is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import plain
from CardioDiTLib.training.buckets import LatentShapes
from CardioDiTLib.training.dit_stage import DitStageConfig
from CardioDiTLib.training.latent_augmentation import LatentAugmentation
from CardioDiTLib.training.loop import LoopConfig
from CardioDiTLib.training.refiner_stage import RefinerStageConfig
from CardioDiTLib.training.vqgan_stage import VqganStageConfig

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """The model's grid.

    Attributes:
        slices, size, frames: Slices, rows and columns, frames of one cycle.
    """

    slices: int = 8
    size: int = 128
    frames: int = 16


@dataclasses.dataclass(frozen=True)
class LatentConfig:
    """How latents are made (see `latents.encode_pack`); `shapes` for several grids (see `buckets`)."""

    quantised: bool = True
    seed: int = 0
    augmentation: LatentAugmentation = dataclasses.field(default_factory=LatentAugmentation)
    shapes: LatentShapes = dataclasses.field(default_factory=LatentShapes)


@dataclasses.dataclass(frozen=True)
class StageSettings:
    """One stage: the loop's settings and its own.

    Attributes:
        loop: The loop.
        stage: `VqganStageConfig` or `DitStageConfig`.
    """

    loop: LoopConfig
    stage: Any


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All sections of a file.

    Attributes:
        name: Name of the model.
        grid: The model's grid.
        vqgan: Stage 1.
        decoder: Optional: the decoder alone once more, encoder and codes fixed (`decoder_only`), of stage 1's codec.
        refiner: Optional: image and labels from the whole stack and beat, after the slice decoder.
        latents: Between the stages.
        dit: Stage 2.
    """

    name: str
    grid: GridConfig
    vqgan: StageSettings
    latents: LatentConfig
    dit: StageSettings
    decoder: StageSettings | None = None
    refiner: StageSettings | None = None

    def __post_init__(self) -> None:
        if self.decoder is None:
            return
        if not self.decoder.stage.decoder_only:
            raise CardioDiTError(
                "The section decoder would change encoder and codes, to which latents and transformer belong.",
                "Set decoder_only to true in decoder.stage.",
            )
        if plain(self.decoder.stage.model) != plain(self.vqgan.stage.model):
            raise CardioDiTError(
                "The sections decoder and vqgan describe two codecs.", "Give decoder.stage the model of vqgan.stage."
            )


def read_config(path: str | Path) -> TrainingConfig:
    """Reads a YAML file.

    Raises:
        CardioDiTError: The file cannot be read, or holds an unknown key or a value of the wrong type.
    """
    path = find_config(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardioDiTError(
            f"The settings '{path.name}' cannot be read.", "Give a YAML file as in Resources/Training."
        ) from error
    if not isinstance(raw, Mapping):
        raise CardioDiTError(f"'{path.name}' holds no settings.", "Give a YAML file as in Resources/Training.")
    known = {"name", "grid", "vqgan", "decoder", "latents", "dit", "refiner"}
    check_keys(raw, known, path.name)
    for needed in ("vqgan", "dit"):
        if needed not in raw:
            raise CardioDiTError(f"'{path.name}' has no section '{needed}'.", "Add it as in Resources/Training.")
    return TrainingConfig(
        name=str(raw.get("name", path.stem)),
        grid=build_settings(GridConfig, raw.get("grid") or {}, "grid"),
        vqgan=stage_settings(raw["vqgan"], VqganStageConfig, "vqgan"),
        decoder=stage_settings(raw["decoder"], VqganStageConfig, "decoder") if raw.get("decoder") else None,
        latents=build_settings(LatentConfig, raw.get("latents") or {}, "latents"),
        dit=stage_settings(raw["dit"], DitStageConfig, "dit"),
        refiner=stage_settings(raw["refiner"], RefinerStageConfig, "refiner") if raw.get("refiner") else None,
    )


def find_config(path: str | Path) -> Path:
    """A file of settings; one that comes with the software is also found by its name, such as ``acdc-mini``."""
    given = Path(path)
    if given.exists() or given.suffix not in ("", ".yaml") or given.name != str(path):
        return given
    package = Path(__file__).resolve().parents[1]
    for place in (package / "Resources", package.parent / "Resources"):
        found = place / "Training" / f"{given.stem}.yaml"
        if found.is_file():
            return found
    return given


def stage_settings(raw: Mapping[str, Any], kind: type, where: str) -> StageSettings:
    """A section with `loop` and `stage`; `where` names it in errors."""
    check_keys(raw, {"loop", "stage"}, where)
    return StageSettings(
        loop=build_settings(LoopConfig, raw.get("loop") or {}, f"{where}.loop"),
        stage=build_settings(kind, raw.get("stage") or {}, f"{where}.stage"),
    )


def check_keys(raw: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse a section that is none, or that has an unknown key."""
    if not isinstance(raw, Mapping):
        raise CardioDiTError(f"The section {where} is '{raw}', not a list of settings.", "Correct the settings.")
    unknown = sorted(set(raw) - known)
    if unknown:
        raise CardioDiTError(f"Unknown setting '{unknown[0]}' in {where}.", f"Known are {', '.join(sorted(known))}.")


def build_settings(kind: type[Settings], raw: Mapping[str, Any], where: str) -> Settings:
    """The dataclass of a section; `where` names it in errors."""
    known = get_type_hints(kind)
    hints = {item.name: known[item.name] for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    check_keys(raw, set(hints), where)
    return kind(**{name: _value(value, hints[name], f"{where}.{name}") for name, value in raw.items()})


def _value(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build_settings(hint, value, where)
    text = str(hint)
    if hint is float or text.startswith("float |"):
        # YAML reads 1e-3 as text.
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError) as error:
            raise CardioDiTError(f"{where} is '{value}', not a number.", "Correct the settings.") from error
    if hint in (int, bool, str) and not (isinstance(value, hint) and (hint is bool or not isinstance(value, bool))):
        raise CardioDiTError(f"{where} is '{value}', not of type {hint.__name__}.", "Correct the settings.")
    if text.startswith("tuple") and isinstance(value, list):
        return tuple(value)
    return value
