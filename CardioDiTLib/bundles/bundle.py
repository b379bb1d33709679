"""A bundle that is opened: its manifest at once, its networks when they are asked for."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from CardioDiTLib.bundles.cardiodit_config import build_dit, build_vqgan
from CardioDiTLib.bundles.manifest import GENERATOR, MANIFEST_NAME, MODEL_CARD_NAME, BundleManifest
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.bundles.weights import load_strictly, read_weights, write_weights
from CardioDiTLib.diffusion.any_schedule import AnySchedule, schedule_from_config
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import check_file_name, sha256_of
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.low_rank import apply_changes
from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.models.vqgan import VQGAN


class Bundle:
    """A generator on disk.

    A file is compared with its fingerprint when it is read, so that nothing runs with weights that were changed.

    Args:
        folder: Folder of the bundle.

    Raises:
        CardioDiTError: There is no readable manifest.

    Examples:
        >>> bundle = load_bundle("acdc-mini")  # doctest: +SKIP
        >>> bundle.manifest.class_names  # doctest: +SKIP
        ('NOR', 'DCM', 'HCM', 'MINF', 'RV')
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest: BundleManifest = GENERATOR.read(self.folder)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of bundle.json, which holds that of every other file: the fingerprint of the whole."""
        return sha256_of(self.folder / MANIFEST_NAME)

    @cached_property
    def vqgan(self) -> VQGAN:
        """The codec, in evaluation mode, float32 on the CPU.

        Raises:
            CardioDiTError: Its file is missing, changed, or does not fit the manifest.
        """
        return self._filled(lambda: build_vqgan(self.manifest.codec.params), self.manifest.codec.file)

    @cached_property
    def dit(self) -> DiT4D:
        """The transformer, in evaluation mode, float32 on the CPU.

        Raises:
            CardioDiTError: Its file is missing, changed, or does not fit the manifest.
        """
        return self._filled(lambda: build_dit(self.manifest.dit.params), self.manifest.dit.file)

    @cached_property
    def few_step_dit(self) -> DiT4D | None:
        """The transformer that draws in a few steps, guidance folded in; None where the bundle has none.

        Raises:
            CardioDiTError: Its file is missing, changed, or does not fit the transformer.
        """
        spec = self.manifest.few_steps
        if spec is None:
            return None
        network = copy.deepcopy(self.dit)
        apply_changes(network, self._weights(spec.file), f"'{spec.file}' of the bundle '{self.manifest.name}'")
        return network

    @cached_property
    def refiner(self) -> CineRefiner | None:
        """The network that refines what the codec decodes; None where the bundle has none.

        Raises:
            CardioDiTError: Its file is missing, changed, or does not fit the manifest.
        """
        spec = self.manifest.refiner
        if spec is None:
            return None

        def build() -> CineRefiner:
            try:
                return CineRefiner(**spec.params)
            except TypeError as error:
                raise CardioDiTError(
                    f"The refiner of the bundle '{self.manifest.name}' has parameters that this library does not know.",
                    "Update CardioDiT.",
                ) from error

        return self._filled(build, spec.file)

    @cached_property
    def latent_scale(self) -> LatentScale:
        """Between the codec's latents and what the transformer sees.

        Raises:
            CardioDiTError: Its file is missing, changed, or does not hold what it should.
        """
        spec = self.manifest.latents
        if spec.scale_factor is not None:
            return LatentScale.published(spec.scale_factor, spec.channels)
        assert spec.file is not None  # the manifest saw to it
        state = self._weights(spec.file)
        wanted = {"mean", "std"} if spec.patch is None else {"mean", "std", "basis"}
        if set(state) != wanted:
            raise CardioDiTError(
                f"'{spec.file}' of the bundle '{self.manifest.name}' holds {', '.join(sorted(state))}, not "
                f"{', '.join(sorted(wanted))}.",
                "Get the bundle again.",
            )
        patch = spec.patch or (1, 1, 1, 1)
        return LatentScale(state["mean"], state["std"], modes=spec.modes, basis=state.get("basis"), patch=patch)

    @cached_property
    def schedule(self) -> AnySchedule:
        """The noise schedule of the transformer.

        Raises:
            CardioDiTError: Its settings are not possible.
        """
        return schedule_from_config(self.manifest.schedule)

    @property
    def model_card(self) -> str:
        """Text of the model card, Markdown; empty where there is none."""
        path = self.folder / MODEL_CARD_NAME
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def check(self) -> None:
        """Build all parts and see that they belong together.

        Raises:
            CardioDiTError: A part cannot be built, or two parts do not fit.
        """
        grid, dit, vqgan = self.manifest.grid, self.dit, self.vqgan
        size = (grid.height, grid.width, grid.frames)
        latents = vqgan.latent_shape(*size)
        expected = (latents[0], grid.slices, *latents[1:])
        if (dit.in_channels, *dit.input_size) != self.latent_scale.seen_shape(expected):
            raise CardioDiTError(
                f"The codec of '{self.manifest.name}' makes latents {expected} (C, Z, H, W, T) of its grid, seen as "
                f"{self.latent_scale.seen_shape(expected)}, but the "
                f"transformer takes {(dit.in_channels, *dit.input_size)}.",
                "Correct the grid, or the parameters of the networks.",
            )
        if self.manifest.latents.channels != expected[0]:
            raise CardioDiTError(
                f"The manifest of '{self.manifest.name}' says {self.manifest.latents.channels} latent channels, the "
                f"codec has {expected[0]}.",
                "Correct the manifest.",
            )
        try:
            # NumPy's: torch's own brings sympy, which takes as long as half a heart
            np.broadcast_shapes(self.latent_scale.mean.shape, self.latent_scale.std.shape, expected)
        except ValueError as error:
            raise CardioDiTError(
                f"The latent statistics of '{self.manifest.name}' do not fit latents of shape {expected}.",
                "Compute them from latents of this codec.",
            ) from error
        _, _ = self.schedule, self.few_step_dit
        refiner = self.refiner
        if refiner is not None and (*refiner.latent_size, *refiner.image_size) != (*expected[1:], *size):
            raise CardioDiTError(
                f"The refiner of '{self.manifest.name}' was made for latents {refiner.latent_size} and images "
                f"{refiner.image_size}.",
                "Correct the grid, or the parameters of the refiner.",
            )

    def checked_file(self, file_name: str) -> Path:
        """Path of a file of the bundle, after it was compared with its fingerprint.

        Raises:
            CardioDiTError: The file is missing, changed, or has no fingerprint.
        """
        return GENERATOR.checked_file(self.folder, self.manifest, file_name)

    def _filled(self, build: Callable[[], Any], file_name: str) -> Any:
        with _NoDraws():
            network = build()
        load_strictly(network, self._weights(file_name), f"'{file_name}' of the bundle '{self.manifest.name}'")
        return network.eval().requires_grad_(False)

    def _weights(self, file_name: str) -> Mapping[str, torch.Tensor]:
        return read_weights(self.checked_file(file_name))


class _NoDraws(TorchFunctionMode):
    """Networks are made without first weights, which would be replaced at once."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))


def load_bundle(name_or_folder: str | os.PathLike[str]) -> Bundle:
    """Open a bundle.

    Args:
        name_or_folder: Name of a bundle on this machine (:func:`~CardioDiTLib.bundles.list_bundles`), or a folder.

    Raises:
        CardioDiTError: There is no such bundle, or its manifest cannot be read.
    """
    return Bundle(find_bundle(name_or_folder))


def write_bundle(
    destination: str | os.PathLike[str],
    manifest: BundleManifest,
    vqgan: VQGAN,
    dit: DiT4D,
    latent_scale: LatentScale,
    *,
    model_card: str,
    storage: str | Mapping[str, str] = "fp16",
    overwrite: bool = False,
    refiner: CineRefiner | None = None,
    files: Mapping[str, Path] | None = None,
) -> Bundle:
    """Write a bundle's folder; it appears under its name only once it is complete and has been opened and built.

    Args:
        destination: The folder to make.
        manifest: Everything but ``files``, which is filled in.
        vqgan: The codec.
        dit: The transformer, with its averaged weights in place.
        latent_scale: Scale of the latents. Its tensors are always stored in float32.
        model_card: Text of MODEL_CARD.md.
        storage: "fp32", "fp16" or "int8" for both networks, or {"codec": ..., "dit": ...}.
        overwrite: Replace a bundle that lies there. A folder that is no bundle is never replaced.
        refiner: The refiner, where the manifest names one; stored as the codec is.
        files: More files of the bundle, by name: copied as they are, such as those that its privacy section names.

    Returns:
        The bundle, opened.

    Raises:
        CardioDiTError: Something lies there already, the parts do not belong together, a file that the
            manifest needs is not among them, or the disk is full.
    """
    GENERATOR.check_destination(Path(destination), overwrite)
    storages = {"codec": storage, "dit": storage} if isinstance(storage, str) else dict(storage)
    if set(storages) != {"codec", "dit"}:
        raise CardioDiTError(f"The storage {storages} is not possible.", "Give one for 'codec' and one for 'dit'.")
    _check_scale(manifest, latent_scale)
    if (manifest.refiner is None) != (refiner is None):
        raise CardioDiTError("The manifest and the parts do not agree about a refiner.", "Give both or neither.")

    def fill(place: Path) -> None:
        write_weights(place / manifest.codec.file, vqgan.state_dict(), storages["codec"])
        write_weights(place / manifest.dit.file, dit.state_dict(), storages["dit"])
        if manifest.refiner is not None and refiner is not None:
            write_weights(place / manifest.refiner.file, refiner.state_dict(), storages["codec"])
        if manifest.latents.file is not None:
            statistics = {"mean": latent_scale.mean, "std": latent_scale.std}
            if latent_scale.basis is not None:
                statistics["basis"] = latent_scale.basis
            write_weights(place / manifest.latents.file, statistics, "fp32")
        (place / MODEL_CARD_NAME).write_text(model_card, encoding="utf-8")
        for name, source in (files or {}).items():
            check_file_name(name, "file list")
            if (place / name).exists():
                raise CardioDiTError(f"The bundle has two files '{name}'.", "Rename one.")
            shutil.copyfile(source, place / name)

    return Bundle(
        GENERATOR.write(destination, manifest, fill, lambda place: Bundle(place).check(), overwrite=overwrite)
    )


def _check_scale(manifest: BundleManifest, scale: LatentScale) -> None:
    spec = manifest.latents
    if spec.modes != scale.modes:
        raise CardioDiTError(
            f"The manifest says modes {spec.modes}, the latent scale has {scale.modes}.", "Make them agree."
        )
    if spec.patch != (None if scale.basis is None else scale.patch):
        raise CardioDiTError(
            f"The manifest says patches {spec.patch}, the latent scale has {scale.patch}.", "Make them agree."
        )
    if spec.scale_factor is not None:
        wanted = LatentScale.published(spec.scale_factor, spec.channels)
        same = wanted.std.shape == scale.std.shape and wanted.mean.shape == scale.mean.shape
        if not same or not torch.allclose(wanted.std, scale.std) or bool(scale.mean.any()):
            raise CardioDiTError(
                f"The latent scale is not the one factor {spec.scale_factor:g} of the manifest.",
                "Name a file in the manifest's latents instead of a scale factor.",
            )
