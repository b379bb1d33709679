"""Teaching a bundle to draw in a few steps, in pieces of any length.

<folder>/ways/       ways of the teacher from noise to image
<folder>/few-steps/  log, curves, checkpoints
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from CardioDiTLib.bundles.amend import amend_bundle
from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.manifest_parts import FewStepSpec, Preset
from CardioDiTLib.bundles.weights import write_weights
from CardioDiTLib.diffusion.sampler_names import FEW_STEPS
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.training import distributed
from CardioDiTLib.training.checkpoint import finished_steps
from CardioDiTLib.training.config import StageSettings, check_keys, find_config, stage_settings
from CardioDiTLib.training.few_step_stage import FewStepConfig, FewStepStage, way_levels
from CardioDiTLib.training.loop import Trainer, resolve_precision
from CardioDiTLib.training.noise_paths import draw_paths, read_paths, taught_guidance
from CardioDiTLib.training.telling import Telling, deadline_after

FILE_NAME = "few_steps.safetensors"


class FewStepRun:
    """The run of one bundle.

    Args:
        path: YAML file with a section `few-steps` and `presets`: {name of the bundle's preset: number of steps}.
        bundle_folder: The bundle; what it was taught of few steps before is left out.
        folder: Folder of the run; an earlier piece in it is continued.

    Raises:
        CardioDiTError: The file cannot be read, or asks for what the bundle cannot do.
    """

    def __init__(self, path: str | Path, bundle_folder: str | os.PathLike[str], folder: str | Path) -> None:
        self.bundle, self.folder = Bundle(bundle_folder), Path(folder)
        self.settings, self.presets = _read(find_config(path))
        spec = FewStepSpec(FILE_NAME, taught_guidance(self.bundle, self._config.paths), self._ways())
        for name, steps in self.presets.items():
            if name not in self.bundle.manifest.presets or spec.way(steps) is None:
                raise CardioDiTError(
                    f"The preset {name!r} of {steps} steps is none of the bundle, or of no way that is taught.",
                    "Correct the presets.",
                )
        self.spec = spec

    @property
    def _config(self) -> FewStepConfig:
        config: FewStepConfig = self.settings.stage
        return config

    def _ways(self) -> tuple[tuple[float, ...], ...]:
        return tuple(map(tuple, way_levels(self._config, self.bundle)))

    def train(self, minutes: float | None = None) -> bool:
        """Draws ways, trains, and in the end puts the changes into the bundle; True where all is done."""
        loop, place = self.settings.loop, self.folder / FewStepStage.name
        deadline = deadline_after(minutes)
        distributed.start()
        if loop.threads:
            torch.set_num_threads(loop.threads)
        device = distributed.pick_device(loop.device)
        self.bundle.dit.to(device)  # teacher, and what the student is a copy of
        if distributed.any_rank(not self._draw(deadline, device), device):
            return False
        stage = FewStepStage(self._config, self.bundle, read_paths(self.folder / "ways", self._config.paths))
        trainer = Trainer(stage, loop, place)
        trainer.run(deadline)
        if finished_steps(place) < loop.steps:
            return False
        if distributed.rank() == 0:
            self.attach(stage.averaged())
        distributed.wait_for_all()
        return True

    def _draw(self, deadline: float | None, device: torch.device) -> bool:
        narrow = resolve_precision(self.settings.loop.precision, device) == "bf16"
        with Telling("ways", "way") as told:
            return draw_paths(
                self.bundle,
                self.folder / "ways",
                self._config.paths,
                self._config.kept,
                network=torch.compile(self.bundle.dit) if self._config.compiled else None,
                autocast=torch.bfloat16 if narrow else None,
                deadline=deadline,
                progress=told,
            )

    def attach(self, changes: Mapping[str, torch.Tensor]) -> Bundle:
        """Puts changes into the bundle; its presets that are named run in few steps from then on."""
        manifest = self.bundle.manifest
        presets = {
            name: Preset(self.presets[name], FEW_STEPS, self.spec.guidance) if name in self.presets else preset
            for name, preset in manifest.presets.items()
        }
        provenance = {**manifest.provenance, "few_steps": finished_steps(self.folder / FewStepStage.name)}
        return amend_bundle(
            self.bundle.folder,
            replace(manifest, few_steps=self.spec, presets=presets, provenance=provenance),
            lambda place: write_weights(place / FILE_NAME, changes, "int8"),
            without=() if manifest.few_steps is None else (manifest.few_steps.file,),
        )


def _read(path: Path) -> tuple[StageSettings, dict[str, int]]:
    hint = "Give a YAML file as Resources/Training/few-steps.yaml."
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardioDiTError(f"The settings '{path.name}' cannot be read.", hint) from error
    if not isinstance(raw, Mapping) or "few-steps" not in raw:
        raise CardioDiTError(f"'{path.name}' has no section 'few-steps'.", hint)
    check_keys(raw, {"few-steps", "presets"}, path.name)
    presets = raw.get("presets") or {}
    if not isinstance(presets, Mapping) or not all(type(steps) is int for steps in presets.values()):
        raise CardioDiTError(f"The presets of '{path.name}' are no numbers of steps.", hint)
    return stage_settings(raw["few-steps"], FewStepConfig, "few-steps"), {str(k): v for k, v in presets.items()}
