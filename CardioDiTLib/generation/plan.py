"""A request made definite by the presets and classes of a bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from CardioDiTLib.bundles.manifest import BundleManifest, read_manifest
from CardioDiTLib.bundles.manifest_parts import Preset
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.diffusion.sampler_names import DEFAULT_SPACING, FEW_STEPS
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.asked_grid import check_grid
from CardioDiTLib.generation.request import DEFAULT_BUNDLE, RESHAPED, GenerationRequest

WHOLE_WAY_STEPS = 12
"""What is run where a preset of few steps cannot: with another guidance or sampler, or from noisy latents on."""


@dataclass(frozen=True)
class SamplingPlan:
    """Settings of the sampler, nothing left open.

    Attributes:
        steps: Denoising steps.
        sampler: Its name.
        spacing: Spacing of its steps.
        guidance: Strength; 1 where no sample has a class or quantities that are asked for.
        way: Log-SNR at which each step begins, for the sampler "few_steps"; empty for others.
        pathologies: Class name of each sample, None for no class.
        labels: Label of each sample; None where the network is asked without labels.
        asked: Quantities that each sample is asked to have, by name.
        conditions: The same as one row a sample in the transformer's order, NaN where any will do; None where nothing
            is asked of any sample.
        adjust: How often a steered sample may be drawn again to come nearer to what was asked.
        cycle_s: Seconds of one beat.
        warnings: What a user should know about the request, in plain sentences.
    """

    steps: int
    sampler: str
    spacing: str
    guidance: float
    pathologies: tuple[str | None, ...]
    labels: tuple[int, ...] | None
    asked: tuple[dict[str, float], ...]
    conditions: tuple[tuple[float, ...], ...] | None
    adjust: int
    cycle_s: float
    warnings: tuple[str, ...]
    way: tuple[float, ...] = ()

    @property
    def few_steps(self) -> bool:
        """Whether the network trained for few steps is used; guidance is part of its weights."""
        return bool(self.way)

    @property
    def added_guidance(self) -> float:
        """Guidance that is left to the sampler."""
        return 1.0 if self.few_steps else self.guidance

    def is_reshaped(self, sample: int) -> bool:
        """Whether a sample can be reshaped from its first draw; otherwise it is drawn anew with other conditions."""
        return any(name in RESHAPED for name in self.asked[sample])


def plan_before_loading(request: GenerationRequest) -> tuple[BundleManifest, SamplingPlan]:
    """The manifest of the bundle that a request names, and its plan; neither torch nor a weight is loaded.

    Raises:
        CardioDiTError: There is no such bundle, or its manifest alone tells that it cannot do what is asked.
    """
    folder = find_bundle(request.bundle or DEFAULT_BUNDLE)
    manifest = read_manifest(folder)
    plan = make_plan(request, manifest, manifest.null_class)
    check_grid(request, folder, manifest)
    return manifest, plan


def make_plan(
    request: GenerationRequest, manifest: BundleManifest, null_class: int | None, *, whole_way: bool = False
) -> SamplingPlan:
    """Fill what a request leaves open.

    Args:
        request: The request.
        manifest: The bundle's manifest.
        null_class: Label that stands for no class; None where the transformer was not trained with one.
        whole_way: Take no preset of few steps, for a task that begins where these do not.

    Raises:
        CardioDiTError: The bundle has no such preset or pathology, or there is nothing to guide with.
    """
    if request.preset not in manifest.presets:
        raise CardioDiTError(
            f"The bundle '{manifest.name}' has no preset {request.preset!r}.",
            f"Choose one of {', '.join(manifest.presets)}.",
        )
    preset, way, notes = _sampling(request, manifest, whole_way)
    labels, pathologies = _classes(request, manifest, null_class)
    asked = tuple(request.quantities(sample) for sample in range(request.count))
    conditions, warnings = _conditions(asked, manifest)
    return SamplingPlan(
        steps=preset.steps,
        sampler=preset.sampler,
        spacing=FEW_STEPS if way else DEFAULT_SPACING[preset.sampler],
        guidance=_guidance(request, preset.guidance, pathologies, null_class, manifest, conditions is not None),
        pathologies=pathologies,
        labels=labels,
        asked=asked,
        conditions=conditions,
        adjust=request.adjust if conditions is not None else 0,
        cycle_s=request.cycle_s or manifest.grid.cycle_s,
        warnings=(*warnings, *notes),
        way=way,
    )


def _sampling(
    request: GenerationRequest, manifest: BundleManifest, whole_way: bool
) -> tuple[Preset, tuple[float, ...], tuple[str, ...]]:
    """Preset that is run, log-SNR of its few steps if it has them, and warnings."""
    asked = manifest.presets[request.preset]
    sampler = request.sampler or asked.sampler
    if sampler != FEW_STEPS:
        if sampler not in DEFAULT_SPACING:
            raise CardioDiTError(
                f"The bundle '{manifest.name}' names the sampler {sampler!r}, which is not known.",
                f"Ask for one of {', '.join(DEFAULT_SPACING)}.",
            )
        usual = WHOLE_WAY_STEPS if asked.sampler == FEW_STEPS else asked.steps
        return replace(asked, sampler=sampler, steps=request.steps or usual), (), ()
    spec = manifest.few_steps
    guidance = asked.guidance if spec is None else spec.guidance
    other_guidance = request.guidance is not None and request.guidance != guidance
    way = None
    if spec is not None and not whole_way and not other_guidance:
        way = spec.way(request.steps or (asked.steps if asked.sampler == FEW_STEPS else None))
    if way is not None:
        return Preset(len(way), FEW_STEPS, guidance), way, ()
    if request.sampler is not None:
        known = " or ".join(str(len(one)) for one in spec.ways) if spec is not None and not whole_way else "no"
        raise CardioDiTError(
            f"The sampler few_steps of the bundle '{manifest.name}' can do {known} steps here, with guidance "
            f"{guidance:g}.",
            "Leave steps and guidance out, or ask for another sampler.",
        )
    instead = Preset(request.steps or WHOLE_WAY_STEPS, guidance=guidance)
    if not other_guidance:
        return instead, (), ()
    told = f"Few steps were taught guidance {guidance:g}, not {request.guidance:g}: drawn in {instead.steps} steps."
    return instead, (), (told,)


def _conditions(
    asked: tuple[dict[str, float], ...], manifest: BundleManifest
) -> tuple[tuple[tuple[float, ...], ...] | None, tuple[str, ...]]:
    known = {quantity.name: quantity for quantity in manifest.quantities}
    warnings: list[str] = []
    for name, value in {(name, value): None for one in asked for name, value in one.items()}:
        if name not in known:
            can = ", ".join(known) or "nothing"
            raise CardioDiTError(
                f"The bundle '{manifest.name}' cannot be asked for '{name}'.", f"It can be steered by {can}."
            )
        quantity = known[name]
        unit = f" {quantity.unit}" if quantity.unit else ""
        if not quantity.low <= value <= quantity.high:
            raise CardioDiTError(
                f"{value:g}{unit} is outside what '{manifest.name}' has seen of the {quantity.meaning}.",
                f"Ask for {quantity.low:g} to {quantity.high:g}{unit}.",
            )
        if not quantity.usual_low <= value <= quantity.usual_high:
            warnings.append(
                f"{value:g}{unit} is near the edge of what the model has seen of the {quantity.meaning} "
                f"(most hearts: {quantity.usual_low:g} to {quantity.usual_high:g}): measure what comes out."
            )
    if not any(asked):
        return None, ()
    rows = tuple(tuple(one.get(name, math.nan) for name in known) for one in asked)
    return rows, tuple(warnings)


def _classes(
    request: GenerationRequest, manifest: BundleManifest, null_class: int | None
) -> tuple[tuple[int, ...] | None, tuple[str | None, ...]]:
    wanted = request.pathology if isinstance(request.pathology, tuple) else (request.pathology,) * request.count
    if all(name is None for name in wanted):
        return None, wanted
    labels: list[int] = []
    names: list[str | None] = []
    for name in wanted:
        if name is not None:
            labels.append(manifest.label_of(name))
            names.append(manifest.class_names[labels[-1]])
        elif null_class is not None:
            labels.append(null_class)
            names.append(None)
        else:
            raise CardioDiTError(
                f"The bundle '{manifest.name}' cannot mix samples with and without a pathology.",
                "Give every sample a pathology, or none.",
            )
    return tuple(labels), tuple(names)


def _guidance(
    request: GenerationRequest,
    usual: float,
    pathologies: tuple[str | None, ...],
    null_class: int | None,
    manifest: BundleManifest,
    steered: bool,
) -> float:
    if (any(name is not None for name in pathologies) and null_class is not None) or steered:
        return float(usual if request.guidance is None else request.guidance)
    if request.guidance is not None and request.guidance != 1:
        towards = [] if null_class is None else ["a pathology"]
        towards += ["a quantity"] if manifest.quantities else []
        if not towards:
            raise CardioDiTError(
                f"The bundle '{manifest.name}' was not trained for guidance.", "Leave the guidance out, or at 1."
            )
        what = " or ".join(towards)
        raise CardioDiTError(
            f"Guidance {request.guidance:g} needs {what} to guide towards.", f"Give {what}, or guidance 1."
        )
    return 1.0
