"""Diffusion mathematics for tensors of any rank: noise schedule, step spacings, samplers, guidance and seeded noise."""

from CardioDiTLib.diffusion.any_schedule import AnySchedule, schedule_from_config
from CardioDiTLib.diffusion.denoiser import Denoiser
from CardioDiTLib.diffusion.flow import FlowSchedule
from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.diffusion.noise import draw_noise, sample_generators
from CardioDiTLib.diffusion.samplers import SAMPLERS, StepInfo, ddim, ddpm, dpmpp_2m, euler
from CardioDiTLib.diffusion.schedule import CLEAN, PREDICTION_TYPES, NoiseSchedule
from CardioDiTLib.diffusion.spacing import DEFAULT_SPACING, SPACINGS, noise_levels

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
