"""A whole training run in a folder, stage after stage, in pieces of any length.

<folder>/vqgan/     stage 1: log, curves, checkpoints
<folder>/decoder/   optional: the decoder alone once more
<folder>/latents/   every cine encoded by the codec, some times over
<folder>/dit/       stage 2
<folder>/examples/  optional: what the refiner learns from
<folder>/refiner/   optional: the refiner
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.data.packing import PackedCines, read_pairs
from CardioDiTLib.diffusion.any_schedule import AnySchedule, schedule_from_config
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.baselines import baseline_network
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.models.vqgan import VQGAN
from CardioDiTLib.schema import plain
from CardioDiTLib.training import distributed
from CardioDiTLib.training.checkpoint import averaged_weights, finished_steps
from CardioDiTLib.training.config import StageSettings, TrainingConfig
from CardioDiTLib.training.dit_stage import DitStage
from CardioDiTLib.training.latents import LatentSet, encode_pack, fingerprint, latents_are_whole, made_as, read_buckets
from CardioDiTLib.training.loop import Trainer
from CardioDiTLib.training.refiner_data import RefinerData
from CardioDiTLib.training.refiner_stage import RefinerStage
from CardioDiTLib.training.start import remember_start, remembered_start
from CardioDiTLib.training.telling import Telling, deadline_after, opened_pack
from CardioDiTLib.training.vqgan_stage import VqganStage

STAGES = ("vqgan", "decoder", "latents", "dit", "refiner")

_DRAWN = ("continuous", "log_snr_range", "sample_method", "logit_mean", "logit_std")
"""Settings of a schedule that say which times are drawn, not what a time means."""


class TrainingRun:
    """The stages of one model in one folder.

    Args:
        config: All settings.
        data: The pack.
        folder: Where everything goes; an earlier piece is continued.
        start_from: Name or folder of a bundle to go on from: its codec is taken as it is (stage 1 is left out), its
            transformer and latent scale are where stage 2 begins. For more hours of training, or for other data. Its
            decoder goes on only where stage `decoder` is asked for by name: no latent changes by it. What an earlier
            piece in the folder began from is remembered there (`start.json`), so it need not be given again.

    Raises:
        CardioDiTError: The bundle has other settings than the run, or is not the one that the run began from.
    """

    def __init__(
        self, config: TrainingConfig, data: str | Path, folder: str | Path, start_from: str | Path | None = None
    ) -> None:
        self.config, self.data, self.folder = config, Path(data), Path(folder)
        self.start = remembered_start(self.folder, start_from)
        if self.start is not None:
            self._check_start(self.start)
        self._pack: PackedCines | None = None

    @property
    def pack(self) -> PackedCines:
        """The pack, opened to the end."""
        self._open_pack(None)
        assert self._pack is not None
        return self._pack

    def _open_pack(self, deadline: float | None) -> bool:
        """Opens the pack; False where the time is used up before the frames of its pairs are made."""
        if self._pack is not None:
            return True
        pack = opened_pack(self.data, self.config.grid.frames, deadline)
        if pack is None:
            return False
        wanted = (self.config.grid.frames, self.config.grid.slices)
        if pack.images.shape[1:3] != wanted or pack.images.shape[-1] < self.config.grid.size:
            raise CardioDiTError(
                f"The pack holds {pack.images.shape[1]} frames, {pack.images.shape[2]} slices of "
                f"{pack.images.shape[-1]} pixels; "
                f"the settings ask for {wanted[0]}, {wanted[1]} and {self.config.grid.size}.",
                "Make the pack or the settings to match.",
            )
        self._pack = pack
        return True

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
        if self.config.dit.stage.baseline != "full4d":
            raise CardioDiTError(
                f"The baseline '{self.config.dit.stage.baseline}' cannot go on from a bundle.",
                "Train it from nothing, without --start-from.",
            )
        settings, old = self.config.dit.stage, bundle.manifest.latents
        pairs: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
            ("codec", bundle.manifest.codec.params, self.config.vqgan.stage.model),
            ("transformer", bundle.manifest.dit.params, settings.model),
            (
                "latent scale",
                {"modes": old.modes, "patch": old.patch},
                {"modes": settings.modes, "patch": settings.patch if settings.coordinates else None},
            ),
            ("schedule", _times_of(bundle.schedule), _times_of(schedule_from_config(settings.schedule))),
        )
        for what, theirs, ours in pairs:
            # Quantities to steer by can be added to a transformer that knew none.
            added = {"num_conditions"} if "num_conditions" not in theirs else set()
            keys = {*theirs, *ours} - added
            different = sorted(key for key in keys if plain(theirs.get(key)) != plain(ours.get(key)))
            if different:
                raise CardioDiTError(
                    f"The {what} of '{bundle.manifest.name}' has other settings than this run: {', '.join(different)}.",
                    "Use the settings that the bundle was trained with.",
                )

    def _check_grid(self) -> None:
        """See that codec and transformer fit, before hours go into the first."""
        grid, stage = self.config.grid, self.config.dit.stage
        latents = VQGAN(**self.config.vqgan.stage.model).latent_shape(grid.size, grid.size, grid.frames)
        seen = latents[0], grid.slices, *latents[1:]
        if stage.coordinates:
            fits = all(n % step == 0 for n, step in zip(seen[1:], stage.patch))
            seen = (stage.coordinates, *(n // step for n, step in zip(seen[1:], stage.patch))) if fits else seen
        takes = stage.model.get("in_channels", 8), *stage.model.get("input_size", (6, 64, 64, 8))
        if seen != takes:
            raise CardioDiTError(
                f"Of the grid the codec makes latents that are seen as {seen}; the transformer takes {takes}.",
                "Correct in_channels and input_size (Z, H, W, T) in dit.stage.model, or the grid.",
            )

    def is_done(self, stage: str) -> bool:
        untouched = ("vqgan",) if finished_steps(self.folder / "decoder") else ("vqgan", "decoder")
        if self.start is not None and stage in untouched:
            return True
        if stage == "latents":
            settings = self.config.latents
            wanted = made_as(settings.augmentation, settings.quantised, settings.seed)
            return latents_are_whole(self.folder / "latents", wanted)
        settings = getattr(self.config, stage)
        return settings is None or finished_steps(self.folder / stage) >= settings.loop.steps

    def train(self, stage: str, minutes: float | None = None) -> bool:
        """Trains one stage; True where it is done.

        Args:
            stage: One of `STAGES`.
            minutes: Stop, with a checkpoint, after this long.

        Raises:
            CardioDiTError: An earlier stage is missing, or the transformer does not take the latents of the grid.
        """
        self._check_grid()
        distributed.start()
        if self.start is not None and distributed.rank() == 0:
            remember_start(self.folder, self.start)
        deadline = deadline_after(minutes)
        if stage != "dit" and not self._open_pack(deadline):
            return False
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
                transformer.begin_with(self.start.dit)
            Trainer(transformer, settings.loop, self.folder / stage).run(deadline)
        elif stage == "refiner" and self.config.refiner is not None:
            examples = self._examples()
            if not examples.is_whole and not examples.make(self.pack, self.data, deadline):
                return False
            Trainer(RefinerStage(settings.stage, examples.read()), settings.loop, self.folder / stage).run(deadline)
        return self.is_done(stage)

    def transformer(self) -> tuple[DiT4D, LatentScale]:
        """The averaged transformer and the scale of its latents: those trained here, else those started from.

        Raises:
            CardioDiTError: There are none yet.
        """
        if self.start is not None and not finished_steps(self.folder / "dit"):
            return self.start.dit, self.start.latent_scale
        settings = self.config.dit.stage
        dit = baseline_network(settings.baseline, settings.model)
        dit.load_state_dict(averaged_weights(self.folder / "dit"))
        statistics = averaged_weights(self.folder / "dit", "scale")
        scale = LatentScale(
            statistics["mean"],
            statistics["std"],
            settings.modes,
            basis=statistics.get("basis"),
            patch=settings.patch if settings.coordinates else (1, 1, 1, 1),
        )
        return dit.eval(), scale

    def refiner(self) -> CineRefiner | None:
        """The averaged refiner trained here, else that of the bundle started from; None where there is none."""
        if self.config.refiner is None or not finished_steps(self.folder / "refiner"):
            return None if self.start is None else self.start.refiner
        network = CineRefiner(**self.config.refiner.stage.model)
        weights = averaged_weights(self.folder / "refiner")
        if network.picture is None:  # one that was trained with the picture can be kept for its labels alone
            weights = {name: value for name, value in weights.items() if not name.startswith("picture.")}
        network.load_state_dict(weights)
        return network.eval()

    def _examples(self) -> RefinerData:
        assert self.config.refiner is not None
        dit, scale = self.transformer()
        groups = self.pack.group_names
        known = self._classes_of(groups)
        return RefinerData(
            self.folder / "examples",
            self.codec(),
            dit,
            scale,
            schedule_from_config(self.config.dit.stage.schedule),
            size=self.config.grid.size,
            ranges=self.config.latents.augmentation,
            settings=self.config.refiner.stage.data,
            seed=self.config.refiner.loop.seed,
            narrow=self.config.refiner.loop.precision == "bf16",
            labels=[known.index(name) for name in groups] if known else None,
        )

    def _latents(self) -> tuple[LatentSet, ...]:
        """The latents, one set a shape, if they belong to this codec and these classes.

        Raises:
            CardioDiTError: There are none, they are of another codec, their groups are not the model's classes, or they
                lack the quantities that hearts are to be steered by.
        """
        sets = read_buckets(self.folder / "latents")
        latents = sets[0]
        if latents.about.get("codec") != fingerprint(self.codec()):
            raise CardioDiTError(
                "The latents were made by another codec.", "Remove the folder 'latents' and run that stage again."
            )
        made_for, wanted = latents.about.get("shapes"), self._shapes()
        if made_for != wanted:
            raise CardioDiTError(
                "The latents were made with other settings of 'shapes', or for other patches.",
                "Remove the folder 'latents' and run that stage again.",
            )
        if all(bool(one.validation.all()) for one in sets):
            raise CardioDiTError("The pack keeps all its cines aside.", "Make a pack with cines to train on.")
        self._check_quantities(sets)
        classes = self.config.dit.stage.model.get("num_classes", 0)
        names, known = list(latents.about["group_names"]), list(self.class_names(latents))
        if not classes or self.start is None:
            return sets
        # Groups are numbers in the pack's own order; the bundle's order is what its transformer has learned.
        order = torch.tensor([known.index(name) for name in names] + [-1])
        about = {**latents.about, "group_names": known}
        return tuple(dataclasses.replace(one, groups=order[one.groups], about=about) for one in sets)

    def _check_quantities(self, sets: tuple[LatentSet, ...]) -> None:
        wanted = self.config.dit.stage.model.get("num_conditions", 0)
        names = sets[0].about.get("quantities", [])
        if wanted and wanted != len(names):
            raise CardioDiTError(
                f"The settings ask for num_conditions {wanted}; a heart measures {len(names)}: {', '.join(names)}.",
                f"Set num_conditions to {len(names)}, or leave it out.",
            )
        measured = any(bool(one.quantities[~one.validation].isfinite().all(1).any()) for one in sets)
        if wanted and not measured and (self.start is None or not self.start.manifest.quantities):
            raise CardioDiTError(
                "Without labels no training cine is measured, so hearts cannot be steered.",
                "Leave num_conditions out of the transformer's settings, or give a pack with labels.",
            )

    def _multiples(self) -> tuple[int, int]:
        """Slices and frames of one patch of the transformer."""
        patch = self.config.dit.stage.model.get("patch_size", (1, 4, 4, 2))
        return int(patch[0]), int(patch[3]) * VQGAN(**self.config.vqgan.stage.model).downsampling[2]

    def _shapes(self) -> dict[str, Any] | None:
        """As `encode_pack` writes it down; None for one shape."""
        shapes = self.config.latents.shapes
        return {**shapes.to_dict(), "multiples": list(self._multiples())} if shapes else None

    def class_names(self, latents: LatentSet) -> tuple[str, ...]:
        """Classes of the transformer in the order of its labels: those of the bundle that the run began from, else the
        pack's groups; none for a model without classes.

        Raises:
            CardioDiTError: The pack's groups are not the model's classes.
        """
        return self._classes_of(tuple(latents.about["group_names"]))

    def _classes_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The same for the names of a pack's groups."""
        classes = self.config.dit.stage.model.get("num_classes", 0)
        if not classes:
            return ()
        if self.start is None:
            if len(names) != classes:
                raise CardioDiTError(
                    f"The settings ask for {classes} classes, the pack has {len(names)}: {', '.join(names) or 'none'}.",
                    "Set num_classes to the number of groups, or give the pack its groups.",
                )
            return names
        known = self.start.manifest.class_names
        strangers = [name for name in names if name not in known]
        if strangers:
            raise CardioDiTError(
                f"The bundle knows no class {', '.join(strangers)}.", f"Name groups after its own: {', '.join(known)}."
            )
        return known

    def _encode(self, deadline: float | None) -> None:
        if distributed.rank() == 0:
            settings, codec, grid = self.config.latents, self.codec(), self.config.grid
            multiples = self._multiples()
            settings.shapes.check_fit(
                grid.slices, grid.frames, self.config.dit.stage.model, codec.downsampling[2], multiples
            )
            device = distributed.pick_device(self.config.dit.loop.device)
            with Telling("latents", "copy") as tell:
                encode_pack(
                    codec.to(device),
                    self.pack,
                    self.folder / "latents",
                    size=grid.size,
                    ranges=settings.augmentation,
                    quantised=settings.quantised,
                    seed=settings.seed,
                    device=device,
                    deadline=deadline,
                    progress=tell,
                    pairs=read_pairs(self.data) if settings.augmentation.morphs else None,
                    shapes=settings.shapes,
                    multiples=multiples,
                )
        distributed.wait_for_all()

    def train_all(self, minutes: float | None = None) -> bool:
        """Goes on with the first stage that is not done; True where all are.

        Latents are made before the decoder's second training: they do not depend on it.
        """
        deadline = deadline_after(minutes)
        for stage in ("vqgan", "latents", "dit", "decoder", "refiner"):
            if self.is_done(stage):
                continue
            left = None if deadline is None else (deadline - time.monotonic()) / 60
            if left is not None and left <= 0:
                return False
            if not self.train(stage, left):
                return False
        return True


def _times_of(schedule: AnySchedule) -> dict[str, Any]:
    """Settings of a schedule that say how noisy a time is, and what is predicted there."""
    return {name: value for name, value in schedule.to_config().items() if name not in _DRAWN}
