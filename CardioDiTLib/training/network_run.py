"""Training one small network in a folder, from a YAML file to a model's folder; what a task has of its own is in
`network_tasks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import nn

from CardioDiTLib.bundles.manifest_parts import Licence, TrainingData
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.training import distributed
from CardioDiTLib.training.checkpoint import averaged_weights, finished_steps
from CardioDiTLib.training.config import check_keys, stage_settings
from CardioDiTLib.training.loop import Stage, Trainer
from CardioDiTLib.training.model_texts import last_validation, read_texts
from CardioDiTLib.training.telling import deadline_after, opened_pack


@dataclass(frozen=True)
class TrainingInputs:
    """What a run can be given beside its pack.

    Attributes:
        start_from: Folder of a model whose weights training begins with; a run that is continued goes on from its own.
        recorded: Folder of ACDC, to train on its volumes as recorded beside the pack.
        cavities: Folder of slices in which only the left cavity was drawn.
    """

    start_from: str | Path | None = None
    recorded: str | Path | None = None
    cavities: str | Path | None = None


class NetworkRun(ABC):
    """The training of one network.

    Args:
        path: YAML file with `name`, `frames` (made of each ED/ES pair of a pack), a section of the stage, and what the
            task knows besides.

    Attributes:
        name: Name of the model.
        frames: Frames made of each ED/ES pair.
        section: Which of the task's sections the file has.
        settings: The loop's settings and the stage's.

    Raises:
        CardioDiTError: The file cannot be read, or holds an unknown key or a value that is not possible.
    """

    task: ClassVar[str]
    """Name of the task, and of its folder in the folder of a run."""
    sections: ClassVar[Mapping[str, type]]
    """Settings of the stage by the name of their section; a file has one of them."""
    keys: ClassVar[frozenset[str]]
    """Further entries of the file."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        hint = f"Give a YAML file as Resources/Training/{self.task}.yaml."
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise CardioDiTError(f"The settings '{path.name}' cannot be read.", hint) from error
        given = [name for name in self.sections if isinstance(raw, Mapping) and name in raw]
        if len(given) != 1:
            raise CardioDiTError(f"'{path.name}' has no section '{self.task}', or two that say the same.", hint)
        check_keys(raw, {"name", "frames", *self.keys, *self.sections}, path.name)
        self.name, self.section = str(raw.get("name", path.stem)), given[0]
        self.frames = int(positive(raw, "frames", 16))
        self.read(raw)
        self.settings = stage_settings(raw[self.section], self.stage_config(), self.section)

    @abstractmethod
    def read(self, raw: Mapping[str, Any]) -> None:
        """Takes the task's own entries."""

    def stage_config(self) -> type:
        """The dataclass of the stage's settings."""
        return self.sections[self.section]

    @abstractmethod
    def make_stage(
        self, pack: PackedCines, place: Path, inputs: TrainingInputs, deadline: float | None
    ) -> Stage | None:
        """The stage, its weights drawn from torch's generator; None where the deadline came first.

        Args:
            pack: The opened pack.
            place: The task's folder.
            inputs: What was given beside the pack.
            deadline: `time.monotonic()` at which the time is used up.
        """

    def is_done(self, place: Path) -> bool:
        """Whether nothing is left to do in the task's folder."""
        return finished_steps(place) >= self.settings.loop.steps

    def finish(self, trainer: Trainer, place: Path) -> None:
        """What comes after the last step."""
        distributed.wait_for_all()

    def train(
        self,
        data: str | Path,
        folder: str | Path,
        minutes: float | None = None,
        inputs: TrainingInputs | None = None,
    ) -> bool:
        """Trains in the task's folder, going on from an earlier piece; True where all steps are done.

        Args:
            data: A pack.
            folder: Folder of the run.
            minutes: Stop, with a checkpoint, after this long; opening the pack counts.
            inputs: What there is beside the pack.

        Raises:
            CardioDiTError: The pack cannot be read, is none for this task, or the model to begin with does not fit.
        """
        place, loop = Path(folder) / self.task, self.settings.loop
        if self.is_done(place):
            return True
        deadline = deadline_after(minutes)
        distributed.start()
        if loop.threads:
            torch.set_num_threads(loop.threads)
        pack = opened_pack(data, self.frames, deadline)
        if pack is None:
            return False
        # The first weights are drawn here; from the first step on every draw has its own seed.
        torch.manual_seed(loop.seed)
        stage = self.make_stage(pack, place, inputs or TrainingInputs(), deadline)
        if stage is None:
            return False
        trainer = Trainer(stage, loop, place)
        trainer.run(deadline)
        if finished_steps(place) < loop.steps:
            return False
        self.finish(trainer, place)
        return True

    @abstractmethod
    def make_network(self) -> Any:
        """The network of the settings, its weights to be replaced; it knows its settings as `config`."""

    def weights_module(self) -> str:
        """The module of a checkpoint whose weights become the model's."""
        return "average"

    def provenance(self, place: Path) -> dict[str, Any]:
        """Plain facts of the run beside its steps."""
        return {}

    def before_export(self, network: nn.Module, place: Path, quality: dict[str, Any]) -> dict[str, Any]:
        """What is done to the network before it is written; returns what is known of its quality then."""
        return quality

    @abstractmethod
    def write(self, destination: str | Path, network: Any, about: dict[str, Any], **how: Any) -> Path:
        """Writes the model's folder.

        Args:
            destination: The folder.
            network: In evaluation mode.
            about: What every manifest says: name, version, network, licence, training_data, quality, provenance.
            how: `storage` and `overwrite`.
        """

    def export(
        self,
        folder: str | Path,
        destination: str | Path,
        *,
        describe: str | Path | None = None,
        storage: str = "int8",
        overwrite: bool = False,
    ) -> Path:
        """Writes the network of a run, its weights averaged where they are, as a model's folder.

        Args:
            folder: The run's folder.
            destination: Folder of the model.
            describe: JSON with the texts that only a person knows: version, licence, training_data, and quality and
                provenance, which are added to what the run measured.
            storage: Weights at rest: fp32, fp16 or int8.
            overwrite: Replace a model that lies there.

        Returns:
            The model's folder.

        Raises:
            CardioDiTError: Nothing was trained yet, a text is unknown, or the folder cannot be written.
        """
        place = Path(folder) / self.task
        network = self.make_network()
        try:
            network.load_state_dict(averaged_weights(place, self.weights_module()))
        except RuntimeError as error:
            raise CardioDiTError(
                f"The weights in '{place.name}' were trained with another network than '{self.name}' describes.",
                "Use the settings of the run.",
            ) from error
        texts = read_texts(describe)
        licence = texts.get("licence", {"name": "unknown", "conditions": "Ask who trained it."})
        step = finished_steps(place)
        quality = self.before_export(network, place, last_validation(place, step))
        about = {
            "name": self.name,
            "version": str(texts.get("version", "0.1.0")),
            "network": network.config,
            "licence": Licence.from_dict(licence),
            "training_data": TrainingData.from_dict(texts.get("training_data", {"data_source": "unknown"})),
            "quality": {**quality, **texts.get("quality", {})},
            "provenance": {"steps": step, **self.provenance(place), **texts.get("provenance", {})},
        }
        return self.write(destination, network.eval(), about, storage=storage, overwrite=overwrite)


def positive(raw: Mapping[str, Any], name: str, default: float) -> float:
    """A number of the settings.

    Raises:
        CardioDiTError: It is none, or not above 0.
    """
    value = raw.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise CardioDiTError(f"{name} is '{value}', not a positive number.", "Correct the settings.")
    return value
