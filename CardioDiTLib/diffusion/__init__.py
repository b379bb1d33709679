"""Diffusion mathematics for tensors of any rank: noise schedule, step spacings, samplers, guidance and seeded noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

if TYPE_CHECKING:
    from CardioDiTLib.diffusion.any_schedule import AnySchedule, schedule_from_config
    from CardioDiTLib.diffusion.denoiser import Denoiser
    from CardioDiTLib.diffusion.flow import FlowSchedule
    from CardioDiTLib.diffusion.levels import NoiseLevels
    from CardioDiTLib.diffusion.noise import draw_noise, sample_generators
    from CardioDiTLib.diffusion.sampler_names import DEFAULT_SPACING
    from CardioDiTLib.diffusion.samplers import SAMPLERS, StepInfo, ddim, ddpm, dpmpp_2m, euler
    from CardioDiTLib.diffusion.schedule import CLEAN, PREDICTION_TYPES, NoiseSchedule
    from CardioDiTLib.diffusion.spacing import SPACINGS, noise_levels

_HOMES = {
    "CLEAN": "schedule",
    "DEFAULT_SPACING": "sampler_names",
    "PREDICTION_TYPES": "schedule",
    "SAMPLERS": "samplers",
    "SPACINGS": "spacing",
    "AnySchedule": "any_schedule",
    "Denoiser": "denoiser",
    "FlowSchedule": "flow",
    "NoiseLevels": "levels",
    "NoiseSchedule": "schedule",
    "StepInfo": "samplers",
    "ddim": "samplers",
    "ddpm": "samplers",
    "dpmpp_2m": "samplers",
    "draw_noise": "noise",
    "euler": "samplers",
    "noise_levels": "spacing",
    "sample_generators": "noise",
    "schedule_from_config": "any_schedule",
}

__all__ = [
    "CLEAN",
    "DEFAULT_SPACING",
    "PREDICTION_TYPES",
    "SAMPLERS",
    "SPACINGS",
    "AnySchedule",
    "Denoiser",
    "FlowSchedule",
    "NoiseLevels",
    "NoiseSchedule",
    "StepInfo",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "draw_noise",
    "euler",
    "noise_levels",
    "sample_generators",
    "schedule_from_config",
]


def __getattr__(name: str) -> Any:
    """Import torch only where something is computed: names of samplers do without."""
    return imported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
