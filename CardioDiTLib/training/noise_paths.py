"""Ways from noise to image, as a trained transformer goes them with guidance: what a student of few steps learns from.

A deterministic sampler leads each noise to one image (J. Song et al., DDIM, arXiv 2010.02502, section 4.3), so that
between two noise levels there is one right answer, and a student that is asked for it need not blur.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.diffusion.denoiser import Denoiser
from CardioDiTLib.diffusion.sampler_names import DEFAULT_SPACING
from CardioDiTLib.diffusion.samplers import SAMPLERS
from CardioDiTLib.diffusion.spacing import noise_levels
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path, save_tensors

_ABOUT = "about.json"


@dataclass(frozen=True)
class PathSettings:
    """How ways are drawn.

    Attributes:
        count: Ways; those of the first file are kept aside.
        file_size: Ways a file, drawn in batches of `batch`.
        steps: Steps of the sampler.
        guidance: Strength, folded into the student; see `taught_guidance`.
        asked_share: Share of hearts of which quantities are asked; of these each is left out with `left_out_share`.
        seed: Of everything that is drawn.
    """

    count: int = 2048
    file_size: int = 128
    batch: int = 16
    steps: int = 16
    guidance: float = 1.5
    asked_share: float = 0.5
    left_out_share: float = 0.4
    seed: int = 1

    def __post_init__(self) -> None:
        if self.file_size < self.batch or self.file_size % self.batch or self.count < 2 * self.file_size:
            raise CardioDiTError(
                f"{self.count} ways in files of {self.file_size} and batches of {self.batch} cannot be.",
                "Give two files or more, of whole batches.",
            )


@dataclass(frozen=True, eq=False)
class NoisePaths:
    """Ways, where they were kept.

    Attributes:
        seen: (N, K, C, ...) half: the noisy latents at K levels.
        labels: (N,) classes, the number after the last for none; empty for a transformer without classes.
        conditions: (N, Q) quantities asked, NaN for none; Q may be 0.
        aside: How many, from the first on, are kept aside.
    """

    seen: torch.Tensor
    labels: torch.Tensor
    conditions: torch.Tensor
    aside: int


def taught_guidance(bundle: Bundle, settings: PathSettings) -> float:
    """Strength that a bundle is taught: 1 where it has neither classes nor quantities to be guided towards."""
    return settings.guidance if bundle.dit.null_class is not None or bundle.manifest.quantities else 1.0


def draw_paths(
    bundle: Bundle,
    folder: str | Path,
    settings: PathSettings,
    kept: Sequence[int],
    *,
    network: Callable[..., torch.Tensor] | None = None,
    autocast: torch.dtype | None = None,
    deadline: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Draws what is missing of the ways, one file after the other.

    Args:
        bundle: The teacher; ways are drawn on the device where its transformer is.
        folder: Where the files go.
        settings: How they are drawn.
        kept: Levels to keep, numbers from 0 (noise) to `settings.steps` (image).
        network: The teacher's transformer, such as a compiled one; the bundle's without it.
        autocast: Type in which it computes.
        deadline: `time.monotonic()` after which no file is begun.
        progress: Called with (ways drawn, of).

    Returns:
        True where all are there.

    Raises:
        CardioDiTError: The folder holds ways that were drawn otherwise.
    """
    folder = Path(folder)
    about = {
        **vars(settings),
        "kept": list(kept),
        "transformer": bundle.manifest.files[bundle.manifest.dit.file].sha256,
    }
    _check_folder(folder, about)
    files = -(-settings.count // settings.file_size)
    for number in range(files):
        path = folder / f"ways-{number:03d}.safetensors"
        if not path.is_file():
            if deadline is not None and time.monotonic() > deadline:
                return False
            tensors = _drawn(bundle, settings, number, kept, bundle.dit if network is None else network, autocast)
            with atomic_path(path) as partial:
                save_tensors(tensors, partial)
        if progress is not None:
            progress((number + 1) * settings.file_size, files * settings.file_size)
    return True


def read_paths(folder: str | Path, settings: PathSettings) -> NoisePaths:
    """All ways of a folder.

    Raises:
        CardioDiTError: There are none.
    """
    files = sorted(Path(folder).glob("ways-*.safetensors"))
    if len(files) < 2:
        raise CardioDiTError(f"There are no ways from noise to image in '{folder}'.", "Draw them first.")
    parts = [load_file(path) for path in files]
    whole = {name: torch.cat([part[name] for part in parts]) for name in ("seen", "labels", "conditions")}
    return NoisePaths(**whole, aside=settings.file_size)


def _check_folder(folder: Path, about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / _ABOUT
    if not place.is_file():
        with atomic_path(place) as partial:
            partial.write_text(json.dumps(about, indent=1), encoding="utf-8")
    elif json.loads(place.read_text(encoding="utf-8")) != about:
        raise CardioDiTError(f"The ways in '{folder}' were drawn otherwise.", "Remove the folder, or take another.")


@torch.no_grad()
def _drawn(
    bundle: Bundle,
    settings: PathSettings,
    number: int,
    kept: Sequence[int],
    network: Callable[..., torch.Tensor],
    autocast: torch.dtype | None,
) -> dict[str, torch.Tensor]:
    dit, quantities = bundle.dit, bundle.manifest.quantities
    device = next(dit.parameters()).device
    levels = noise_levels(bundle.schedule, settings.steps, DEFAULT_SPACING["dpmpp_2m"])
    rng = np.random.default_rng([settings.seed, number])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    parts: dict[str, list[torch.Tensor]] = {"seen": [], "labels": [], "conditions": []}
    for _ in range(settings.file_size // settings.batch):
        known = dit.num_classes + (dit.null_class is not None)  # labels, that of no class among them
        labels = torch.from_numpy(rng.integers(0, max(known, 1), settings.batch if known else 0))
        low, high = [one.usual_low for one in quantities], [one.usual_high for one in quantities]
        asked = rng.uniform(low, high, (settings.batch, len(quantities)))
        asked[rng.random(asked.shape) < settings.left_out_share] = np.nan
        asked[rng.random(settings.batch) >= settings.asked_share] = np.nan
        conditions = torch.from_numpy(asked).float()
        denoise = Denoiser(
            network,
            bundle.schedule,
            labels=labels if len(labels) else None,
            guidance=taught_guidance(bundle, settings),
            null_label=dit.null_class,
            conditions=conditions if quantities else None,
            autocast=autocast,
        )
        seen: list[torch.Tensor] = []

        def noted(x: torch.Tensor, t: float, seen: list[torch.Tensor] = seen, ask: Denoiser = denoise) -> torch.Tensor:
            seen.append(x.cpu())
            return ask(x, t)

        noise = torch.randn((settings.batch, dit.in_channels, *dit.input_size), generator=generator)
        seen.append(SAMPLERS["dpmpp_2m"](noted, noise.to(device), levels).cpu())
        parts["seen"].append(torch.stack([seen[level] for level in kept], dim=1).half())
        parts["labels"].append(labels)
        parts["conditions"].append(conditions)
    return {name: torch.cat(values) for name, values in parts.items()}
