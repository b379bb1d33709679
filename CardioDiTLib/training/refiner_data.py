"""What the refiner learns from: real cines and morphs, and what is decoded of latents as the transformer draws them.

Each cine gives two versions of its latents. One is what the transformer could draw at best: encoded, and cut to the
coordinates that it sees. The other has the transformer's own faults: noise is added and taken away again by the
transformer itself (Meng et al., SDEdit, arXiv 2108.01073), so that the heart stays the same one and its texture is
the transformer's. From both the refiner has to find the real image.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from CardioDiTLib.data.morph import blood_gain
from CardioDiTLib.data.packing import PackedCines, read_pairs
from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.diffusion.denoiser import Denoiser
from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.diffusion.samplers import dpmpp_2m
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.decode import SliceDecoder
from CardioDiTLib.generation.heart_quantities import heart_quantities
from CardioDiTLib.models.axes import cine_to_model
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.vqgan import VQGAN
from CardioDiTLib.schema import parse_json
from CardioDiTLib.training.latent_augmentation import LatentAugmentation, augmented, morphed, partners_of
from CardioDiTLib.training.latents import encode_cine

ABOUT = "about.json"
BRIGHT = 255.0 / 1000.0


@dataclass(frozen=True)
class RedrawSettings:
    """How latents get the transformer's faults.

    Attributes:
        copies: Cines made of each training patient; the first is the patient as he is.
        log_snr: (low, high) noise to which latents are brought, log of signal to noise power.
        steps: Denoising steps from there.
        guidance: As in generation: towards class and quantities, where there are any.
    """

    copies: int = 3
    log_snr: tuple[float, float] = (0.0, 2.5)
    steps: int = 6
    guidance: float = 1.0


@dataclass(frozen=True, eq=False)
class RefinerSet:
    """Cines with what is decoded of them; M = 2 versions of each.

    Attributes:
        images: (N, Z, H, W, T) uint8, the real ones.
        labels: (N, Z, H, W, T) uint8.
        base: (N, 2, Z, H, W, T) uint8, of the slice decoder; as encoded, and redrawn.
        latents: (N, 2, C, Z, h, w, t) half, levelled.
        slice_valid: (N, Z).
        validation: (N,).
    """

    images: torch.Tensor
    labels: torch.Tensor
    base: torch.Tensor
    latents: torch.Tensor
    slice_valid: torch.Tensor
    validation: torch.Tensor


class RefinerData:
    """Makes and reads a folder of training examples, one file a copy.

    Args:
        folder: Where they lie.
        codec, dit, scale, schedule: The generator's parts.
        size: Rows and columns of the model's grid.
        ranges: Augmentation of the copies.
        settings: How latents are redrawn.
        seed: Seed of the draws.
        narrow: Compute in bfloat16.
        labels: The transformer's label of each of the pack's groups; None where its labels are the groups.
    """

    def __init__(
        self,
        folder: str | Path,
        codec: VQGAN,
        dit: DiT4D,
        scale: LatentScale,
        schedule: AnySchedule,
        *,
        size: int,
        ranges: LatentAugmentation,
        settings: RedrawSettings,
        seed: int = 0,
        narrow: bool = False,
        labels: Sequence[int] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.codec, self.dit, self.scale, self.schedule = codec.eval(), dit.eval(), scale, schedule
        self.size, self.ranges, self.settings, self.seed = size, ranges, settings, seed
        self.dtype = torch.bfloat16 if narrow else None
        self.labels = labels
        self.decoder = SliceDecoder(codec, True, self.dtype or torch.float32)

    @property
    def is_whole(self) -> bool:
        """Whether all copies are there.

        Raises:
            CardioDiTError: They were made with another codec or transformer.
        """
        path = self.folder / ABOUT
        if not path.is_file():
            return False
        about = parse_json(path.read_text(encoding="utf-8"))
        if about.get("made_with", self._made_with) != self._made_with:
            raise CardioDiTError(
                "The examples of the refiner were made with another codec or transformer.",
                f"Remove the folder '{self.folder.name}' and run this stage again.",
            )
        return bool(about["copies"] == self.settings.copies)

    @cached_property
    def _made_with(self) -> str:
        """SHA-256 of what examples are made with."""
        digest = hashlib.sha256()
        for network in (self.codec, self.dit, self.scale):
            for name, value in sorted(network.state_dict().items()):
                digest.update(name.encode() + value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _path(self, copy: int) -> Path:
        return self.folder / f"copy-{copy:02d}.safetensors"

    def _is_made(self, path: Path) -> bool:
        try:
            with safe_open(str(path), "pt") as stream:
                return bool((stream.metadata() or {}).get("made_with", self._made_with) == self._made_with)
        except (OSError, SafetensorError):
            return False

    def make(self, pack: PackedCines, pack_path: Path, deadline: float | None = None) -> bool:
        """Makes what is missing; True where all is there."""
        if pack.labels is None:
            raise CardioDiTError("The refiner learns labels, and the pack has none.", "Use a pack with labels.")
        self.folder.mkdir(parents=True, exist_ok=True)
        pairs = read_pairs(pack_path) if self.ranges.morphs else None
        for copy in range(self.settings.copies):
            if self._is_made(self._path(copy)):
                continue
            if deadline is not None and time.monotonic() > deadline:
                return False
            self._make_copy(pack, pairs, self._path(copy), copy)
        about = {"copies": self.settings.copies, "seed": self.seed, "made_with": self._made_with}
        with atomic_path(self.folder / ABOUT) as partial:
            partial.write_text(json.dumps(about), encoding="utf-8")
        return True

    def _make_copy(self, pack: PackedCines, pairs: Any, path: Path, copy: int) -> None:
        assert pack.labels is not None
        used, partners = partners_of(pack, morphs=bool(copy) and pairs is not None)
        if copy:
            used = [index for index in used if not pack.validation[index]]
        parts: dict[str, list[torch.Tensor]] = {"images": [], "labels": [], "base": [], "latents": []}
        edge = (pack.images.shape[-1] - self.size) // 2
        for index in used:
            rng = np.random.default_rng([self.seed, 77, index, copy])
            group = int(pack.groups[index])
            if copy and pairs is not None:
                cine, labels, group = morphed(pack, pairs, index, partners[index], self.size, rng, self.ranges)
            else:
                cine = augmented(pack.images[index], self.size, None, self.ranges)
                labels = pack.labels[index][..., edge : edge + self.size, edge : edge + self.size]
                if pairs is not None:
                    cine = ((cine + 1) * blood_gain(pairs[index])).clip(0, 2) - 1
            quantities = torch.tensor([heart_quantities(labels, pack.spacing)], dtype=torch.float32)
            versions = self._versions(cine, group, quantities, rng)
            grey = np.rint((cine + 1) * 127.5).astype(np.uint8)
            parts["images"].append(torch.from_numpy(np.ascontiguousarray(cine_to_model(grey))))
            parts["labels"].append(torch.from_numpy(np.ascontiguousarray(cine_to_model(labels))))
            parts["base"].append(torch.stack([base for base, _ in versions]))
            parts["latents"].append(torch.stack([latents for _, latents in versions]))
        tensors = {name: torch.stack(values) for name, values in parts.items()}
        tensors["slice_valid"] = torch.from_numpy(pack.slice_valid[used])
        tensors["validation"] = torch.from_numpy(pack.validation[used])
        with atomic_path(path) as partial:
            save_file(tensors, partial, metadata={"made_with": self._made_with})

    @torch.no_grad()
    def _versions(
        self, cine: np.ndarray, group: int, quantities: torch.Tensor, rng: np.random.Generator
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(decoded image (Z, H, W, T) uint8, levelled latents half) as encoded and redrawn."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype is not None):
            encoded = encode_cine(self.codec, cine, torch.device("cpu"), False)
        x0 = self.scale.normalise(encoded[None])
        redrawn = self._redrawn(x0, group, quantities, rng)
        versions = []
        for x in (x0, redrawn):
            latents = self.scale.restore(x)
            image = self.decoder.decode(latents)  # (T, Z, Y, X), 0 to 1000
            base = np.rint(cine_to_model(image).astype(np.float32) * BRIGHT).astype(np.uint8)
            versions.append((torch.from_numpy(np.ascontiguousarray(base)), self.scale.levelled(latents)[0].half()))
        return versions

    def _redrawn(
        self, x0: torch.Tensor, group: int, quantities: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        settings = self.settings
        label = group if group < 0 or self.labels is None else self.labels[group]
        start = float(rng.uniform(*settings.log_snr))
        ends = self.schedule.log_snr_ends
        steps = np.linspace(start, ends[1], settings.steps)
        levels = NoiseLevels.at(self.schedule, self.schedule.t_of_log_snr(steps).numpy())
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(x0.shape, generator=generator)
        noisy = float(levels.alpha[0]) * x0 + float(levels.sigma[0]) * noise
        labels = [label] if label >= 0 and self.dit.num_classes else None
        conditions = quantities if self.dit.c_embedder is not None and rng.random() < 0.5 else None
        guided = (labels is not None and self.dit.null_class is not None) or conditions is not None
        denoise = Denoiser(
            self.dit,
            self.schedule,
            labels=labels,
            guidance=settings.guidance if guided else 1.0,
            null_label=self.dit.null_class,
            conditions=conditions,
            autocast=self.dtype,
        )
        return dpmpp_2m(denoise, noisy, levels)

    def read(self) -> RefinerSet:
        """All copies.

        Raises:
            CardioDiTError: They are not complete.
        """
        if not self.is_whole:
            raise CardioDiTError("The examples of the refiner are not complete.", "Run this stage again.")
        parts: dict[str, list[torch.Tensor]] = {}
        for copy in range(self.settings.copies):
            with safe_open(str(self._path(copy)), "pt") as stream:
                for name in stream.keys():  # noqa: SIM118 - not a dict
                    parts.setdefault(name, []).append(stream.get_tensor(name))
        return RefinerSet(**{name: torch.cat(tensors) for name, tensors in parts.items()})
