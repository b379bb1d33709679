"""The networks of a bundle, ready to complete and to vary: cine to latents, latents to latents, latents to cine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.completion.known_latents import AgreeingDenoiser, KnownLatents
from CardioDiTLib.completion.strength import levels_from
from CardioDiTLib.device import choose_device, told_when_out_of_memory
from CardioDiTLib.diffusion.denoiser import Denoiser
from CardioDiTLib.diffusion.noise import draw_noise, sample_generators
from CardioDiTLib.diffusion.sampler_names import DEFAULT_SPACING
from CardioDiTLib.diffusion.samplers import SAMPLERS, Denoise, StepInfo
from CardioDiTLib.diffusion.spacing import noise_levels
from CardioDiTLib.generation.decode import BRIGHTEST, RefinedDecoder, SliceDecoder
from CardioDiTLib.generation.plan import SamplingPlan
from CardioDiTLib.generation.precision import choose_precision, narrowed, precision_name
from CardioDiTLib.models.axes import cine_to_model
from CardioDiTLib.progress import StepCallback as Progress

_SLICES_AT_ONCE = 4

_HEARTS, _FEW_STEPS = 2, 8
"""Enough to estimate the variance of each number."""


class Completer:
    """A bundle on a device.

    Args:
        bundle: The opened bundle.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32" or "bf16".

    Raises:
        CardioDiTError: The bundle is damaged, its parts do not fit, or there is no such device.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", precision: str = "auto") -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        with told_when_out_of_memory("Use the device cpu, or close other programs."):
            bundle.check()
            self._dit = narrowed(bundle.dit.to(self.device), self.dtype)
            self._vqgan = bundle.vqgan.to(self.device)
            self.scale = bundle.latent_scale.to(self.device)
        manifest = bundle.manifest
        self._low, self._high = manifest.intensity_range[0], manifest.intensity_range[1]
        self._decoder = SliceDecoder.of(bundle, self.dtype)
        self._refined: RefinedDecoder | None = None
        if bundle.refiner is not None:
            self._refined = RefinedDecoder(self._decoder, bundle.refiner.to(self.device), self.scale, self.dtype)

    @property
    def null_class(self) -> int | None:
        """Label that stands for no class."""
        return self._dit.null_class

    @property
    def precision(self) -> str:
        """Name of the type in which the networks compute."""
        return precision_name(self.dtype)

    @cached_property
    def spread(self) -> torch.Tensor:
        """(K,) variance of each number that the transformer sees, over some hearts that it draws and all places."""
        with torch.inference_mode():
            noise = draw_noise(
                sample_generators(0, _HEARTS), (self._dit.in_channels, *self._dit.input_size), self.device
            )
            denoise = Denoiser(self._dit, self.bundle.schedule, autocast=self._autocast)
            levels = noise_levels(self.bundle.schedule, _FEW_STEPS, DEFAULT_SPACING["dpmpp_2m"])
            drawn = SAMPLERS["dpmpp_2m"](denoise, noise, levels).float()
            return drawn.square().mean(dim=(0, *range(2, drawn.ndim))).clamp(min=1e-3)

    @property
    def _autocast(self) -> torch.dtype | None:
        return None if self.dtype == torch.float32 else self.dtype

    @torch.inference_mode()
    def encode(self, array: NDArray[np.float32]) -> torch.Tensor:
        """(T, Z, Y, X) in [-1, 1] on the grid -> latents (1, C, Z, h, w, t) before they are rounded to codes."""
        image = (np.asarray(array, np.float32) + 1) * ((self._high - self._low) / 2) + self._low
        slices = torch.from_numpy(np.ascontiguousarray(cine_to_model(image))).float()[:, None]
        made = [self._vqgan.encode(part.to(self.device)).float() for part in slices.split(_SLICES_AT_ONCE)]
        return torch.cat(made).transpose(0, 1)[None].contiguous()

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> NDArray[np.float32]:
        """Latents (1, C, Z, h, w, t) -> (T, Z, Y, X) in [-1, 1] on the grid."""
        if self._refined is not None:
            grey = self._refined.decode(latents)[0]
        else:
            grey = self._decoder.decode(latents)
        return grey.astype(np.float32) * (2.0 / BRIGHTEST) - 1.0

    @torch.inference_mode()
    def sample(
        self,
        start: torch.Tensor,
        plan: SamplingPlan,
        *,
        seed: int,
        index: int = 0,
        strengths: tuple[float, ...] = (1.0,),
        known: torch.Tensor | None = None,
        progress: Progress | None = None,
        stop: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """Noise latents and denoise them, once or several times.

        Each pass begins with the result of the one before, noised to its strength. With known latents, the passes
        after the first are the jumps back of RePaint (Lugmayr et al., CVPR 2022): sampled latents are brought into
        agreement with the known ones once more.

        Args:
            start: (1, C, Z, h, w, t) latents.
            plan: Settings of the sampler, class and quantities; those of sample 0 are taken.
            seed: Seed.
            index: Number of the sample.
            strengths: Of each pass, 0 to 1.
            known: (Z, t) bool; latents of `start` that stay.
            progress: Told after every step.
            stop: Called after every step; may raise.

        Returns:
            (1, C, Z, h, w, t) latents; those that are known as they were.
        """
        schedule = self.bundle.schedule
        ways = [levels_from(schedule, plan.steps, plan.spacing, strength) for strength in strengths]
        of = sum(len(levels) for levels in ways)
        denoise: Denoise = Denoiser(
            self._dit,
            schedule,
            labels=None if plan.labels is None else plan.labels[:1],
            guidance=plan.guidance,
            null_label=self._dit.null_class,
            conditions=None
            if plan.conditions is None
            else torch.tensor(plan.conditions[:1], dtype=torch.float32, device=self.device),
            autocast=self._autocast,
        )
        held = None
        if known is not None:
            held = KnownLatents(self.scale, start, known, self.spread)
            denoise = AgreeingDenoiser(denoise, held, schedule)
        generators = sample_generators(seed, 1, index)
        seen, done = self.scale.normalise(start.float()), 0

        def after_step(info: StepInfo) -> None:
            if progress is not None:
                progress(done + info.step, of)
            if stop is not None:
                stop()

        for strength, levels in zip(strengths, ways):
            noise = draw_noise(generators, seen.shape[1:], self.device)
            if strength < 1:
                noise = float(levels.alpha[0]) * seen + float(levels.sigma[0]) * noise
            seen = SAMPLERS[plan.sampler](denoise, noise, levels, generators=generators, callback=after_step).float()
            done += len(levels)
        latents = self.scale.restore(seen)
        return latents if held is None else held.put_in(latents)
