"""A whole training run in a folder, stage after stage, in pieces of any length.

<folder>/vqgan/     stage 1: log, curves, checkpoints
<folder>/decoder/   optional: the decoder alone once more
<folder>/latents/   every cine encoded by the codec, some times over
<folder>/dit/       stage 2
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch

from ..bundles.bundle import Bundle, load_bundle
from ..bundles.manifest_parts import plain
from ..data.packing import PackedCines, read_pack
from ..errors import CardioDiTError
from ..models.vqgan import VQGAN
from . import distributed
from .checkpoint import checkpoints, load_checkpoint
from .config import StageSettings, TrainingConfig
from .dit_stage import DitStage
from .latents import LatentSet, encode_pack, fingerprint, latents_are_whole, read_latents
from .loop import Trainer
from .vqgan_stage import VqganStage

STAGES = ("vqgan", "decoder", "latents", "dit")


def finished_steps(folder: Path) -> int:
    """Steps done in a stage's folder."""
    whole = checkpoints(folder)
    return int(whole[-1].name.removeprefix("step-")) if whole else 0


def averaged_weights(folder: Path, module: str = "average") -> dict[str, torch.Tensor]:
    """The averaged weights of a stage's last checkpoint.

    Raises:
        CardioDiTError: There is no checkpoint yet.
    """
    whole = checkpoints(folder)
    if not whole:
        raise CardioDiTError(f"There is no checkpoint in '{folder.name}' yet.", "Train this stage first.")
    return load_checkpoint(whole[-1])["modules"][module]


class TrainingRun:
    """The stages of one model in one folder.

    Args:
        config: All settings.
        data: The pack.
        folder: Where everything goes; an earlier piece is continued.
        start_from: Name or folder of a bundle to go on from: its codec is taken as it is (stage 1 is left out), its
            transformer and latent scale are where stage 2 begins. For more hours of training, or for other data. Its
            decoder goes on only where stage `decoder` is asked for by name: no latent changes by it.
    """

    def __init__(
        self, config: TrainingConfig, data: str | Path, folder: str | Path, start_from: str | Path | None = None
    ) -> None:
        self.config, self.data, self.folder = config, Path(data), Path(folder)
        self.start = None if start_from is None else load_bundle(start_from)
        if self.start is not None:
            self._check_start(self.start)
        self._pack: PackedCines | None = None

    @property
    def pack(self) -> PackedCines:
        if self._pack is None:
            pack = read_pack(self.data, self.config.grid.frames)
            wanted = (self.config.grid.frames, self.config.grid.slices)
            if pack.images.shape[1:3] != wanted or pack.images.shape[-1] < self.config.grid.size:
                raise CardioDiTError(
                    f"The pack holds {pack.images.shape[1]} frames, {pack.images.shape[2]} slices of "
                    f"{pack.images.shape[-1]} pixels; "
                    f"the settings ask for {wanted[0]}, {wanted[1]} and {self.config.grid.size}.",
                    "Make the pack or the settings to match.",
                )
            self._pack = pack
        return self._pack

    def codec_folder(self) -> Path:
        """Where the codec to be used lies."""
        trained_on = self.config.decoder is not None and finished_steps(self.folder / "decoder") > 0
        return self.folder / ("decoder" if trained_on else "vqgan")

    def codec(self) -> VQGAN:
        """The averaged codec of the latest stage that trained it, in evaluation mode."""
        model = VQGAN(**self.config.vqgan.stage.model)
        model.load_state_dict(self._codec_weights())
        return model.eval()

    def _codec_weights(self) -> dict[str, torch.Tensor]:
        if self.start is not None and not finished_steps(self.folder / "decoder"):
            return self.start.vqgan.state_dict()
        return averaged_weights(self.codec_folder())

    def _check_start(self, bundle: Bundle) -> None:
        """Weights only fit networks of the same settings."""
        pairs = (
            ("codec", bundle.manifest.codec.params, self.config.vqgan.stage.model),
            ("transformer", bundle.manifest.dit.params, self.config.dit.stage.model),
        )
        for what, theirs, ours in pairs:
            different = sorted(key for key in {*theirs, *ours} if plain(theirs.get(key)) != plain(ours.get(key)))
            if different:
                raise CardioDiTError(
                    f"The {what} of '{bundle.manifest.name}' has other settings than this run: {', '.join(different)}.",
                    "Use the settings that the bundle was trained with.",
                )

    def is_done(self, stage: str) -> bool:
        untouched = ("vqgan",) if finished_steps(self.folder / "decoder") else ("vqgan", "decoder")
        if self.start is not None and stage in untouched:
            return True
        if stage == "latents":
            return latents_are_whole(self.folder / "latents")
        settings = getattr(self.config, stage)
        return settings is None or finished_steps(self.folder / stage) >= settings.loop.steps

    def train(self, stage: str, minutes: float | None = None) -> bool:
        """Trains one stage; True where it is done.

        Args:
            stage: One of `STAGES`.
            minutes: Stop, with a checkpoint, after this long.

        Raises:
            CardioDiTError: An earlier stage is missing.
        """
        distributed.start()
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        settings = getattr(self.config, stage)
        if isinstance(settings, StageSettings):
            # The first weights are drawn here; from the first step on every draw has its own seed.
            torch.manual_seed(settings.loop.seed)
        if stage == "vqgan":
            Trainer(
                VqganStage(settings.stage, self.pack, self.config.grid.size), settings.loop, self.folder / stage
            ).run(deadline)
        elif stage == "decoder" and self.config.decoder is not None:
            task = VqganStage(settings.stage, self.pack, self.config.grid.size)
            start = self._codec_weights()
            task.model.load_state_dict(start)
            task.average.load_state_dict(start)
            Trainer(task, settings.loop, self.folder / stage).run(deadline)
        elif stage == "latents":
            self._encode(deadline)
        elif stage == "dit":
            latents = self._latents()
            transformer = DitStage(settings.stage, latents, self.start.latent_scale if self.start else None)
            if self.start is not None:
                transformer.model.load_state_dict(self.start.dit.state_dict())
                transformer.average.load_state_dict(self.start.dit.state_dict())
            Trainer(transformer, settings.loop, self.folder / stage).run(deadline)
        return self.is_done(stage)

    def _latents(self) -> LatentSet:
        """The latents, if they belong to this codec and these classes.

        Raises:
            CardioDiTError: There are none, they are of another codec, or their groups are not the model's classes.
        """
        latents = read_latents(self.folder / "latents")
        if latents.about.get("codec") != fingerprint(self.codec()):
            raise CardioDiTError(
                "The latents were made by another codec.", "Remove the folder 'latents' and run that stage again."
            )
        classes = self.config.dit.stage.model.get("num_classes", 0)
        names = list(latents.about["group_names"])
        if self.start is None:
            if classes and len(names) != classes:
                raise CardioDiTError(
                    f"The settings ask for {classes} classes, the pack has {len(names)}: {', '.join(names) or 'none'}.",
                    "Set num_classes to the number of groups, or give the pack its groups.",
                )
            return latents
        known = list(self.start.manifest.class_names)
        strangers = [name for name in names if name not in known]
        if classes and strangers:
            raise CardioDiTError(
                f"The bundle knows no class {', '.join(strangers)}.", f"Name groups after its own: {', '.join(known)}."
            )
        # Groups are numbers in the pack's own order; the bundle's order is what its transformer has learned.
        order = torch.tensor([known.index(name) for name in names] + [-1]) if classes else torch.tensor([-1])
        groups = order[latents.groups] if classes else latents.groups
        return dataclasses.replace(latents, groups=groups, about={**latents.about, "group_names": known})

    def _encode(self, deadline: float | None) -> None:
        if distributed.rank() == 0:
            settings = self.config.latents
            device = distributed.pick_device(self.config.dit.loop.device)
            encode_pack(
                self.codec().to(device),
                self.pack,
                self.folder / "latents",
                size=self.config.grid.size,
                ranges=settings.augmentation,
                quantised=settings.quantised,
                seed=settings.seed,
                device=device,
                deadline=deadline,
            )
        distributed.wait_for_all()

    def train_all(self, minutes: float | None = None) -> bool:
        """Goes on with the first stage that is not done; True where all are.

        Latents are made before the decoder's second training: they do not depend on it.
        """
        began = time.monotonic()
        if not (self.is_done("vqgan") and self.is_done("latents")):
            _ = self.pack  # opening it takes a while the first time, and counts
        for stage in ("vqgan", "latents", "dit", "decoder"):
            if self.is_done(stage):
                continue
            left = None if minutes is None else minutes - (time.monotonic() - began) / 60
            if left is not None and left <= 0:
                return False
            if not self.train(stage, left):
                return False
        return True
