"""The generator: calls noise, denoiser, sampler, latent scale and codec in turn; each is implemented elsewhere."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle, load_bundle
from CardioDiTLib.bundles.registry import is_called
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.device import choose_device, told_when_out_of_memory
from CardioDiTLib.diffusion.denoiser import Denoiser
from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.diffusion.noise import draw_noise, sample_generators
from CardioDiTLib.diffusion.samplers import SAMPLERS, StepInfo
from CardioDiTLib.diffusion.spacing import noise_levels
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.aim import Aim
from CardioDiTLib.generation.asked_grid import AskedGrid, asked_grid
from CardioDiTLib.generation.backend import Backend
from CardioDiTLib.generation.decode import RefinedDecoder, SliceDecoder, cine_affine, cine_frame_times
from CardioDiTLib.generation.memory import batch_sizes, bytes_a_sample
from CardioDiTLib.generation.nearest_draw import Again, Drawn, nearest_draw
from CardioDiTLib.generation.plan import SamplingPlan, make_plan
from CardioDiTLib.generation.progress import ProgressCallback, ProgressClock, shown_in_terminal
from CardioDiTLib.generation.provenance import provenance_of
from CardioDiTLib.generation.request import DEFAULT_BUNDLE, GenerationRequest
from CardioDiTLib.generation.reshaping import LEAST_LOG_SNR, Reshaper
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.progress import Stop

_MEMORY_HINT = "Lower the batch size or the memory budget, or use the device cpu."


class Generator:
    """A bundle on a device, ready to make cines; keep it, since loading takes longer than a sample.

    The same request on one device, precision and number of threads gives the same bytes.

    Args:
        bundle: The opened bundle, or its name or folder.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or, with the backend openvino, "int8".
        backend: "torch", "openvino", or "auto" for OpenVINO on a CPU where it is installed (`backend.Backend`).

    Raises:
        CardioDiTError: The bundle is damaged, its parts do not fit, or there is no such device.

    Examples:
        >>> generator = Generator.from_bundle("acdc-mini")  # doctest: +SKIP
        >>> results = generator.generate(GenerationRequest(count=2, seed=7, pathology="DCM"))  # doctest: +SKIP
        >>> results[0].cine.shape  # doctest: +SKIP
        (16, 8, 128, 128)
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        device: str = "auto",
        precision: str = "auto",
        backend: str = "torch",
    ) -> None:
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(bundle)
        self.bundle = bundle
        self.device = choose_device(device)
        self.backend = Backend.choose(backend, precision, self.device)
        self.dtype = self.backend.dtype
        with told_when_out_of_memory("Use the device cpu, or close other programs."):
            bundle.check()
            self._dit = self.backend.transformer(bundle.dit.to(self.device))
            self._vqgan = bundle.vqgan.to(self.device)
            # the layout in which narrow convolutions are fastest; it changes no value
            self._vqgan.decoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            self._scale = bundle.latent_scale.to(self.device)
        codec, dtype = self.backend.codec(self._vqgan)
        self._decoder = SliceDecoder.of(bundle, dtype, codec)
        self._refined: RefinedDecoder | None = None
        if bundle.refiner is not None:
            refiner = bundle.refiner.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._refined = RefinedDecoder(self._decoder, refiner, self._scale, self.dtype)
        self._names_tissues = bundle.refiner is not None and bundle.refiner.classes > 0
        self._reshaper = Reshaper(self._vqgan, self._scale, self.dtype)

    @classmethod
    def from_bundle(
        cls,
        name_or_folder: str | os.PathLike[str] = DEFAULT_BUNDLE,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "torch",
    ) -> Generator:
        """Open a bundle by its name or folder.

        Raises:
            CardioDiTError: There is no such bundle, it is damaged, or there is no such device.
        """
        return cls(load_bundle(name_or_folder), device, precision, backend)

    @classmethod
    def for_request(cls, request: GenerationRequest) -> Generator:
        """The generator that a request names.

        Raises:
            CardioDiTError: There is no such bundle, it is damaged, or there is no such device.
        """
        return cls.from_bundle(
            request.bundle or DEFAULT_BUNDLE,
            request.device or "auto",
            request.precision or "auto",
            request.backend or "torch",
        )

    def generate(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
        *,
        keep_latents: bool = False,
    ) -> list[GenerationResult]:
        """Make the cines of a request.

        Args:
            request: What to make.
            progress: Called after every step and slice; without it a bar is shown where stderr is a terminal.
            cancel: Asked after every step and slice.
            keep_latents: Also return the latents.

        Returns:
            One result a sample, in order.

        Raises:
            Cancelled: The caller asked to stop; nothing is returned.
            CardioDiTError: The request does not fit this generator or its bundle, or memory ran out.
        """
        with shown_in_terminal(progress) as told:
            made = self.batches(request, told, cancel, keep_latents=keep_latents)
            return [result for batch in made for result in batch]

    def batches(
        self,
        request: GenerationRequest,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
        *,
        keep_latents: bool = False,
        wanted: Callable[[range], bool] | None = None,
    ) -> Iterator[list[GenerationResult]]:
        """Make the cines of a request a batch at a time, so that each can be kept as soon as it is there.

        Args:
            request, progress, cancel, keep_latents: As in :meth:`generate`.
            wanted: Asked about the samples of each batch (numbers from 0) before the first is made; batches that are
                not wanted are left out. All others are the same to the byte.

        Yields:
            The results of one batch, in order.

        Raises:
            Cancelled: The caller asked to stop.
            CardioDiTError: As in :meth:`generate`.
        """
        self._check_fits(request)
        manifest = self.bundle.manifest
        plan = make_plan(request, manifest, self._dit.null_class)
        # the whole plan is checked before anything is computed
        levels = self._levels(plan)
        asked = asked_grid(request, self.bundle)
        sizes = batch_sizes(request, bytes_a_sample(self._dit, plan.added_guidance != 1, self.dtype, asked.seen_size))
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        todo = [(first, size) for first, size in zip(starts, sizes) if not wanted or wanted(range(first, first + size))]
        clock = ProgressClock(
            progress,
            [size for _, size in todo],
            len(levels),
            asked.grid.slices,
            redraws=sum(self._redraws(plan, number) for first, size in todo for number in range(first, first + size)),
            redraw_steps=len(levels.beyond(LEAST_LOG_SNR)),
        )
        stop = Stop(cancel).check
        for first, size in todo:
            with (
                torch.inference_mode(),
                told_when_out_of_memory(_MEMORY_HINT),
                torch.backends.cudnn.flags(deterministic=True, benchmark=False),
            ):
                stop()
                results = self._batch(request, plan, levels, asked, first, size, clock, stop, keep_latents)
            yield results

    def provenances(self, request: GenerationRequest) -> list[dict[str, Any]]:
        """Provenance of each sample of a request; nothing is generated.

        Raises:
            CardioDiTError: The request does not fit this generator or its bundle.
        """
        self._check_fits(request)
        asked_grid(request, self.bundle)
        plan = make_plan(request, self.bundle.manifest, self._dit.null_class)
        return [self._lasting(request, plan, number) for number in range(request.count)]

    def redraws_of(self, request: GenerationRequest) -> tuple[int, int]:
        """How often a heart with asked volumes may be drawn again, at most, and with how many denoising steps each.

        0 where the bundle makes no labels or cannot be steered.

        Raises:
            CardioDiTError: The request does not fit the bundle.
        """
        plan = make_plan(request, self.bundle.manifest, self._dit.null_class)
        can = self._names_tissues and bool(self.bundle.manifest.quantities)
        return request.adjust if can else 0, len(self._levels(plan).beyond(LEAST_LOG_SNR))

    def _levels(self, plan: SamplingPlan) -> NoiseLevels:
        if plan.few_steps:
            return NoiseLevels.at(self.bundle.schedule, self.bundle.schedule.t_of_log_snr(np.array(plan.way)).tolist())
        return noise_levels(self.bundle.schedule, plan.steps, plan.spacing)

    @cached_property
    def _few_step_dit(self) -> Any:
        network = self.bundle.few_step_dit
        assert network is not None  # checked with the plan
        return self.backend.transformer(network.to(self.device))

    def _lasting(self, request: GenerationRequest, plan: SamplingPlan, number: int) -> dict[str, Any]:
        wanted = {"slices": request.slices, "frames": request.frames}
        return provenance_of(
            self.bundle,
            plan,
            seed=request.seed,
            index=request.first_index + number,
            pathology=plan.pathologies[number],
            asked=plan.asked[number],
            grid={name: number for name, number in wanted.items() if number is not None},
            device=self.device.type,
            precision=self.backend.precision,
            backend=self.backend.facts(),
            reshaped=self._redraws(plan, number) > 0 and plan.is_reshaped(number),
        )

    def _batch(
        self,
        request: GenerationRequest,
        plan: SamplingPlan,
        levels: NoiseLevels,
        asked: AskedGrid,
        first: int,
        size: int,
        clock: ProgressClock,
        stop: Callable[[], None],
        keep_latents: bool,
    ) -> list[GenerationResult]:
        """Samples ``first`` to ``first + size`` of a request, denoised together, decoded one by one."""
        begin = time.perf_counter()
        classes = None if plan.labels is None else plan.labels[first : first + size]
        manifest = self.bundle.manifest

        def after_step(info: StepInfo) -> None:
            wanted = request.preview_every and (info.step % request.preview_every == 0 or info.step == info.of)
            clock.tell("denoise", info.step, first, size, (lambda: self._preview(info.x0, asked)) if wanted else None)
            stop()

        generators = sample_generators(request.seed, size, request.first_index + first)
        noise = self._noise(generators, asked)
        conditions = None if plan.conditions is None else np.array(plan.conditions[first : first + size])
        latents = self._latents(plan, levels, asked, noise, generators, classes, conditions, after_step)
        shared_seconds = (time.perf_counter() - begin) / size

        results = []
        for place in range(size):
            begin = time.perf_counter()
            number = first + place

            def after_slice(done: int, before: int = place * latents.shape[2]) -> None:
                clock.tell("decode", before + done, first, size)
                stop()

            drawn = self._decoded(latents[place : place + 1], after_slice)
            redraws = self._redraws(plan, number)
            if redraws:
                assert plan.conditions is not None
                drawn = nearest_draw(
                    drawn,
                    Aim.of(plan.conditions[number], manifest.quantities),
                    self._again(request, plan, levels, asked, number, generators[place], clock, stop),
                    asked.grid.spacing_mm,
                    redraws,
                    from_measured=plan.is_reshaped(number),
                    spared=clock.spare,
                )
            array = drawn.array[: asked.grid.frames]
            seconds = shared_seconds + time.perf_counter() - begin
            kept = drawn.latents[0].cpu().numpy() if keep_latents else None
            results.append(self._result(request, plan, asked, number, array, drawn.labels, kept, seconds))
        return results

    def _noise(self, generators: list[torch.Generator], asked: AskedGrid) -> torch.Tensor:
        return draw_noise(generators, (self._dit.in_channels, *asked.seen_size), self.device)

    def _latents(
        self,
        plan: SamplingPlan,
        levels: NoiseLevels,
        asked: AskedGrid,
        noisy: torch.Tensor,
        generators: list[torch.Generator],
        classes: tuple[int, ...] | None,
        conditions: NDArray[np.float64] | None,
        after_step: Callable[[StepInfo], None],
    ) -> torch.Tensor:
        """Latents of samples, from noise or from where the levels begin."""
        denoise = Denoiser(
            self._few_step_dit if plan.few_steps else self._dit,
            self.bundle.schedule,
            labels=classes,
            guidance=plan.added_guidance,
            null_label=self._dit.null_class,
            conditions=None if conditions is None else torch.tensor(conditions, dtype=torch.float32).to(self.device),
            autocast=self.backend.autocast,
            estimates=not plan.few_steps,  # each of its steps was taught by itself
        )
        # the few-step network was trained on straight lines between its levels
        sample = SAMPLERS["ddim" if plan.few_steps else plan.sampler](
            denoise, noisy, levels, generators=generators, callback=after_step
        )
        return self._scale.restore(sample.float())[:, :, : asked.grid.slices]

    def _redraws(self, plan: SamplingPlan, number: int) -> int:
        """How often one sample may be drawn again."""
        return plan.adjust if self._names_tissues and plan.asked[number] else 0

    def _again(
        self,
        request: GenerationRequest,
        plan: SamplingPlan,
        levels: NoiseLevels,
        asked: AskedGrid,
        number: int,
        generator: torch.Generator,
        clock: ProgressClock,
        stop: Callable[[], None],
    ) -> Again:
        """How one sample is drawn again: reshaped from the last draw, or from the same noise with other conditions.

        Args:
            generator: The sample's stream, advanced by the first draw.
        """
        classes = None if plan.labels is None else plan.labels[number : number + 1]
        names = [one.name for one in self.bundle.manifest.quantities]

        def after_step(info: StepInfo) -> None:
            clock.tell_redraw("denoise", info.step, number)
            stop()

        def after_slice(done: int) -> None:
            clock.tell_redraw("decode", done, number)
            stop()

        def again(drawn: Drawn, question: NDArray[np.float64]) -> Drawn:
            if plan.is_reshaped(number):
                assert drawn.labels is not None and drawn.images is not None  # a sample without them is not steered
                values = {name: float(value) for name, value in zip(names, question) if not math.isnan(value)}
                seen = self._reshaper.reshaped(
                    drawn.latents, drawn.images, drawn.labels, values, asked.grid.spacing_mm, stop
                )
                way, generators = levels.beyond(LEAST_LOG_SNR), [generator]
                fresh = draw_noise(generators, seen.shape[1:], self.device)
                begin = float(way.alpha[0]) * seen + float(way.sigma[0]) * fresh
            else:
                way, generators = levels, sample_generators(request.seed, 1, request.first_index + number)
                begin = self._noise(generators, asked)
            latents = self._latents(plan, way, asked, begin, generators, classes, question[None], after_step)
            return self._decoded(latents, after_slice)

        return again

    def _decoded(self, latents: torch.Tensor, after_slice: Callable[[int], None]) -> Drawn:
        if self._refined is None:
            return Drawn(latents, self._decoder.decode(latents, after_slice))
        images = self._refined.images(latents, after_slice)
        return Drawn(latents, *self._refined.refined(latents, images), images)

    def _result(
        self,
        request: GenerationRequest,
        plan: SamplingPlan,
        asked: AskedGrid,
        number: int,
        array: NDArray[np.int16],
        labels: NDArray[np.uint8] | None,
        latents: NDArray[np.float32] | None,
        seconds: float,
    ) -> GenerationResult:
        pathology = plan.pathologies[number]
        index = request.first_index + number
        lasting = self._lasting(request, plan, number)
        manifest = self.bundle.manifest
        # times differ from run to run, so they stay out of the file: the same seed gives the same bytes
        times = cine_frame_times(manifest, plan.cycle_s, asked.grid)
        cine = Cine(array, cine_affine(manifest, asked.grid), times, lasting)
        segmentation = None
        if labels is not None:
            segmentation = Segmentation(labels, cine.affine, cine.frame_times, lasting)
        provenance = {**lasting, "seconds": round(seconds, 3)}
        return GenerationResult(
            cine, request.seed, index, pathology, provenance, seconds, latents, segmentation, plan.warnings
        )

    def _preview(self, x0: torch.Tensor, asked: AskedGrid) -> NDArray[np.int16]:
        """(T, Y, X) of the middle slice of the first sample."""
        latents = self._scale.restore(x0[:1].float())
        return self._decoder.decode_slice(latents, asked.grid.slices // 2)[: asked.grid.frames]

    def _check_fits(self, request: GenerationRequest) -> None:
        own = self.bundle
        problems: Sequence[tuple[bool, str]] = (
            (
                request.bundle is not None and not is_called(own.folder, own.manifest.name, request.bundle),
                f"the bundle {request.bundle!r}",
            ),
            (
                request.device not in (None, "auto") and choose_device(str(request.device)) != self.device,
                f"the device {request.device!r}",
            ),
            (
                request.precision not in (None, "auto") and request.precision != self.backend.precision,
                f"the precision {request.precision!r}",
            ),
            (
                request.backend not in (None, "auto") and request.backend != self.backend.name,
                f"the backend {request.backend!r}",
            ),
        )
        for wrong, what in problems:
            if wrong:
                raise CardioDiTError(
                    f"The request asks for {what}, this generator runs '{self.bundle.manifest.name}' on "
                    f"{self.device} in {self.backend.name}, {self.backend.precision}.",
                    "Make a generator with Generator.for_request(request).",
                )
